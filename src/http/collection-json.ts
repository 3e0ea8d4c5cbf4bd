import { isUtf8 } from 'node:buffer';
import type { Bytes } from '../base/bytes.ts';
import { KIB } from '../base/units.ts';
import { bad, base64Bytes, textBytes, viewOf } from './json-bytes.ts';

// Collections as JSON, beside what record-json.ts says of strings:
//
//   {"key":"l","type":"list","value":["first","second",{"base64":"/w=="}]}
//   {"key":"s","type":"set","value":["a","b"]}
//   {"key":"h","type":"hash","value":[["field","value"],["other","value"]],"ttlMs":60000}
//   {"key":"z","type":"zset","value":[["member","1.5"],["last","inf"]]}
//
// A large one is told in pieces, a line each, in order: all but the first say with "from" how many items, members or fields came before.
// Written once or twice, a piece leaves the same.

export type CollectionType = 'list' | 'set' | 'hash' | 'zset';

/** A collection, or a piece of one. */
export interface CollectionRecord {
  readonly key: Bytes;
  readonly type: CollectionType;
  /** Items; members; field, value, field, value, …; member, score as text, … */
  readonly parts: readonly Bytes[];
  /** Items, members or fields in the pieces before this one. */
  readonly from: number;
  readonly ttlMs: number | undefined;
}

const TYPES: readonly CollectionType[] = ['list', 'set', 'hash', 'zset'];
/** A piece is closed once it has this much. */
const PIECE_BYTES = 256 * KIB;
const PIECE_PARTS = 4_096;
const MAX_FROM = 2 ** 40;

export function isPaired(type: CollectionType): boolean {
  return type === 'hash' || type === 'zset';
}

/** @throws KF_BAD_RECORD saying what is wrong. */
export function collectionOf(fields: Readonly<Record<string, unknown>>): Pick<CollectionRecord, 'type' | 'parts' | 'from'> {
  const type = TYPES.find((one) => one === fields['type']);
  if (!type) throw bad(`"type" must be string, ${TYPES.join(', ')}, not ${JSON.stringify(fields['type'])}`);
  const { value, from = 0 } = fields;
  if (!Array.isArray(value) || value.length === 0) throw bad(`the "value" of a ${type} is an array, not empty`);
  if (typeof from !== 'number' || !Number.isInteger(from) || from < 0 || from > MAX_FROM) throw bad('"from" must be a whole number');
  if (!isPaired(type)) return { type, parts: value.map(partOf), from };
  const parts = value.flatMap((pair: unknown) => {
    if (!Array.isArray(pair) || pair.length !== 2) throw bad(`the "value" of a ${type} is an array of pairs`);
    return pair.map(partOf);
  });
  if (type === 'zset' && parts.some((part, at) => at % 2 === 1 && !isScore(part))) throw bad('the scores of a zset are numbers, as text');
  return { type, parts, from };
}

function partOf(json: unknown): Bytes {
  if (typeof json === 'string') return textBytes(json, 'a value');
  if (typeof json !== 'object' || json === null || !('base64' in json))
    throw bad('the parts of a collection are strings or {"base64":"…"}');
  return base64Bytes(json.base64, '"base64"');
}

/** As a dump writes it: stricter than Redis, which also takes hexadecimal. */
function isScore(bytes: Bytes): boolean {
  return /^[+-]?(inf|(\d+\.?\d*|\.\d+)(e[+-]?\d{1,3})?)$/i.test(viewOf(bytes).toString('latin1'));
}

/** `"type":…,"value":[…]` and, of a piece that is not the first, `"from":…`. */
export function collectionFields({ type, parts, from }: Pick<CollectionRecord, 'type' | 'parts' | 'from'>): string {
  const items: string[] = [];
  if (isPaired(type)) for (let at = 0; at < parts.length; at += 2) items.push(`[${partJson(parts[at]!)},${partJson(parts[at + 1]!)}]`);
  else for (const part of parts) items.push(partJson(part));
  return `"type":"${type}","value":[${items.join(',')}]${from === 0 ? '' : `,"from":${from}`}`;
}

function partJson(bytes: Bytes): string {
  return isUtf8(bytes) ? JSON.stringify(viewOf(bytes).toString('utf8')) : `{"base64":"${viewOf(bytes).toString('base64')}"}`;
}

/** A whole collection as the pieces it is told in. */
export function* piecesOf(
  type: CollectionType,
  parts: readonly Bytes[],
): IterableIterator<Pick<CollectionRecord, 'type' | 'parts' | 'from'>> {
  const step = isPaired(type) ? 2 : 1;
  let first = 0;
  let bytes = 0;
  for (let at = 0; at < parts.length; at += step) {
    for (let part = at; part < at + step; part++) bytes += parts[part]!.length;
    const end = at + step;
    if (bytes < PIECE_BYTES && end - first < PIECE_PARTS && end < parts.length) continue;
    yield { type, parts: parts.slice(first, end), from: first / step };
    first = end;
    bytes = 0;
  }
}
