import { Prng } from '../../base/prng.ts';
import type { CellReader } from '../value-module.ts';
import { asLatin1 } from './ascii.ts';
import { LONG_RANGE_ERROR, NOT_AN_INTEGER, SYNTAX_ERROR, WRONG_TYPE } from './error-replies.ts';
import type { ReadHandler } from './handler.ts';
import { allFields, cellAtPlace, type Field, fieldHash, fieldOf } from './hash-fields.ts';
import { parseInteger } from './integer.ts';
import { errorReply, type Reply } from './reply.ts';
import { isNot } from './value.ts';
import { isWord } from './word.ts';

// HRANDFIELD: fields by chance. The chance comes with the query, as a seed from the door; without one, from the time and the key.
//
// From a small hash, and when most fields are wanted, all are read and the choice is exactly fair. From a large one a field is picked by
// a random place in the order of the cells (see hash-fields.ts): the pick is one of the next WINDOW fields behind it, O(log n). A field's
// chance goes with the sum of the WINDOW gaps before it; gaps vary as the exponential distribution does, their sums by 1/sqrt(WINDOW): a quarter.

const LONG_MAX = 2n ** 63n - 1n;
const OUT_OF_RANGE = errorReply('ERR value is out of range');
const SMALL_FIELDS = 128;
const WINDOW = 16;
/** More than so many with repetition are not answered: each is picked anew, and nobody reads them. */
export const MAX_REPEATED = 2 ** 22;
const TOO_MANY = errorReply('ERR value is out of range');

/** `HRANDFIELD key [count [WITHVALUES]]`: a positive count answers different fields, a negative one may repeat them. */
export const hRandField: ReadHandler = (ctx, value, args) => {
  let count: number | undefined;
  const isWithValues = args.length > 3;
  if (args.length > 2) {
    const parsed = parseInteger(args[2]!);
    if (parsed === undefined) return NOT_AN_INTEGER;
    if (parsed < -LONG_MAX) return LONG_RANGE_ERROR;
    if (args.length > 4 || (isWithValues && !isWord(args[3]!, 'WITHVALUES'))) return SYNTAX_ERROR;
    if (isWithValues && (parsed > LONG_MAX / 2n || parsed < -(LONG_MAX / 2n))) return OUT_OF_RANGE;
    count = Number(parsed);
  }
  if (value === undefined) return count === undefined ? null : isWithValues ? { kind: 'pairs', pairs: [] } : [];
  if (isNot(value, 'hash')) return WRONG_TYPE;
  const prng = new Prng((args.seed ?? ctx.nowMs ^ fieldHash(ctx.key)) >>> 0);
  const chooser: Chooser = { cells: ctx.cells, fieldCount: value.fieldCount, prng };
  if (count === undefined) return pickOne(chooser).field;
  if (count < -MAX_REPEATED) return TOO_MANY;
  const chosen = count < 0 ? pickRepeated(chooser, -count) : pickDifferent(chooser, count);
  return isWithValues
    ? { kind: 'pairs', pairs: chosen.map((one): [Reply, Reply] => [one.field, one.value]) }
    : chosen.map(({ field }) => field);
};

/** Cells that begin with the hash of what they name, and how many. */
export interface Chooser {
  readonly cells: CellReader;
  readonly fieldCount: number;
  readonly prng: Prng;
}

export function pickOne(chooser: Chooser): Field {
  if (chooser.fieldCount <= SMALL_FIELDS) return chooser.prng.pick(allFields(chooser.cells));
  const window = [...chooser.cells.scan({ from: cellAtPlace(chooser.prng.u32()), limit: WINDOW })];
  if (window.length < WINDOW) window.push(...chooser.cells.scan({ limit: WINDOW - window.length }));
  const { cell, value } = chooser.prng.pick(window);
  return { field: fieldOf(cell), value };
}

/** `count` fields, perhaps some of them often. */
export function pickRepeated(chooser: Chooser, count: number): Field[] {
  if (chooser.fieldCount <= Math.max(SMALL_FIELDS, count)) {
    const fields = allFields(chooser.cells);
    return Array.from({ length: count }, () => chooser.prng.pick(fields));
  }
  return Array.from({ length: count }, () => pickOne(chooser));
}

/** `count` fields, none twice; all of them when they are fewer. */
export function pickDifferent(chooser: Chooser, count: number): Field[] {
  if (count === 0) return [];
  if (chooser.fieldCount <= SMALL_FIELDS || count * 3 > chooser.fieldCount) {
    const fields = allFields(chooser.cells);
    if (count >= fields.length) return fields;
    // The first `count` steps of a shuffle.
    for (let i = 0; i < count; i++) {
      const j = i + chooser.prng.below(fields.length - i);
      [fields[i], fields[j]] = [fields[j]!, fields[i]!];
    }
    return fields.slice(0, count);
  }
  // At most a third is wanted, so that most picks are new ones. Picks are told apart by their bytes, as text of one byte a character.
  const chosen = new Map<string, Field>();
  while (chosen.size < count) {
    const picked = pickOne(chooser);
    chosen.set(asLatin1(picked.field), picked);
  }
  return [...chosen.values()];
}
