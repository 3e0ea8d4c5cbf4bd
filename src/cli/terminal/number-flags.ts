import { usage } from './usage.ts';

/** A whole number that a flag was given; `_` may stand between its digits. @throws KF_USAGE. */
export function wholeNumber(flag: string, text: string, least?: number): number;
export function wholeNumber(flag: string, text: string | undefined, least?: number): number | undefined;
export function wholeNumber(flag: string, text: string | undefined, least = 1): number | undefined {
  if (text === undefined) return undefined;
  const value = Number(text.replaceAll('_', '') || Number.NaN);
  if (!Number.isSafeInteger(value) || value < least) throw usage(`${flag}: ${JSON.stringify(text)} is not a whole number from ${least}`);
  return value;
}

/** Milliseconds of a flag that is given in seconds, which may be a fraction. @throws KF_USAGE. */
export function secondsInMs(flag: string, text: string): number {
  const seconds = Number(text.trim() || Number.NaN);
  if (!(seconds >= 0)) throw usage(`${flag}: ${JSON.stringify(text)} is not a number of seconds`);
  return 1_000 * seconds;
}
