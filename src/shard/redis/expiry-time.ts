import type { Bytes } from '../../base/bytes.ts';
import { NOT_AN_INTEGER } from './error-replies.ts';
import { INT64_MAX, INT64_MIN, type Int64, parseInteger } from './integer.ts';
import { errorReply, type TaggedReply } from './reply.ts';

// Times of expiry are milliseconds since 1970 in a safe number; Redis has 64 bits. A later time than the year 287,396 is kept as that.

const LATEST_MS = Number.MAX_SAFE_INTEGER;

/** In what an expiry is given: a unit of so many milliseconds, counted from now or from 1970. */
export interface ExpiryUnit {
  readonly unitMs: 1 | 1000;
  readonly isRelative: boolean;
}

export const EX: ExpiryUnit = { unitMs: 1000, isRelative: true };
export const PX: ExpiryUnit = { unitMs: 1, isRelative: true };
export const EXAT: ExpiryUnit = { unitMs: 1000, isRelative: false };
export const PXAT: ExpiryUnit = { unitMs: 1, isRelative: false };

export function invalidExpireTime(command: string): TaggedReply {
  return errorReply(`ERR invalid expire time in '${command}' command`);
}

/** When a key expires that is to last `amount` units, before 1970 included; undefined when Redis's 64 bits overflow. */
export function expiryMs(amount: Int64, unit: ExpiryUnit, nowMs: number): number | undefined {
  const baseMs = unit.isRelative ? nowMs : 0;
  if (typeof amount === 'number') return clampMs(amount * unit.unitMs + baseMs);
  const unitMs = BigInt(unit.unitMs);
  if (amount > INT64_MAX / unitMs || amount < INT64_MIN / unitMs) return undefined;
  const at = amount * unitMs + BigInt(baseMs);
  return at > INT64_MAX ? undefined : clampMs(Number(at));
}

function clampMs(ms: number): number {
  return Math.max(-LATEST_MS, Math.min(LATEST_MS, ms));
}

/** Reads the expiry that SET, GETEX, SETEX and PSETEX take: above zero, else the error reply. `command` is named in it. */
export function parseExpiry(options: {
  readonly text: Bytes;
  readonly unit: ExpiryUnit;
  readonly nowMs: number;
  readonly command: string;
}): number | TaggedReply {
  const amount = parseInteger(options.text);
  if (amount === undefined) return NOT_AN_INTEGER;
  const at = amount <= 0 ? undefined : expiryMs(amount, options.unit, options.nowMs);
  return at ?? invalidExpireTime(options.command);
}
