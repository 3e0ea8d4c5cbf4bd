import type { Bytes } from '../../base/bytes.ts';
import type { CommandArgs } from './command-table.ts';
import { SYNTAX_ERROR } from './error-replies.ts';
import type { ArgsCheck, Handlers, WriteManyHandler } from './handler.ts';
import { asciiBytes } from './integer.ts';
import { isLeftEnd, moveItem, mPopFrom, popFromFirst } from './list-commands.ts';
import { parseLongDouble } from './long-double.ts';
import { errorReply, NULL_ARRAY, type Reply, type TaggedReply } from './reply.ts';
import { isPopped, popFromFirstSortedSet, zMPopFrom } from './sorted-set-commands.ts';

// The commands that wait. The module carries them out at once: where there is nothing they answer null, and it is the door that waits, and asks
// again when a key has changed. In a transaction nobody waits.

const NO_FLOAT = errorReply('ERR timeout is not a float or out of range');
const NEGATIVE = errorReply('ERR timeout is negative');
const OUT_OF_RANGE = errorReply('ERR timeout is out of range');
const INT64_END = 2 ** 63;
const NOW_ABOUT_MS = 2 ** 41;

/** Seconds, with a fraction, as whole milliseconds; 0: forever. */
export function parseTimeoutMs(seconds: Bytes): number | TaggedReply {
  const parsed = parseLongDouble(seconds);
  if (parsed === undefined) return NO_FLOAT;
  if (typeof parsed === 'string') return NEGATIVE;
  const timeoutMs = Math.ceil(Number(parsed.mantissa) * 2 ** parsed.exponent * 1_000);
  // As Redis's conversion has it: what does not fit overflows.
  if (timeoutMs < 0 || timeoutMs >= INT64_END) return NEGATIVE;
  return timeoutMs > INT64_END - NOW_ABOUT_MS ? OUT_OF_RANGE : timeoutMs;
}

/** BLPOP and BRPOP. */
function popOne(isLeft: boolean): WriteManyHandler {
  return (ctx, args) => {
    const timeout = parseTimeoutMs(args.at(-1)!);
    if (typeof timeout !== 'number') return timeout;
    const popped = popFromFirst(ctx, args.slice(1, -1), isLeft, 1);
    return Array.isArray(popped) ? [popped[0] as Reply, (popped[1] as readonly Reply[])[0]!] : popped;
  };
}

/** BZPOPMIN and BZPOPMAX. */
function popEnd(isMax: boolean): WriteManyHandler {
  return (ctx, args) => {
    const timeout = parseTimeoutMs(args.at(-1)!);
    if (typeof timeout !== 'number') return timeout;
    const popped = popFromFirstSortedSet(ctx, args.slice(1, -1), isMax, 1);
    if (popped === undefined) return NULL_ARRAY;
    return isPopped(popped) ? [popped.key, ...popped.pairs[0]!] : popped;
  };
}

const blMove: WriteManyHandler = (ctx, args) => {
  const isFromLeft = isLeftEnd(args[3]!);
  const isToLeft = isLeftEnd(args[4]!);
  if (isFromLeft === undefined || isToLeft === undefined) return SYNTAX_ERROR;
  const timeout = parseTimeoutMs(args[5]!);
  return typeof timeout === 'number' ? moveItem(ctx, args, { isFromLeft, isToLeft }) : timeout;
};

const brPopLPush: WriteManyHandler = (ctx, args) => {
  const timeout = parseTimeoutMs(args[3]!);
  return typeof timeout === 'number' ? moveItem(ctx, args, { isFromLeft: false, isToLeft: true }) : timeout;
};

/** Of BLMPOP and BZMPOP, whose timeout comes first and is looked at last. */
const badTimeout: ArgsCheck = (args) => {
  const timeout = parseTimeoutMs(args[1]!);
  return typeof timeout === 'number' ? undefined : timeout;
};

export const BLOCKING_WRITES: Handlers<WriteManyHandler> = {
  blpop: popOne(true),
  brpop: popOne(false),
  blmove: blMove,
  brpoplpush: brPopLPush,
  blmpop: mPopFrom({ at: 2, check: badTimeout }),
  bzpopmin: popEnd(false),
  bzpopmax: popEnd(true),
  bzmpop: zMPopFrom({ at: 2, check: badTimeout }),
};

/** How a blocking command waits. */
export interface BlockingForm {
  /** 0: forever. */
  readonly timeoutMs: number;
  /** A change of any of these may end the wait. */
  readonly keys: readonly Bytes[];
  /** The same command for one of the keys alone: what to ask when that key has changed. */
  readonly onlyFor: (key: Bytes) => CommandArgs;
  /** What the module answers when there is nothing yet. */
  readonly nothing: Reply;
  /** It takes from one list to put on another, whose type may be wrong. */
  readonly isMove: boolean;
}

/** How a blocking command that the module has accepted waits. */
export function blockingForm(name: string, args: CommandArgs): BlockingForm {
  const timeoutOf = (text: Bytes): number => {
    const timeoutMs = parseTimeoutMs(text);
    return typeof timeoutMs === 'number' ? timeoutMs : 0;
  };
  switch (name) {
    case 'blmove':
    case 'brpoplpush':
      return { timeoutMs: timeoutOf(args.at(-1)!), keys: [args[1]!], onlyFor: () => args, nothing: null, isMove: true };
    case 'blmpop':
    case 'bzmpop': {
      const keysEnd = 3 + Number(String.fromCharCode(...args[2]!));
      const rest = args.slice(keysEnd);
      const onlyFor = (key: Bytes): CommandArgs => [args[0]!, args[1]!, asciiBytes('1'), key, ...rest];
      return { timeoutMs: timeoutOf(args[1]!), keys: args.slice(3, keysEnd), onlyFor, nothing: NULL_ARRAY, isMove: false };
    }
    default: {
      const onlyFor = (key: Bytes): CommandArgs => [args[0]!, key, args.at(-1)!];
      return { timeoutMs: timeoutOf(args.at(-1)!), keys: args.slice(1, -1), onlyFor, nothing: NULL_ARRAY, isMove: false };
    }
  }
}
