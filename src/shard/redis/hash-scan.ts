import type { Bytes } from '../../base/bytes.ts';
import { NOT_AN_INTEGER, SYNTAX_ERROR, WRONG_TYPE } from './error-replies.ts';
import { matchesGlob } from './glob.ts';
import type { ReadHandler, RedisQuery } from './handler.ts';
import { cellAtPlace, fieldOf, placeOf } from './hash-fields.ts';
import { asciiBytes, parseInteger } from './integer.ts';
import type { Reply, TaggedReply } from './reply.ts';
import { INVALID_CURSOR, parseScanCursor } from './scan-cursor.ts';
import { isString } from './value.ts';
import { isWord } from './word.ts';

// HSCAN: a field that is there from the first call to the last is answered exactly once, whatever is set and deleted meanwhile. The cursor
// is the place (see hash-fields.ts) at which the next call begins; all fields of a place come together. As in Redis, a narrow hash is answered
// whole, whatever the cursor and COUNT.

const NO_MORE: Bytes = asciiBytes('0');
const PLACE_END = 0x1_0000_0000;

interface ScanOptions {
  /** About so many at a time. */
  readonly count: number;
  readonly pattern: Bytes | undefined;
}

/** `HSCAN key cursor [MATCH pattern] [COUNT n]`. */
export const hScan: ReadHandler = (ctx, value, args) => {
  const cursor = parseScanCursor(args[2]!);
  if (cursor === undefined) return INVALID_CURSOR;
  if (value === undefined) return [NO_MORE, []];
  if (isString(value)) return WRONG_TYPE;
  const options = parseScanOptions(args, 3);
  if ('kind' in options) return options;
  const from = value.isWide ? cursor : 0n;
  const least = value.isWide ? options.count : Number.POSITIVE_INFINITY;
  if (from >= PLACE_END) return [NO_MORE, []];
  const items: Reply[] = [];
  let visited = 0;
  let lastPlace = -1;
  for (const { cell, value: fieldValue } of ctx.cells.scan({ from: cellAtPlace(Number(from)) })) {
    const place = placeOf(cell);
    if (visited >= least && place !== lastPlace) return [asciiBytes(String(lastPlace + 1)), items];
    visited++;
    lastPlace = place;
    const field = fieldOf(cell);
    if (options.pattern === undefined || matchesGlob(options.pattern, field)) items.push(field, fieldValue);
  }
  return [NO_MORE, items];
};

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
