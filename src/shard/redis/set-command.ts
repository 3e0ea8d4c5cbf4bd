import type { Bytes } from '../../base/bytes.ts';
import type { CommandArgs } from './command-table.ts';
import { SYNTAX_ERROR, WRONG_TYPE } from './error-replies.ts';
import { EX, EXAT, type ExpiryUnit, PX, PXAT, parseExpiry } from './expiry-time.ts';
import { unchanged, type WriteHandler } from './handler.ts';
import { OK } from './reply.ts';
import { isString } from './value.ts';
import { isWord } from './word.ts';

// SET and GETEX, whose options are read by one reader, as in Redis: what may stand beside what is the same for both.

/** `SET key value [NX | XX] [GET] [EX s | PX ms | EXAT s | PXAT ms | KEEPTTL]`. */
export const set: WriteHandler = (ctx, value, args) => {
  if (args.length === 3) {
    if (value !== undefined && !isString(value)) ctx.cells.clear();
    return { reply: OK, value: args[2], expireAtMs: null };
  }
  const options = parseOptions(args, 3, 'set');
  if (options === undefined) return unchanged(value, SYNTAX_ERROR);
  let expireAtMs: number | undefined;
  if (options.expiry !== undefined) {
    // The spread last: first, it takes more than a microsecond.
    const parsed = parseExpiry({ nowMs: ctx.nowMs, command: 'set', ...options.expiry });
    if (typeof parsed !== 'number') return unchanged(value, parsed);
    expireAtMs = parsed;
  }
  if (options.isGet && value !== undefined && !isString(value)) return unchanged(value, WRONG_TYPE);
  const previous = isString(value) ? value : null;
  if (value === undefined ? options.isXx : options.isNx) return unchanged(value, options.isGet ? previous : null);
  if (value !== undefined && !isString(value)) ctx.cells.clear();
  const reply = options.isGet ? previous : OK;
  return options.isKeepTtl ? { reply, value: args[2] } : { reply, value: args[2], expireAtMs: expireAtMs ?? null };
};

/** `GETEX key [EX s | PX ms | EXAT s | PXAT ms | PERSIST]`. */
export const getEx: WriteHandler = (ctx, value, args) => {
  const options = parseOptions(args, 2, 'getex');
  if (options === undefined) return unchanged(value, SYNTAX_ERROR);
  if (value === undefined) return unchanged(value, null);
  if (!isString(value)) return unchanged(value, WRONG_TYPE);
  if (options.expiry !== undefined) {
    const expireAtMs = parseExpiry({ nowMs: ctx.nowMs, command: 'getex', ...options.expiry });
    return typeof expireAtMs === 'number' ? { reply: value, value, expireAtMs } : unchanged(value, expireAtMs);
  }
  return options.isPersist ? { reply: value, value, expireAtMs: null } : unchanged(value, value);
};

interface Options {
  isNx: boolean;
  isXx: boolean;
  isGet: boolean;
  isKeepTtl: boolean;
  isPersist: boolean;
  expiry: { readonly text: Bytes; readonly unit: ExpiryUnit } | undefined;
}

const UNITS: readonly (readonly [string, ExpiryUnit])[] = [
  ['EX', EX],
  ['PX', PX],
  ['EXAT', EXAT],
  ['PXAT', PXAT],
];

/** Undefined: a syntax error. */
function parseOptions(args: CommandArgs, from: number, command: 'set' | 'getex'): Options | undefined {
  const options: Options = { isNx: false, isXx: false, isGet: false, isKeepTtl: false, isPersist: false, expiry: undefined };
  const isSet = command === 'set';
  for (let i = from; i < args.length; i++) {
    const word = args[i]!;
    if (isSet && isWord(word, 'NX') && !options.isXx) options.isNx = true;
    else if (isSet && isWord(word, 'XX') && !options.isNx) options.isXx = true;
    else if (isSet && isWord(word, 'GET')) options.isGet = true;
    else if (isSet && isWord(word, 'KEEPTTL') && options.expiry === undefined) options.isKeepTtl = true;
    else if (!isSet && isWord(word, 'PERSIST') && options.expiry === undefined) options.isPersist = true;
    else {
      const unit = UNITS.find(([name]) => isWord(word, name))?.[1];
      if (unit === undefined || options.isKeepTtl || options.isPersist || i + 1 === args.length) return undefined;
      if (options.expiry !== undefined && options.expiry.unit !== unit) return undefined;
      options.expiry = { text: args[++i]!, unit };
    }
  }
  return options;
}
