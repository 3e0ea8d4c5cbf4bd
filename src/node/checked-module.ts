import { inspect } from 'node:util';
import { type Bytes, toHex } from '../base/bytes.ts';
import { isKeyfleetError, KeyfleetError, messageOf } from '../base/errors.ts';
import { messagePack } from '../shard/message-pack.ts';
import type { CommandContext, CommandResult, ManyContext, OpenRecord, ValueModule } from '../shard/value-module.ts';
import { CellsOverlay } from './cells-overlay.ts';

// A debugging aid: every command and query is run twice, the second time on a command and a value that have been written down and read back, at
// another time of the clock and with other random numbers. A module that is pure says and writes the same both times.

/** How far the clock is put forward for the second run. */
const LATER_MS = 86_413_337;

/** `module`, with every call checked. Several times slower. Calls fail with KF_MODULE_IMPURE, and then nothing was changed. */
export function checkedModule<V, C, R, Q, A>(module: ValueModule<V, C, R, Q, A>): ValueModule<V, C, R, Q, A> {
  const { name, codec, commandCodec, commandMany, queryMany } = module;
  const replyCodec = module.replyCodec ?? messagePack<R>();
  const anyCodec = messagePack<unknown>();
  const reread = (value: V | undefined): V | undefined => (value === undefined ? undefined : codec.decode(codec.encode(value)));
  const written = (value: V | undefined): string => (value === undefined ? 'absent' : toHex(codec.encode(value)));

  /** Runs both, and returns what the second did. */
  const twice = <T>(what: string, first: () => Told<T>, second: () => Told<T>): Told<T> => {
    const before = attempt(first, 0);
    const after = attempt(second, LATER_MS);
    const difference = firstDifference(before.did, after.did);
    if (difference) {
      throw new KeyfleetError('KF_MODULE_IMPURE', `${what} of the value module ${name} is not pure: run twice, ${difference}`);
    }
    if (after.kind === 'threw') throw after.error;
    return after.told;
  };

  const replied = (reply: R): Deed => ({ exactly: toHex(replyCodec.encode(reply)), words: () => `replied ${shown(reply)}` });
  const answered = (result: { readonly answer: A; readonly load?: number }): Deed[] => [
    { exactly: toHex(anyCodec.encode(result.answer)), words: () => `answered ${shown(result.answer)}` },
    { exactly: String(result.load), words: () => `said load ${result.load}` },
  ];

  const runOne = (ctx: CommandContext, value: V | undefined, command: C): Told<CommandResult<V, R>> => {
    const cells = new CellsOverlay(ctx.cells);
    const before = written(value);
    const result = module.command({ ...viewOf(ctx), cells }, value, command);
    if (result.value === value && written(value) !== before) {
      throw new KeyfleetError(
        'KF_MODULE_IMPURE',
        `a command of the value module ${name} changed the value that it was given instead of a copy`,
      );
    }
    return {
      result,
      did: [
        replied(result.reply),
        { exactly: written(result.value), words: () => `left the value ${shown(result.value)}` },
        { exactly: String(result.expireAtMs), words: () => `said expireAtMs ${result.expireAtMs}` },
        { exactly: String(result.sizeBytes), words: () => `said sizeBytes ${result.sizeBytes}` },
        { exactly: String(result.load), words: () => `said load ${result.load}` },
        { exactly: cells.summary(), words: () => `left the cells ${cells.summary()}` },
      ],
      apply: () => cells.apply(),
    };
  };

  return {
    ...module,
    command(ctx, value, command) {
      const bytes = commandCodec.encode(command);
      const { result, apply } = twice(
        'a command',
        () => runOne(ctx, reread(value), command),
        () => runOne(ctx, reread(value), commandCodec.decode(bytes)),
      );
      apply();
      // The same value as was given need not be written again.
      return result.value !== undefined && value !== undefined && written(result.value) === written(value) ? { ...result, value } : result;
    },
    query(ctx, value, query) {
      const run = () => {
        const result = module.query(ctx, reread(value), query);
        return { result, did: answered(result), apply: () => {} };
      };
      return twice('a query', run, run).result;
    },
    ...(commandMany && {
      commandMany(ctx: ManyContext<V>, command: C) {
        const bytes = commandCodec.encode(command);
        const run = (given: C) => {
          const records = new Map<string, RecordOverlay<V>>();
          const open = (key: Bytes): OpenRecord<V> => {
            let record = records.get(toHex(key));
            if (!record) records.set(toHex(key), (record = new RecordOverlay(ctx.open(key), reread)));
            return record;
          };
          const result = commandMany({ nowMs: ctx.nowMs, open }, given);
          const changes = [...records].map(([key, record]) => `${key}: ${record.summary(written)}`).sort();
          return {
            result,
            did: [
              replied(result.reply),
              { exactly: String(result.load), words: () => `said load ${result.load}` },
              { exactly: changes.join(', '), words: () => `left ${changes.join(', ')}` },
            ],
            apply: () => {
              for (const record of records.values()) record.apply();
            },
          };
        };
        const { result, apply } = twice(
          'a command over several keys',
          () => run(command),
          () => run(commandCodec.decode(bytes)),
        );
        apply();
        return result;
      },
    }),
    ...(queryMany && {
      queryMany(ctx, query) {
        const run = () => {
          const result = queryMany(ctx, query);
          return { result, did: answered(result), apply: () => {} };
        };
        return twice('a query over several keys', run, run).result;
      },
    }),
  };
}

/** One of the things that a call did. */
interface Deed {
  /** The same for the same. */
  readonly exactly: string;
  readonly words: () => string;
}

interface Told<T> {
  readonly result: T;
  /** All that it did. */
  readonly did: readonly Deed[];
  readonly apply: () => void;
}

type Attempt<T> =
  | { readonly kind: 'told'; readonly told: Told<T>; readonly did: readonly Deed[] }
  | { readonly kind: 'threw'; readonly error: unknown; readonly did: readonly Deed[] };

/** What was not the same both times. What threw differs from what did not in the first place. */
function firstDifference(before: readonly Deed[], after: readonly Deed[]): string | undefined {
  const at = before.findIndex(({ exactly }, index) => exactly !== after[index]!.exactly);
  return at < 0 ? undefined : `it ${cut(before[at]!.words())}, then it ${cut(after[at]!.words())}`;
}

function shown(value: unknown): string {
  return inspect(value, { breakLength: Number.POSITIVE_INFINITY, maxArrayLength: 10, maxStringLength: 80 });
}

function attempt<T>(run: () => Told<T>, laterMs: number): Attempt<T> {
  try {
    const told = elsewhen(laterMs, run);
    return { kind: 'told', told, did: told.did };
  } catch (error) {
    const words = `threw ${isKeyfleetError(error) ? `${error.code}: ` : ''}${messageOf(error)}`;
    return { kind: 'threw', error, did: [{ exactly: words, words: () => words }] };
  }
}

/** Calls `run` with a clock that is ahead by `laterMs`, and with random numbers of that time's own. */
function elsewhen<T>(laterMs: number, run: () => T): T {
  const { Date: realDate } = globalThis;
  const realRandom = Math.random;
  class LaterDate extends realDate {
    constructor(...given: readonly unknown[]) {
      if (given.length === 0) super(realDate.now() + laterMs);
      else super(...(given as [number]));
    }

    static override now(): number {
      return realDate.now() + laterMs;
    }
  }
  globalThis.Date = LaterDate as DateConstructor;
  Math.random = () => (realRandom() + (laterMs === 0 ? 0 : 1)) / 2;
  try {
    return run();
  } finally {
    globalThis.Date = realDate;
    Math.random = realRandom;
  }
}

function viewOf(ctx: CommandContext): Omit<CommandContext, 'cells'> {
  const { key, nowMs, expireAtMs, sizeBytes } = ctx;
  return { key, nowMs, expireAtMs, sizeBytes };
}

/** One key of a command over several, changed only in memory. */
class RecordOverlay<V> implements OpenRecord<V> {
  readonly cells: CellsOverlay;
  value: V | undefined;
  #options: { readonly expireAtMs?: number | null; readonly sizeBytes?: number } = {};
  #wasSet = false;
  readonly #below: OpenRecord<V>;

  constructor(below: OpenRecord<V>, reread: (value: V | undefined) => V | undefined) {
    this.#below = below;
    this.cells = new CellsOverlay(below.cells);
    this.value = reread(below.value);
  }

  get key(): Bytes {
    return this.#below.key;
  }
  get expireAtMs(): number | undefined {
    const { expireAtMs } = this.#options;
    return expireAtMs === undefined ? this.#below.expireAtMs : (expireAtMs ?? undefined);
  }
  get sizeBytes(): number {
    return this.#options.sizeBytes ?? this.#below.sizeBytes;
  }

  set(value: V | undefined, options: { readonly expireAtMs?: number | null; readonly sizeBytes?: number } = {}): void {
    this.value = value;
    this.#wasSet = true;
    this.#options = { ...this.#options, ...options };
  }

  summary(written: (value: V | undefined) => string): string {
    const { expireAtMs, sizeBytes } = this.#options;
    return `${this.#wasSet ? written(this.value) : 'not set'} ${expireAtMs} ${sizeBytes} ${this.cells.summary()}`;
  }

  apply(): void {
    this.cells.apply();
    if (this.#wasSet) this.#below.set(this.value, this.#options);
  }
}

function cut(text: string): string {
  return text.length > 200 ? `${text.slice(0, 200)}…` : text;
}
