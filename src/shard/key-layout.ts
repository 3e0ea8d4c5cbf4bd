import { sha256 } from '@noble/hashes/sha2.js';
import { type Bytes, concatBytes, copyBytes, freshBytes } from '../base/bytes.ts';
import type { SizedBytes } from './sized-bytes.ts';

// Where things lie in storage. One ordered space, cut into tables by a leading number:
//
//   [table u32][position u32][key ...] 00 01                    a record
//   [table u32][position u32][key ...] 00 02 [generation][cell]  a cell of it, right behind its record
//   [table+1 u32][expireAtMs f64][position u32][key ...] 00 01   its place in the order of expiry
//   [0 u32] ...                                                  the node's own records: see systemKey
//   [1 u32][keyspace u32][place u32][client u8 + bytes]          what a client's requests came to: see sessions.ts
//   [1 u32][keyspace u32][place u32][client u8 + bytes][seq u64]  a result of it that lies apart
//
// A zero byte inside a key is written 00 FF, so that byte order is the order of (position, key) and no key is a prefix of another.
// A key whose written form is longer than KEY_LIMIT is cut there and told apart by its SHA-256 behind the mark 00 FE; its record holds the
// whole key. A cell longer than MAX_CELL_BYTES likewise. So the longest storage key has MAX_STORAGE_KEY_BYTES.

/** The written form of a key may have this many bytes before it is cut. */
export const KEY_LIMIT = 400;
/** A longer cell sorts by its first bytes, then by digest. */
export const MAX_CELL_BYTES = 512;
const DIGEST_BYTES = 32;
const GENERATION_BYTES = 5;
/** No key that a shard gives its storage is longer. */
export const MAX_STORAGE_KEY_BYTES = 8 + KEY_LIMIT + 2 + DIGEST_BYTES + 2 + GENERATION_BYTES + MAX_CELL_BYTES + DIGEST_BYTES;

/** In a key of the session table: behind table, keyspace and place. */
const SESSION_CLIENT_AT = 12;

export const RECORD = 0x01;
export const CELL = 0x02;
const BEHIND_CELLS = 0x03;
const CUT = 0xfe;
const ZERO = 0xff;

/** Tables come in pairs: the even one holds records, the odd one behind it their order of expiry. */
export const TABLE_STEP = 2;
/** The node's own records. */
export const SYSTEM_TABLE = 0;
/** The sessions of all keyspaces: they stay when a keyspace is cleared. */
export const SESSION_TABLE = 1;
export const META_TABLE = 2;
export const FIRST_TABLE = 4;

/** The storage key of a record, written into bytes of `into`, or into its own. */
export function recordKey(table: number, position: number, key: Bytes, into?: SizedBytes): Bytes {
  const length = key.length;
  let zeros = 0;
  if (length > KEY_LIMIT) return cutKey(table, position, key);
  for (let i = 0; i < length; i++) if (key[i] === 0) zeros++;
  if (length + zeros > KEY_LIMIT) return cutKey(table, position, key);
  const bytes = 10 + length + zeros;
  const out = into ? into.take(bytes) : freshBytes(bytes);
  putU32(out, 0, table);
  putU32(out, 4, position);
  let at = 8;
  if (zeros === 0 && length > 24) {
    out.set(key, 8);
    at += length;
  } else {
    for (let i = 0; i < length; i++) {
      const byte = key[i]!;
      out[at++] = byte;
      if (byte === 0) out[at++] = ZERO;
    }
  }
  out[at] = 0;
  out[at + 1] = RECORD;
  return out;
}

function cutKey(table: number, position: number, key: Bytes): Bytes {
  const out = new Uint8Array(8 + KEY_LIMIT + 2 + DIGEST_BYTES + 2);
  putU32(out, 0, table);
  putU32(out, 4, position);
  let at = 8;
  for (const byte of key) {
    if (at + (byte === 0 ? 2 : 1) > 8 + KEY_LIMIT) break;
    out[at++] = byte;
    if (byte === 0) out[at++] = ZERO;
  }
  out[at + 1] = CUT;
  out.set(sha256(key), at + 2);
  at += 2 + DIGEST_BYTES;
  out[at + 1] = RECORD;
  return out.subarray(0, at + 2);
}

/** Whether a record's storage key was cut, so that the record must hold the key itself. */
export function isCut(recordStorageKey: Bytes): boolean {
  return recordStorageKey.length > 10 + KEY_LIMIT;
}

export interface ParsedStorageKey {
  readonly position: number;
  /** Undefined when it was cut: the record holds it. */
  readonly key: Bytes | undefined;
  /** RECORD or CELL. */
  readonly tag: number;
  /** Where the tag stands. */
  readonly tagAt: number;
}

/** Reads the key of a record or of a cell back from its storage key. */
export function parseStorageKey(storageKey: Bytes): ParsedStorageKey {
  const position = readU32(storageKey, 4);
  const key = new Uint8Array(storageKey.length);
  let length = 0;
  for (let at = 8; at < storageKey.length; at++) {
    const byte = storageKey[at]!;
    if (byte !== 0) {
      key[length++] = byte;
      continue;
    }
    const mark = storageKey[++at];
    if (mark === ZERO) {
      key[length++] = 0;
    } else if (mark === CUT) {
      const tagAt = at + 1 + DIGEST_BYTES + 1;
      return { position, key: undefined, tag: storageKey[tagAt] ?? 0, tagAt };
    } else {
      return { position, key: key.subarray(0, length), tag: mark ?? 0, tagAt: at };
    }
  }
  return { position, key: undefined, tag: 0, tagAt: storageKey.length };
}

/** The storage key of the record that a record's or cell's storage key belongs to. */
export function recordKeyOf(storageKey: Bytes, tagAt: number): Bytes {
  const out = copyBytes(storageKey, 0, tagAt + 1);
  out[tagAt] = RECORD;
  return out;
}

/** The first storage key behind a record and all its cells, those of earlier generations included. */
export function behindRecord(storageKey: Bytes, tagAt = storageKey.length - 1): Bytes {
  const out = copyBytes(storageKey, 0, tagAt + 1);
  out[tagAt] = BEHIND_CELLS;
  return out;
}

/** What the storage keys of a generation of cells begin with. */
export function cellPrefix(recordStorageKey: Bytes, generation: number): Bytes {
  const base = recordStorageKey.length;
  const out = new Uint8Array(base + GENERATION_BYTES);
  out.set(recordStorageKey);
  out[base - 1] = CELL;
  out[base] = Math.floor(generation / 0x1_0000_0000);
  putU32(out, base + 1, generation >>> 0);
  return out;
}

export function cellKey(prefix: Bytes, cell: Bytes): Bytes {
  const length = cell.length;
  if (length > MAX_CELL_BYTES) return concatBytes(prefix, cell.subarray(0, MAX_CELL_BYTES), sha256(cell));
  const out = freshBytes(prefix.length + length);
  out.set(prefix);
  out.set(cell, prefix.length);
  return out;
}

/** Undefined when the cell was cut: its value holds it. */
export function cellOf(prefix: Bytes, storageKey: Bytes): Bytes | undefined {
  return storageKey.length > prefix.length + MAX_CELL_BYTES ? undefined : copyBytes(storageKey, prefix.length);
}

/** Where a record with an expiry stands in the order of expiry. */
export function expiryKey(recordStorageKey: Bytes, expireAtMs: number): Bytes {
  const out = freshBytes(recordStorageKey.length + 8);
  putU32(out, 0, readU32(recordStorageKey, 0) + 1);
  new DataView(out.buffer, out.byteOffset).setFloat64(4, expireAtMs);
  out.set(recordStorageKey.subarray(4), 12);
  return out;
}

/** The record that an entry of the order of expiry stands for. */
export function expiryTarget(indexKey: Bytes): { readonly expireAtMs: number; readonly recordStorageKey: Bytes } {
  const recordStorageKey = copyBytes(indexKey, 8);
  putU32(recordStorageKey, 0, readU32(indexKey, 0) - 1);
  return { expireAtMs: new DataView(indexKey.buffer, indexKey.byteOffset).getFloat64(4), recordStorageKey };
}

/** What of the order of expiry of `table` is due at `nowMs`, a whole number. */
export function dueRange(table: number, nowMs: number): { readonly from: Bytes; readonly to: Bytes } {
  const to = new Uint8Array(12);
  putU32(to, 0, table + 1);
  new DataView(to.buffer).setFloat64(4, nowMs + 1);
  return { from: tableStart(table + 1), to };
}

export function tableStart(table: number): Bytes {
  const out = new Uint8Array(4);
  putU32(out, 0, table);
  return out;
}

/** The first storage key of a table at or behind `position`, which may be 2^32: then the end of the table. */
export function positionStart(table: number, position: number): Bytes {
  if (position >= 0x1_0000_0000) return tableStart(table + 1);
  const out = new Uint8Array(8);
  putU32(out, 0, table);
  putU32(out, 4, position);
  return out;
}

/** Where a client's session lies. `place`: the first position of its place. */
export function sessionKey(keyspaceId: number, place: number, clientId: Bytes): Bytes {
  const out = freshBytes(SESSION_CLIENT_AT + 1 + clientId.length);
  putU32(out, 0, SESSION_TABLE);
  putU32(out, 4, keyspaceId);
  putU32(out, 8, place);
  out[SESSION_CLIENT_AT] = clientId.length;
  out.set(clientId, SESSION_CLIENT_AT + 1);
  return out;
}

/** Likewise, of what a session's key, or that of a result, has behind its place. */
export function placedSessionKey(keyspaceId: number, place: number, rest: Bytes): Bytes {
  const out = freshBytes(SESSION_CLIENT_AT + rest.length);
  putU32(out, 0, SESSION_TABLE);
  putU32(out, 4, keyspaceId);
  putU32(out, 8, place);
  out.set(rest, SESSION_CLIENT_AT);
  return out;
}

/** Where a result of a session lies that is not in its record. */
export function sessionResultKey(sessionStorageKey: Bytes, requestSeq: number): Bytes {
  const length = sessionStorageKey.length;
  const out = freshBytes(length + 8);
  out.set(sessionStorageKey);
  putU32(out, length, Math.floor(requestSeq / 0x1_0000_0000));
  putU32(out, length + 4, requestSeq >>> 0);
  return out;
}

/** The storage key of the session that a storage key in the session table belongs to; the same object when it is one. */
export function sessionKeyOf(storageKey: Bytes): Bytes {
  const length = SESSION_CLIENT_AT + 1 + storageKey[SESSION_CLIENT_AT]!;
  return length === storageKey.length ? storageKey : copyBytes(storageKey, 0, length);
}

/** The place of a storage key in the session table. */
export function sessionPlace(storageKey: Bytes): number {
  return readU32(storageKey, 8);
}

/** The sessions of the keys at positions `from <= p < to` of a keyspace. */
export function sessionRange(
  keyspaceId: number,
  range: { readonly from: number; readonly to: number },
): { readonly from: Bytes; readonly to: Bytes } {
  return { from: sessionStart(keyspaceId, range.from), to: sessionStart(keyspaceId, range.to) };
}

function sessionStart(keyspaceId: number, position: number): Bytes {
  const out = new Uint8Array(SESSION_CLIENT_AT);
  const isEnd = position >= 0x1_0000_0000;
  putU32(out, 0, SESSION_TABLE);
  putU32(out, 4, isEnd ? keyspaceId + 1 : keyspaceId);
  putU32(out, 8, isEnd ? 0 : position);
  return out;
}

/** A record of the node itself: `kind` is one ASCII letter. */
export function systemKey(kind: string, rest: Bytes): Bytes {
  const out = new Uint8Array(5 + rest.length);
  out[4] = kind.charCodeAt(0);
  out.set(rest, 5);
  return out;
}

/** The state of a shard. */
export function stateKey(shardId: number): Bytes {
  return systemKey('s', tableStart(shardId));
}

/** The number of the last entry of a shard of which its hook has been told. */
export function hookCursorKey(shardId: number): Bytes {
  return systemKey('k', tableStart(shardId));
}

/** Where an entry waits for the hook of its keyspace. */
export function hookOutboxKey(keyspaceId: number, shardId: number, seq: number): Bytes {
  const place = new Uint8Array(16);
  putU32(place, 0, keyspaceId);
  putU32(place, 4, shardId);
  putU32(place, 8, Math.floor(seq / 0x1_0000_0000));
  putU32(place, 12, seq >>> 0);
  return systemKey('o', place);
}

/** What of one shard waits, up to entry `uptoSeq`. */
export function shardOutboxRange(
  keyspaceId: number,
  shardId: number,
  uptoSeq = Number.MAX_SAFE_INTEGER,
): { readonly from: Bytes; readonly to: Bytes } {
  return { from: hookOutboxKey(keyspaceId, shardId, 0), to: hookOutboxKey(keyspaceId, shardId, uptoSeq + 1) };
}

/** Says that shard `heir` took over `shardId`, whose hook has not been told of all. */
export function hookHeirKey(keyspaceId: number, heir: number, shardId: number): Bytes {
  return systemKey('h', concatBytes(tableStart(keyspaceId), tableStart(heir), tableStart(shardId)));
}

/** The shards of which {@link hookHeirKey} says so, of one heir. */
export function hookHeirRange(keyspaceId: number, heir: number): { readonly from: Bytes; readonly to: Bytes } {
  const from = systemKey('h', concatBytes(tableStart(keyspaceId), tableStart(heir)));
  return { from, to: behindPrefix(from) };
}

export function hookHeir(storageKey: Bytes): number {
  return readU32(storageKey, 9);
}

export function hookHeirShard(storageKey: Bytes): number {
  return readU32(storageKey, 13);
}

export function hookOutboxPlace(storageKey: Bytes): { readonly shard: number; readonly seq: number } {
  return { shard: readU32(storageKey, 9), seq: readU32(storageKey, 13) * 0x1_0000_0000 + readU32(storageKey, 17) };
}

export function hookOutboxRange(keyspaceId: number): { readonly from: Bytes; readonly to: Bytes } {
  return { from: systemKey('o', tableStart(keyspaceId)), to: systemKey('o', tableStart(keyspaceId + 1)) };
}

/** A range of storage keys that nothing refers to any more; the value is its exclusive end. */
export function garbageKey(from: Bytes): Bytes {
  return systemKey('g', from);
}

/** The first key behind all that begin with `prefix`; the prefix must not be all FF. */
export function behindPrefix(prefix: Bytes): Bytes {
  let length = prefix.length;
  while (prefix[length - 1] === 0xff) length--;
  const out = copyBytes(prefix, 0, length);
  out[length - 1]!++;
  return out;
}

function putU32(out: Bytes, at: number, value: number): void {
  out[at] = value >>> 24;
  out[at + 1] = value >>> 16;
  out[at + 2] = value >>> 8;
  out[at + 3] = value;
}

export function readU32(bytes: Bytes, at: number): number {
  return ((bytes[at]! << 24) | (bytes[at + 1]! << 16) | (bytes[at + 2]! << 8) | bytes[at + 3]!) >>> 0;
}
