import type { CommandArgs } from './command-table.ts';
import { SYNTAX_ERROR } from './error-replies.ts';
import { type Int64, parseInteger } from './integer.ts';
import type { TaggedReply } from './reply.ts';
import { isWord } from './word.ts';

/** What LRANGE, LTRIM, ZRANGE … mean by two places, negative ones from the end, both included; `to` here is left out. Undefined: nothing. */
export function rangeOf(first: Int64, last: Int64, length: number): { readonly from: number; readonly to: number } | undefined {
  const from = Math.max(0, first < 0 ? length + Number(first) : Number(first));
  const to = Math.min(length, (last < 0 ? length + Number(last) : Number(last)) + 1);
  return from < to ? { from, to } : undefined;
}

/** `[COUNT n]` at the end of a command, from `at` on; 1 without it, else the error reply. */
export function countUpTo(args: CommandArgs, at: number, tooSmall: TaggedReply): number | TaggedReply {
  if (args.length === at) return 1;
  if (args.length < at + 2 || !isWord(args[at]!, 'COUNT')) return SYNTAX_ERROR;
  const count = parseInteger(args[at + 1]!);
  if (count === undefined || count < 1) return tooSmall;
  return args.length > at + 2 ? SYNTAX_ERROR : Number(count);
}
