/**
 * CRC-16/XMODEM: polynomial 0x1021, start 0, nothing reflected. The checksum that Redis Cluster picks slots by.
 * Spreads keys well over 16,384 slots and has no other virtue as a hash: 16 bits, linear, no seed.
 */
import type { Bytes } from '../../base/bytes.ts';

const TABLE = Uint16Array.from({ length: 256 }, (_, byte) => {
  let crc = byte << 8;
  for (let bit = 0; bit < 8; bit++) crc = crc & 0x8000 ? (crc << 1) ^ 0x1021 : crc << 1;
  return crc;
});

/** The CRC of `data[from … to)`, in 0 … 65,535. */
export function crc16(data: Bytes, from = 0, to: number = data.length): number {
  let crc = 0;
  for (let i = from; i < to; i++) crc = ((crc << 8) & 0xffff) ^ TABLE[(crc >>> 8) ^ data[i]!]!;
  return crc;
}

/** The CRC of the characters `[from … to)` of an ASCII text; -1 when one of them is not ASCII. */
export function crc16Ascii(text: string, from = 0, to: number = text.length): number {
  let crc = 0;
  let seen = 0;
  for (let i = from; i < to; i++) {
    const unit = text.charCodeAt(i);
    seen |= unit;
    crc = ((crc << 8) & 0xffff) ^ TABLE[(crc >>> 8) ^ (unit & 0x7f)]!;
  }
  return seen < 0x80 ? crc : -1;
}
