import type { Bytes } from '../../base/bytes.ts';
import type { ManyContext } from '../value-module.ts';
import { SYNTAX_ERROR } from './error-replies.ts';
import type { ArgsCheck, WriteManyHandler } from './handler.ts';
import { parseInteger } from './integer.ts';
import { countUpTo } from './ranges.ts';
import { errorReply, type Reply, type TaggedReply } from './reply.ts';
import type { RedisValue } from './value.ts';

export const NUMKEYS_TOO_SMALL: TaggedReply = errorReply('ERR numkeys should be greater than 0');
const COUNT_TOO_SMALL: TaggedReply = errorReply('ERR count should be greater than 0');

export interface PopFromSeveral {
  /** Where `numkeys` stands. */
  readonly at: number;
  /** Comes after all arguments have been parsed, and before the keys are looked at. */
  readonly check?: ArgsCheck | undefined;
}

export interface Popping {
  /** What the word for an end means; undefined when it is none. */
  readonly endOf: (word: Bytes) => boolean | undefined;
  /** Takes from the first of the keys that is there. */
  readonly pop: (ctx: ManyContext<RedisValue>, keys: readonly Bytes[], end: boolean, count: number) => Reply;
}

/** `numkeys key … END [COUNT n]`: LMPOP, ZMPOP and those of them that wait. */
export function popFromSeveral({ at, check }: PopFromSeveral, { endOf, pop }: Popping): WriteManyHandler {
  return (ctx, args) => {
    const keyCount = parseInteger(args[at]!);
    if (keyCount === undefined || keyCount < 1) return NUMKEYS_TOO_SMALL;
    const endAt = at + 1 + Number(keyCount);
    const word = args[endAt];
    const end = word === undefined ? undefined : endOf(word);
    if (end === undefined) return SYNTAX_ERROR;
    const count = countUpTo(args, endAt + 1, COUNT_TOO_SMALL);
    if (typeof count !== 'number') return count;
    return check?.(args) ?? pop(ctx, args.slice(at + 1, endAt), end, count);
  };
}
