import { assert } from '../base/assert.ts';
import { type Bytes, copyBytes, freshBytes, fromUtf8, utf8 } from '../base/bytes.ts';
import { HASH_BYTES, ZERO_HASH } from './chain-hash.ts';

/** Owns every position p with `from <= p < to`. Never empty; `to` may be 2^32, one past the last position. */
export interface PositionRange {
  readonly from: number;
  readonly to: number;
}

/**
 * `faulted`: an entry did not follow from the state; the shard answers nothing until its data are brought from another replica.
 * `awaiting-genesis`: cut from its parent, and not yet begun. `frozen`: changes no more, its left neighbour is taking it over.
 * `retired`: taken over. `loading`: is given the records of a backup, see load.ts. Only a serving shard runs commands and queries; all others redirect.
 */
export type ShardStatus = 'serving' | 'faulted' | 'awaiting-genesis' | 'frozen' | 'retired' | 'loading';

/** What a shard last did in a workflow: see docs/protocol/split.md and merge.md. `cancelled`: it will take no part in it any more. */
export type WorkflowPhase = 'none' | 'marked' | 'born' | 'prepared' | 'frozen' | 'committed' | 'cancelled' | 'retired';

/** All that a shard is, but for its records; kept as one small record that is written together with what it counts. */
export interface ShardState {
  readonly id: number;
  range: PositionRange;
  /** Where its records are. Clearing a keyspace gives a new one. */
  table: number;
  /** The number of the last entry that was run. */
  applied: number;
  /** Of that entry, see chain-hash.ts. */
  hash: Bytes;
  /** The number of the leadership, and its holder: empty when nobody leads. */
  epoch: number;
  leader: string;
  /** The last entry of that leader which had effect. */
  leaderSeq: number;
  status: ShardStatus;
  /** The time of that entry. Time in a shard never goes back. */
  nowMs: number;
  /** Records, those included that have expired and are not yet removed. */
  keyCount: number;
  /** Keys and values with their cells. */
  sizeBytes: number;
  expiringCount: number;
  /** For the next record that gets cells. */
  nextGeneration: number;
  /** Sessions not used since have expired, see sessions.ts. A merged shard takes the later of two. */
  sessionsExpiredBeforeMs: number;
  /** The last workflow that it took part in; those of smaller numbers have no effect any more. 0: none. */
  op: number;
  phase: WorkflowPhase;
  /** The other shard of that workflow. */
  peer: number;
  /** Where the parent was cut, for a shard that was born of one. */
  peerSeq: number;
  /** What earlier entries stored of the counts by slot is void. */
  countsSince: number;
  /** Of the log that its last entry stands in. A log that was lost is followed by the next generation of it. */
  logGeneration: number;
  /** The restore that has filled it, or fills it: see load.ts. Empty: none. */
  loadId: string;
}

/** `countsSince` of a shard that was written by a release without counts by slot: they are to be counted once. */
export const COUNTS_UNKNOWN = -1;

export function newShardState(options: { id: number; range: PositionRange; table: number; leader: string }): ShardState {
  const { id, range, table, leader } = options;
  assert(range.from < range.to && range.to <= 0x1_0000_0000, () => `a shard with range [${range.from}, ${range.to})`);
  return {
    id,
    range,
    table,
    applied: 0,
    hash: ZERO_HASH,
    epoch: 1,
    leader,
    leaderSeq: 0,
    status: 'serving',
    nowMs: 0,
    keyCount: 0,
    sizeBytes: 0,
    expiringCount: 0,
    nextGeneration: 1,
    sessionsExpiredBeforeMs: 0,
    op: 0,
    phase: 'none',
    peer: 0,
    peerSeq: 0,
    countsSince: 0,
    logGeneration: 1,
    loadId: '',
  };
}

let lastLeader = '';
let lastLeaderBytes: Bytes = utf8('');

/** The same few names come all the time. */
export function leaderBytes(leader: string): Bytes {
  if (leader !== lastLeader) {
    lastLeader = leader;
    lastLeaderBytes = utf8(leader);
  }
  return lastLeaderBytes;
}

/** Written only where the log is not the first one, or there is something to say of a restore. */
const VERSION = 4;
/** All others are written so still, for releases that know no other. */
const VERSION_OF_FIRST_LOG = 3;
/** It had no workflow either, and no counts by slot. */
const VERSION_WITHOUT_SLOTS = 2;
const STATUSES: readonly ShardStatus[] = ['serving', 'faulted', 'awaiting-genesis', 'frozen', 'retired', 'loading'];
const PHASES: readonly WorkflowPhase[] = ['none', 'marked', 'born', 'prepared', 'frozen', 'committed', 'cancelled', 'retired'];
const HASH_AT = 2 + 13 * 8;
const WORKFLOW_AT = HASH_AT + HASH_BYTES;
const GENERATION_AT = WORKFLOW_AT + 1 + 4 * 8;
const LOAD_AT = GENERATION_AT + 8;

export function encodeShardState(state: ShardState): Bytes {
  const leader = leaderBytes(state.leader);
  const isPlain = state.logGeneration === 1 && state.loadId === '';
  const load = isPlain ? leader : utf8(state.loadId);
  const leaderAt = isPlain ? GENERATION_AT : LOAD_AT + 1 + load.length;
  const out = freshBytes(leaderAt + leader.length);
  const view = new DataView(out.buffer, out.byteOffset, out.length);
  out[0] = isPlain ? VERSION_OF_FIRST_LOG : VERSION;
  out[1] = STATUSES.indexOf(state.status);
  view.setFloat64(2, state.id);
  view.setFloat64(10, state.range.from);
  view.setFloat64(18, state.range.to);
  view.setFloat64(26, state.table);
  view.setFloat64(34, state.applied);
  view.setFloat64(42, state.epoch);
  view.setFloat64(50, state.nowMs);
  view.setFloat64(58, state.keyCount);
  view.setFloat64(66, state.sizeBytes);
  view.setFloat64(74, state.expiringCount);
  view.setFloat64(82, state.nextGeneration);
  view.setFloat64(90, state.leaderSeq);
  view.setFloat64(98, state.sessionsExpiredBeforeMs);
  out.set(state.hash, HASH_AT);
  out[WORKFLOW_AT] = PHASES.indexOf(state.phase);
  view.setFloat64(WORKFLOW_AT + 1, state.op);
  view.setFloat64(WORKFLOW_AT + 9, state.peer);
  view.setFloat64(WORKFLOW_AT + 17, state.peerSeq);
  view.setFloat64(WORKFLOW_AT + 25, state.countsSince);
  if (!isPlain) {
    view.setFloat64(GENERATION_AT, state.logGeneration);
    out[LOAD_AT] = load.length;
    out.set(load, LOAD_AT + 1);
  }
  out.set(leader, leaderAt);
  return out;
}

export function decodeShardState(bytes: Bytes): ShardState {
  const isWhole = bytes[0] === VERSION;
  const hasSlots = isWhole || bytes[0] === VERSION_OF_FIRST_LOG;
  const leaderAt = isWhole ? LOAD_AT + 1 + bytes[LOAD_AT]! : hasSlots ? GENERATION_AT : WORKFLOW_AT;
  assert(
    (hasSlots || bytes[0] === VERSION_WITHOUT_SLOTS) && bytes.length >= leaderAt,
    () => `a shard state of version ${bytes[0]}, ${bytes.length} bytes`,
  );
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.length);
  const status = STATUSES[bytes[1]!];
  const phase = hasSlots ? PHASES[bytes[WORKFLOW_AT]!] : 'none';
  assert(status !== undefined && phase !== undefined, () => `a shard state of status ${bytes[1]}, phase ${bytes[WORKFLOW_AT]}`);
  return {
    id: view.getFloat64(2),
    range: { from: view.getFloat64(10), to: view.getFloat64(18) },
    table: view.getFloat64(26),
    applied: view.getFloat64(34),
    hash: copyBytes(bytes, HASH_AT, HASH_AT + HASH_BYTES),
    epoch: view.getFloat64(42),
    leader: fromUtf8(bytes.subarray(leaderAt)),
    leaderSeq: view.getFloat64(90),
    status,
    nowMs: view.getFloat64(50),
    keyCount: view.getFloat64(58),
    sizeBytes: view.getFloat64(66),
    expiringCount: view.getFloat64(74),
    nextGeneration: view.getFloat64(82),
    sessionsExpiredBeforeMs: view.getFloat64(98),
    op: hasSlots ? view.getFloat64(WORKFLOW_AT + 1) : 0,
    phase,
    peer: hasSlots ? view.getFloat64(WORKFLOW_AT + 9) : 0,
    peerSeq: hasSlots ? view.getFloat64(WORKFLOW_AT + 17) : 0,
    countsSince: hasSlots ? view.getFloat64(WORKFLOW_AT + 25) : COUNTS_UNKNOWN,
    logGeneration: isWhole ? view.getFloat64(GENERATION_AT) : 1,
    loadId: isWhole ? fromUtf8(bytes.subarray(LOAD_AT + 1, leaderAt)) : '',
  };
}
