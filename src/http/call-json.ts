import { base64Bytes } from './json-bytes.ts';

// JSON has no bytes: {"$base64": "…"} stands for them, in both directions. A Map becomes an array of pairs, a Set an array, a bigint a string.

/** What a client's JSON says, with bytes where it has `{"$base64": …}`. */
export function jsonWithBytes(json: unknown): unknown {
  if (typeof json !== 'object' || json === null) return json;
  if (Array.isArray(json)) return json.map(jsonWithBytes);
  const entries = Object.entries(json);
  const [only] = entries;
  if (entries.length === 1 && only![0] === '$base64' && typeof only![1] === 'string') return base64Bytes(only![1], '"$base64"');
  return Object.fromEntries(entries.map(([name, value]) => [name, jsonWithBytes(value)]));
}

/** What JSON can say of `value`; undefined is null. */
export function jsonWithoutBytes(value: unknown): unknown {
  if (value === undefined) return null;
  if (typeof value === 'bigint') return value.toString();
  if (typeof value !== 'object' || value === null || value instanceof Date) return value;
  if (value instanceof Uint8Array) return { $base64: Buffer.from(value.buffer, value.byteOffset, value.length).toString('base64') };
  if (Array.isArray(value)) return value.map(jsonWithoutBytes);
  if (value instanceof Map || value instanceof Set) return [...value].map(jsonWithoutBytes);
  return Object.fromEntries(Object.entries(value).map(([name, one]) => [name, jsonWithoutBytes(one)]));
}
