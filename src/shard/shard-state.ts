import { assert } from '../base/assert.ts';
import { type Bytes, copyBytes, freshBytes, fromUtf8, utf8 } from '../base/bytes.ts';
import { HASH_BYTES, ZERO_HASH } from './chain-hash.ts';

/** Owns every position p with `from <= p < to`. Never empty; `to` may be 2^32, one past the last position. */
export interface PositionRange {
  readonly from: number;
  readonly to: number;
}

/** `faulted`: an entry did not follow from the state; the shard answers nothing until its data are brought from another replica. */
export type ShardStatus = 'serving' | 'faulted';

/** All that a shard is, but for its records; kept as one small record that is written together with what it counts. */
export interface ShardState {
  readonly id: number;
  readonly range: PositionRange;
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
}

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

const VERSION = 2;
const FIXED_BYTES = 2 + 13 * 8 + HASH_BYTES;

export function encodeShardState(state: ShardState): Bytes {
  const leader = leaderBytes(state.leader);
  const out = freshBytes(FIXED_BYTES + leader.length);
  const view = new DataView(out.buffer, out.byteOffset, out.length);
  out[0] = VERSION;
  out[1] = state.status === 'serving' ? 0 : 1;
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
  out.set(state.hash, 106);
  out.set(leader, FIXED_BYTES);
  return out;
}

export function decodeShardState(bytes: Bytes): ShardState {
  assert(bytes[0] === VERSION && bytes.length >= FIXED_BYTES, () => `a shard state of version ${bytes[0]}, ${bytes.length} bytes`);
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.length);
  return {
    id: view.getFloat64(2),
    range: { from: view.getFloat64(10), to: view.getFloat64(18) },
    table: view.getFloat64(26),
    applied: view.getFloat64(34),
    hash: copyBytes(bytes, 106, 106 + HASH_BYTES),
    epoch: view.getFloat64(42),
    leader: fromUtf8(bytes.subarray(FIXED_BYTES)),
    leaderSeq: view.getFloat64(90),
    status: bytes[1] === 0 ? 'serving' : 'faulted',
    nowMs: view.getFloat64(50),
    keyCount: view.getFloat64(58),
    sizeBytes: view.getFloat64(66),
    expiringCount: view.getFloat64(74),
    nextGeneration: view.getFloat64(82),
    sessionsExpiredBeforeMs: view.getFloat64(98),
  };
}
