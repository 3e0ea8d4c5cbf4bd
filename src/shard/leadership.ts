import { equalBytes } from '../base/bytes.ts';
import type { Entry } from './entry.ts';
import type { ShardState } from './shard-state.ts';

// Who leads a shard is decided by its log alone, so that all replicas agree. Drawing and argument: docs/protocol/replication.md.
//
//   claim(epoch e+1, basis b)   has effect iff the leadership is still e and its leader's last entry is not behind b
//   any other entry             has effect iff it is of the leader, in its epoch, and stands where it was meant to stand
//   resign                      has effect like any other entry, and leaves the shard without a leader
//
// An entry without effect keeps its number and its place in the hash chain, nothing else.

/** What an entry counts for: `effective`; `void`: for nothing; `fault`: it cannot follow from this state, so this replica's past is wrong. */
export type Standing = 'effective' | 'void' | 'fault';

export function standingOf(entry: Omit<Entry<unknown>, 'commands'>, state: ShardState): Standing {
  const { kind = 'grounded', basis = 0, epoch, leader, prevHash } = entry;
  const follows = equalBytes(prevHash, state.hash);
  if (!follows && kind !== 'predicted') return 'fault';
  if (kind === 'claim') return epoch === state.epoch + 1 && basis >= state.leaderSeq ? 'effective' : 'void';
  return follows && epoch === state.epoch && leader === state.leader ? 'effective' : 'void';
}
