import { type Bytes, concatBytes } from '../../base/bytes.ts';
import type { CellReader } from '../value-module.ts';
import { cellOf } from './hash-fields.ts';

// A sorted set lies in the cells of its key three times over:
//
//   MEMBER ‖ hash32(member) ‖ member → score        the scores by name, in the order of a hash: ZSCORE, ZSCAN
//   ORDER ‖ score in order ‖ member → nothing       the members in order: ranges by score and by name
//   COUNTS …                                        how many there are: ranks, see sorted-set-order.ts

/** What the cells of members begin with. */
export const MEMBER: Bytes = Uint8Array.of(0x6d);
/** What the cells in order begin with. */
export const ORDER: Bytes = Uint8Array.of(0x6f);

const SCORE_BYTES = 8;

export interface Scored {
  readonly score: number;
  readonly member: Bytes;
}

/** The score as it is, for the cell of a member. */
export function encodeScore(score: number): Bytes {
  const bytes = new Uint8Array(SCORE_BYTES);
  new DataView(bytes.buffer).setFloat64(0, score);
  return bytes;
}

export function decodeScore(bytes: Bytes): number {
  return new DataView(bytes.buffer, bytes.byteOffset, SCORE_BYTES).getFloat64(0);
}

/** A float64 whose bytes are in the order of the numbers: the sign flipped, and all bits of negative ones. Minus zero is zero. */
export function scoreInOrder(score: number): Bytes {
  const bytes = encodeScore(score === 0 ? 0 : score);
  if ((bytes[0]! & 0x80) === 0) bytes[0]! |= 0x80;
  else for (let i = 0; i < SCORE_BYTES; i++) bytes[i] = ~bytes[i]! & 0xff;
  return bytes;
}

/** The first place behind all members of this score. */
export function behindScore(score: number): Bytes {
  const bytes = scoreInOrder(score);
  for (let i = SCORE_BYTES - 1; i >= 0; i--) {
    bytes[i] = (bytes[i]! + 1) & 0xff;
    if (bytes[i] !== 0) break;
  }
  return bytes;
}

export function placeInOrder({ score, member }: Scored): Bytes {
  return concatBytes(scoreInOrder(score), member);
}

/** What a cell in order stands for. */
export function scoredOf(cell: Bytes): Scored {
  const score = cell.slice(ORDER.length, ORDER.length + SCORE_BYTES);
  if ((score[0]! & 0x80) !== 0) score[0]! &= 0x7f;
  else for (let i = 0; i < SCORE_BYTES; i++) score[i] = ~score[i]! & 0xff;
  return { score: decodeScore(score), member: cell.subarray(ORDER.length + SCORE_BYTES) };
}

export function memberCell(member: Bytes): Bytes {
  return concatBytes(MEMBER, cellOf(member));
}

/** Undefined when it is not a member. */
export function scoreOf(cells: CellReader, member: Bytes): number | undefined {
  const stored = cells.get(memberCell(member));
  return stored === undefined ? undefined : decodeScore(stored);
}
