import { KeyfleetError } from '../../base/errors.ts';

/** @throws KF_BAD_SEED when `seed` is not a whole number from 0 to 2^32 - 1. */
export function seed32(seed: number | bigint): number {
  const value = Number(seed);
  if (!Number.isInteger(value) || value < 0 || value >= 2 ** 32) throw badSeed(seed, '2^32 - 1');
  return value;
}

/** The two halves of a 64-bit seed, the higher first. @throws KF_BAD_SEED when `seed` is not a whole number from 0 to 2^64 - 1. */
export function seed64(seed: number | bigint): readonly [hi: number, lo: number] {
  if (typeof seed === 'bigint' ? seed < 0n || seed >= 1n << 64n : !Number.isSafeInteger(seed) || seed < 0) throw badSeed(seed, '2^64 - 1');
  return typeof seed === 'bigint' ? [Number(seed >> 32n), Number(seed & 0xffff_ffffn)] : [Math.floor(seed / 2 ** 32), seed >>> 0];
}

function badSeed(seed: number | bigint, max: string): KeyfleetError {
  return new KeyfleetError('KF_BAD_SEED', `seed ${seed} is not a whole number from 0 to ${max} (above 2^53 give a bigint)`);
}
