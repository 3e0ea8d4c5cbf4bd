import { type Bytes, concatBytes } from '../../base/bytes.ts';
import { NOT_AN_INTEGER, SYNTAX_ERROR, WRONG_TYPE } from './error-replies.ts';
import { matchesGlob } from './glob.ts';
import type { ReadHandler, RedisQuery } from './handler.ts';
import { cellAtPlace, fieldOf, placeOf } from './hash-fields.ts';
import { asciiBytes, parseInteger } from './integer.ts';
import type { Reply, TaggedReply } from './reply.ts';
import { INVALID_CURSOR, parseScanCursor } from './scan-cursor.ts';
import { type CollectionKind, isNot } from './value.ts';
import { isWord } from './word.ts';

// HSCAN, SSCAN and ZSCAN: a field or member that is there from the first call to the last is answered exactly once, whatever is set and deleted meanwhile. The cursor
// is the place (see hash-fields.ts) at which the next call begins; all fields of a place come together. As in Redis, a narrow
// collection is answered whole, whatever the cursor and COUNT.

const NO_BYTES: Bytes = new Uint8Array(0);
const NO_MORE: Bytes = asciiBytes('0');
const PLACE_END = 0x1_0000_0000;

interface ScanOptions {
  /** About so many at a time. */
  readonly count: number;
  readonly pattern: Bytes | undefined;
}

/** Cells as SSCAN, HSCAN or ZSCAN answer them. */
interface ScannedCells {
  /** What these cells begin with, before the hash. */
  readonly prefix?: Bytes;
  readonly isWithValues: boolean;
  /** How a value is answered; as it is when absent. */
  readonly show?: (value: Bytes, isWide: boolean) => Bytes;
}

/** `HSCAN key cursor [MATCH pattern] [COUNT n]`. */
export const hScan: ReadHandler = scanHandler('hash', { isWithValues: true });

/** A walk over the cells of a collection, in the order of the hash that they begin with. */
export function scanHandler(kind: CollectionKind, cells: ScannedCells): ReadHandler {
  const { prefix = NO_BYTES, isWithValues, show = (value: Bytes) => value } = cells;
  const skipped = prefix.length;
  const all = skipped === 0 ? {} : { to: Uint8Array.of(...prefix.subarray(0, -1), prefix.at(-1)! + 1) };
  return (ctx, value, args) => {
    const cursor = parseScanCursor(args[2]!);
    if (cursor === undefined) return INVALID_CURSOR;
    if (value === undefined) return [NO_MORE, []];
    if (isNot(value, kind)) return WRONG_TYPE;
    const options = parseScanOptions(args, 3);
    if ('kind' in options) return options;
    const from = value.isWide ? cursor : 0n;
    const least = value.isWide ? options.count : Number.POSITIVE_INFINITY;
    if (from >= PLACE_END) return [NO_MORE, []];
    const items: Reply[] = [];
    let visited = 0;
    let lastPlace = -1;
    for (const { cell, value: fieldValue } of ctx.cells.scan({ from: concatBytes(prefix, cellAtPlace(Number(from))), ...all })) {
      const name = skipped === 0 ? cell : cell.subarray(skipped);
      const place = placeOf(name);
      if (visited >= least && place !== lastPlace) return [asciiBytes(String(lastPlace + 1)), items];
      visited++;
      lastPlace = place;
      const field = fieldOf(name);
      if (options.pattern === undefined || matchesGlob(options.pattern, field)) {
        items.push(field);
        if (isWithValues) items.push(show(fieldValue, value.isWide));
      }
    }
    return [NO_MORE, items];
  };
}

/** `[MATCH pattern] [COUNT n]`, the later ones counting; else the error reply. */
function parseScanOptions(args: RedisQuery, from: number): ScanOptions | TaggedReply {
  let count = 10;
  let pattern: Bytes | undefined;
  for (let i = from; i < args.length; i += 2) {
    const word = args[i]!;
    const operand = args[i + 1];
    if (operand === undefined) return SYNTAX_ERROR;
    if (isWord(word, 'COUNT')) {
      const parsed = parseInteger(operand);
      if (parsed === undefined) return NOT_AN_INTEGER;
      if (parsed < 1) return SYNTAX_ERROR;
      count = Number(parsed);
    } else if (isWord(word, 'MATCH')) pattern = operand;
    else return SYNTAX_ERROR;
  }
  return { count, pattern };
}
