import { isUtf8 } from 'node:buffer';
import type { Bytes } from '../base/bytes.ts';
import { type CollectionRecord, collectionFields, collectionOf } from './collection-json.ts';
import { bad, base64Bytes, textBytes, viewOf } from './json-bytes.ts';

// Records as JSON, as the batch and scan routes and `keyfleet import`/`export` write them: {"key":"a","value":"b","ttlMs":60000}.
// Bytes that are not UTF-8 go into "key64" and "value64", in base64. Collections have a type: see collection-json.ts.

export type KeyedRecord = StringRecord | CollectionRecord;

export interface StringRecord {
  readonly key: Bytes;
  readonly value: Bytes;
  /** Time left to live; undefined: for ever. */
  readonly ttlMs: number | undefined;
}

/** @throws KF_BAD_RECORD saying what is wrong. */
export function recordOf(json: unknown): KeyedRecord {
  const fields = objectOf(json);
  const key = bytesField(fields, 'key');
  const { type } = fields;
  if (type !== undefined && type !== 'string') {
    if (!key) throw bad('a record needs "key" or "key64"');
    return { key, ...collectionOf(fields), ttlMs: ttlOf(fields['ttlMs']) };
  }
  const value = bytesField(fields, 'value');
  if (!key) throw bad('a record needs "key" or "key64"');
  if (!value) throw bad('a record needs "value" or "value64"');
  return { key, value, ttlMs: ttlOf(fields['ttlMs']) };
}

/** A key as it stands in a batch: `"text"`, `{"key":"text"}` or `{"key64":"base64"}`. @throws KF_BAD_RECORD. */
export function keyOf(json: unknown): Bytes {
  if (typeof json === 'string') return textBytes(json, 'a key');
  const key = bytesField(objectOf(json), 'key');
  if (!key) throw bad('a key is a string, {"key":"text"} or {"key64":"base64"}');
  return key;
}

/** The bytes of `name` (text) or `name64` (base64); undefined when neither is there. @throws KF_BAD_RECORD. */
function bytesField(fields: Readonly<Record<string, unknown>>, name: 'key' | 'value'): Bytes | undefined {
  const text = fields[name];
  const base64 = fields[`${name}64`];
  if (text !== undefined && text !== null) {
    if (base64 !== undefined) throw bad(`"${name}" and "${name}64" exclude each other`);
    if (typeof text !== 'string') throw bad(`"${name}" must be a string`);
    return textBytes(text, `"${name}"`);
  }
  if (base64 === undefined || base64 === null) return undefined;
  return base64Bytes(base64, `"${name}64"`);
}

/** A time to live: a whole number of milliseconds from 1, or absent. @throws KF_BAD_RECORD. */
function ttlOf(ttlMs: unknown): number | undefined {
  if (ttlMs === undefined || ttlMs === null) return undefined;
  if (typeof ttlMs !== 'number' || !Number.isInteger(ttlMs) || ttlMs < 1 || ttlMs > MAX_TTL_MS) throw bad(TTL_RULE);
  return ttlMs;
}

/** Some 3,000 years: the sum with any clock of ours stays a safe integer. */
export const MAX_TTL_MS = 1e14;
export const TTL_RULE = '"ttlMs" must be a whole number of milliseconds from 1';

/** `"name":"text"`, or `"name64":"base64"` when the bytes are not UTF-8. */
export function jsonField(name: 'key' | 'value', bytes: Bytes): string {
  return isUtf8(bytes)
    ? `"${name}":${JSON.stringify(viewOf(bytes).toString('utf8'))}`
    : `"${name}64":"${viewOf(bytes).toString('base64')}"`;
}

/** The record as one line, without the line feed. */
export function recordLine(record: KeyedRecord): string {
  const value = 'type' in record ? collectionFields(record) : jsonField('value', record.value);
  return `{${jsonField('key', record.key)},${value}${record.ttlMs === undefined ? '' : `,"ttlMs":${record.ttlMs}`}}`;
}

function objectOf(json: unknown): Readonly<Record<string, unknown>> {
  if (typeof json !== 'object' || json === null || Array.isArray(json)) throw bad('a record is a JSON object');
  return json as Readonly<Record<string, unknown>>;
}
