import { hash } from 'node:crypto';
import type { Bytes } from '../base/bytes.ts';
import { packr } from './batch-wire.ts';
import type { VolumeNumber } from './bucket-map.ts';
import type { Metakey, Suspicion } from './metakeys.ts';

// How the records of the master's database are named and written.

export const TAG = { master: 1, volume: 2, metakey: 3, suspicion: 4, together: 5 } as const;
/** Keys longer than this are stored by a digest; the record holds them whole. */
const LONG_KEY_BYTES = 1_000;

export function bytesOf(tag: number): Bytes {
  return Uint8Array.of(tag);
}

export function numbered(tag: number, number: number): Bytes {
  return Uint8Array.of(tag, number >>> 24, (number >>> 16) & 255, (number >>> 8) & 255, number & 255);
}

export function metakeyName(key: Bytes): Bytes {
  const isLong = key.length > LONG_KEY_BYTES;
  const named = isLong ? hash('sha256', key, 'buffer') : key;
  const name = Buffer.allocUnsafe(2 + named.length);
  name[0] = TAG.metakey;
  name[1] = isLong ? 1 : 0;
  name.set(named, 2);
  return name;
}

/** By volume, so that a scan meets them in the batches in which they are looked into. */
export function suspicionName({ volume, key, version }: Suspicion): Bytes {
  const isLong = key.length > LONG_KEY_BYTES;
  const named = isLong ? hash('sha256', key, 'buffer') : key;
  const name = Buffer.allocUnsafe(14 + named.length);
  name[0] = TAG.suspicion;
  name.writeUInt32BE(volume, 1);
  name.writeDoubleBE(version, 5);
  name[13] = isLong ? 1 : 0;
  name.set(named, 14);
  return name;
}

export function encodeMetakey({ key, version, sizeBytes, sha256, volumes, deleting }: Metakey): Bytes {
  const fields: unknown[] = [version, sizeBytes, Buffer.from(sha256, 'hex'), volumes, deleting];
  if (key.length > LONG_KEY_BYTES) fields.push(key);
  return packr.pack(fields);
}

export function decodeMetakey(key: Bytes, value: Bytes): Metakey {
  const [version, sizeBytes, sha256, volumes, deleting, whole] = packr.unpack(value) as [
    number,
    number,
    Uint8Array,
    number[],
    boolean,
    Uint8Array?,
  ];
  return { key: whole ?? key, version, sizeBytes, sha256: hexOf(sha256), volumes, deleting };
}

/** A storage may give out bytes that are no Buffer, and then none of their parts is one. */
function hexOf(bytes: Uint8Array): string {
  return Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength).toString('hex');
}

export function encodeTogether(suspicions: readonly Suspicion[]): Bytes {
  return packr.pack([suspicions.map(({ volume }) => volume), suspicions.map(({ key }) => key), suspicions.map(({ version }) => version)]);
}

export function decodeTogether(value: Bytes): Suspicion[] {
  const [volumes, keys, versions] = packr.unpack(value) as [VolumeNumber[], Bytes[], number[]];
  return volumes.map((volume, index) => ({ volume, key: keys[index]!, version: versions[index]! }));
}
