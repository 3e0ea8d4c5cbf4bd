import { type Bytes, fromUtf8, utf8 } from '../../base/bytes.ts';
import type { ManyContext, OpenRecord, QueryContext } from '../value-module.ts';
import type { CommandArgs } from './command-table.ts';
import type { RedisResult } from './handler.ts';
import type { Reply } from './reply.ts';
import { isString, type RedisValue, stringSizeBytes } from './value.ts';
import { areUnchanged, type WatchedKey } from './watched-keys.ts';

// What EXEC carries out: the commands of a transaction as one command over several keys, so that they are ordered, made durable and replayed as one.
//
//   \0exec, then for each command the number of its arguments and these
//   \0exec-if, the number of watched keys, each of them and what it must hold, then the same

const EXEC = '\0exec';
const EXEC_BYTES = utf8(EXEC);
const EXEC_IF = '\0exec-if';
const EXEC_IF_BYTES = utf8(EXEC_IF);

/**
 * Commands that have passed the table, all of whose keys are in one slot, like those of `watched`. Answers an array with a reply for each; the null
 * array, and nothing is done, when a watched key does not hold what it held.
 */
export function transactionCommand(commands: readonly CommandArgs[], watched: readonly WatchedKey[] = []): CommandArgs {
  const queued = commands.flatMap((command) => [utf8(String(command.length)), ...command]);
  if (watched.length === 0) return [EXEC_BYTES, ...queued];
  return [EXEC_IF_BYTES, utf8(String(watched.length)), ...watched.flatMap(({ key, print }) => [key, print]), ...queued];
}

export function isTransaction(args: CommandArgs): boolean {
  if (args[0]![0] !== 0) return false;
  const name = fromUtf8(args[0]!);
  return name === EXEC || name === EXEC_IF;
}

function watchedOf(args: CommandArgs): readonly WatchedKey[] {
  if (fromUtf8(args[0]!) !== EXEC_IF) return [];
  return Array.from({ length: Number(fromUtf8(args[1]!)) }, (_, i) => ({ key: args[2 + 2 * i]!, print: args[3 + 2 * i]! }));
}

/**
 * Runs the commands one after the other, each seeing what those before it did. A command that is refused does not hinder the others. Undefined when a
 * watched key has changed.
 */
export function runTransaction(
  ctx: ManyContext<RedisValue>,
  args: CommandArgs,
  run: (ctx: ManyContext<RedisValue>, command: CommandArgs) => Reply,
): readonly Reply[] | undefined {
  const watched = watchedOf(args);
  if (!areUnchanged(ctx, watched)) return undefined;
  const records = new Map<OpenRecord<RedisValue>, TransactionRecord>();
  const shared: ManyContext<RedisValue> = {
    nowMs: ctx.nowMs,
    open(key) {
      const opened = ctx.open(key);
      let record = records.get(opened);
      if (record === undefined) records.set(opened, (record = new TransactionRecord(opened)));
      return record;
    },
  };
  const replies: Reply[] = [];
  for (let at = watched.length === 0 ? 1 : 2 + 2 * watched.length; at < args.length; ) {
    const count = Number(fromUtf8(args[at]!));
    replies.push(run(shared, args.slice(at + 1, at + 1 + count)));
    at += 1 + count;
  }
  return replies;
}

/** A record that several commands change in turn: what one leaves is whole for the next, cells, size and expiry included. */
class TransactionRecord implements OpenRecord<RedisValue> {
  readonly #record: OpenRecord<RedisValue>;

  constructor(record: OpenRecord<RedisValue>) {
    this.#record = record;
  }

  get key(): Bytes {
    return this.#record.key;
  }
  get value(): RedisValue | undefined {
    return this.#record.value;
  }
  get expireAtMs(): number | undefined {
    return this.#record.expireAtMs;
  }
  get sizeBytes(): number {
    return this.#record.sizeBytes;
  }
  get cells(): OpenRecord<RedisValue>['cells'] {
    return this.#record.cells;
  }

  set(value: RedisValue | undefined, options: { readonly expireAtMs?: number | null; readonly sizeBytes?: number } = {}): void {
    if (value === undefined) {
      this.#record.cells.clear();
      this.#record.set(undefined, { expireAtMs: null, sizeBytes: 0 });
      return;
    }
    const sizeBytes = options.sizeBytes ?? (value !== this.value && isString(value) ? stringSizeBytes(value) : this.sizeBytes);
    const { expireAtMs } = options;
    this.#record.set(value, expireAtMs === undefined ? { sizeBytes } : { expireAtMs, sizeBytes });
  }
}

/** A record as a command on one key reads it. */
export function contextOf(
  record: OpenRecord<RedisValue>,
  nowMs: number,
): QueryContext & { readonly cells: OpenRecord<RedisValue>['cells'] } {
  const { key, expireAtMs, sizeBytes, cells } = record;
  return { key, nowMs, expireAtMs, sizeBytes, cells };
}

/** Has `record` be what a command on one key left. */
export function applyResult(record: OpenRecord<RedisValue>, result: RedisResult, nowMs: number): void {
  const expireAtMs = result.expireAtMs === undefined ? record.expireAtMs : (result.expireAtMs ?? undefined);
  const isGone = result.value === undefined || (expireAtMs !== undefined && expireAtMs <= nowMs);
  if (isGone && record.value === undefined) return;
  if (isGone) record.set(undefined);
  else
    record.set(result.value, {
      expireAtMs: expireAtMs ?? null,
      ...(result.sizeBytes === undefined ? {} : { sizeBytes: result.sizeBytes }),
    });
}
