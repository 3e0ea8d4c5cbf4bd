import type { CommandArgs } from './command-table.ts';
import type { RedisResult } from './handler.ts';
import type { Reply } from './reply.ts';
import { isString } from './value.ts';

// How much work a command was, in units of one small command, for the policy that splits shards. Reckoned from what went in and came out:
// sixteen items, or 16 KiB of a string read or written, weigh as much as one command more.

const ITEMS_PER_UNIT = 16;
const BYTES_PER_UNIT = 16 * 1024;

/** 1 for a small reply. */
export function loadOfReply(reply: Reply): number {
  if (typeof reply !== 'object' || reply === null) return 1;
  if (reply instanceof Uint8Array) return 1 + Math.floor(reply.length / BYTES_PER_UNIT);
  if ('pairs' in reply) return 1 + Math.floor(reply.pairs.length / ITEMS_PER_UNIT);
  return Array.isArray(reply) ? 1 + Math.floor(reply.length / ITEMS_PER_UNIT) : 1;
}

/** 1 for a command of few arguments that leaves a hash or a small string. */
export function loadOfCommand(args: CommandArgs, result: RedisResult): number {
  const bytes = isString(result.value) ? Math.floor(result.value.length / BYTES_PER_UNIT) : 0;
  return 1 + Math.floor(args.length / ITEMS_PER_UNIT) + bytes;
}
