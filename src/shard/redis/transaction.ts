import { type Bytes, fromUtf8, utf8 } from '../../base/bytes.ts';
import type { ManyContext, OpenRecord, QueryContext } from '../value-module.ts';
import type { CommandArgs } from './command-table.ts';
import type { RedisResult } from './handler.ts';
import type { Reply } from './reply.ts';
import { isString, type RedisValue, stringSizeBytes } from './value.ts';

// What EXEC carries out: the commands of a transaction as one command over several keys, so that they are ordered, made durable and replayed as one.
//
//   \0exec, then for each command the number of its arguments and these

const EXEC = '\0exec';
const EXEC_BYTES = utf8(EXEC);

/** Commands that have passed the table, all of whose keys are in one slot. Answers an array with a reply for each. */
export function transactionCommand(commands: readonly CommandArgs[]): CommandArgs {
  return [EXEC_BYTES, ...commands.flatMap((command) => [utf8(String(command.length)), ...command])];
}

export function isTransaction(args: CommandArgs): boolean {
  return args[0]![0] === 0 && fromUtf8(args[0]!) === EXEC;
}

/** Runs the commands one after the other, each seeing what those before it did. A command that is refused does not hinder the others. */
export function runTransaction(
  ctx: ManyContext<RedisValue>,
  args: CommandArgs,
  run: (ctx: ManyContext<RedisValue>, command: CommandArgs) => Reply,
): readonly Reply[] {
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
  for (let at = 1; at < args.length; ) {
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
    this.#record.set(value, { ...options, sizeBytes });
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
