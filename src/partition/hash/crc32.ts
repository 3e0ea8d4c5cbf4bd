/**
 * CRC-32 (zlib, Ethernet) and CRC-32C (Castagnoli): checksums, which rings of other systems use as hashes.
 * They are linear, so keys that differ alike hash to values that differ alike; `murmur3_x86_128` spreads better.
 */
import type { Bytes } from '../../base/bytes.ts';
import { crc16 as crc16Of } from './crc16.ts';
import { hasher32 } from './word-hasher.ts';

function tableOf(polynomial: number): Int32Array {
  return Int32Array.from({ length: 256 }, (_, byte) => {
    let crc = byte;
    for (let bit = 0; bit < 8; bit++) crc = crc & 1 ? (crc >>> 1) ^ polynomial : crc >>> 1;
    return crc;
  });
}

const IEEE = tableOf(0xedb88320);
const CASTAGNOLI = tableOf(0x82f63b78);

function crcOf(table: Int32Array, data: Bytes, length: number): number {
  let crc = -1;
  for (let i = 0; i < length; i++) crc = (crc >>> 8) ^ table[(crc ^ data[i]!) & 0xff]!;
  return ~crc >>> 0;
}

export function crc32Of(data: Bytes, length: number = data.length): number {
  return crcOf(IEEE, data, length);
}

export function crc32cOf(data: Bytes, length: number = data.length): number {
  return crcOf(CASTAGNOLI, data, length);
}

/** CRC-16/XMODEM, as Redis Cluster has it; see `redis_slot` for whole keys with hash tags. */
export const crc16 = hasher32({ name: 'crc16', seeded: false, bits: 16, hash: (data, length) => crc16Of(data, 0, length) });
export const crc32 = hasher32({ name: 'crc32', seeded: false, hash: crc32Of });
export const crc32c = hasher32({ name: 'crc32c', seeded: false, hash: crc32cOf });
