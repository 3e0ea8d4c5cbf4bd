import { type Bytes, toHex } from '../base/bytes.ts';
import type { CountChange, RecordView, ShardRecord } from './shard-record.ts';
import type { ManyContext, ManyQueryContext, OpenRecord } from './value-module.ts';

// The keys of one command over several: each is opened once, and what the module sets is taken when it returns.

class PendingRecord<Value> implements OpenRecord<Value> {
  readonly #record: ShardRecord<Value>;
  #value: Value | undefined;
  #expireAtMs: number | null | undefined;
  #sizeBytes: number | undefined;

  constructor(record: ShardRecord<Value>) {
    this.#record = record;
    this.#value = record.value;
  }

  get wrote(): boolean {
    return this.#record.wrote;
  }
  get key(): Bytes {
    return this.#record.key;
  }
  get value(): Value | undefined {
    return this.#value;
  }
  get expireAtMs(): number | undefined {
    return this.#expireAtMs === undefined ? this.#record.expireAtMs : (this.#expireAtMs ?? undefined);
  }
  get sizeBytes(): number {
    return this.#sizeBytes ?? this.#record.sizeBytes;
  }
  get cells(): OpenRecord<Value>['cells'] {
    return this.#record.cells;
  }

  set(value: Value | undefined, options: { readonly expireAtMs?: number | null; readonly sizeBytes?: number } = {}): void {
    this.#value = value;
    if (options.expireAtMs !== undefined) this.#expireAtMs = options.expireAtMs;
    if (options.sizeBytes !== undefined) this.#sizeBytes = options.sizeBytes;
  }

  get position(): number {
    return this.#record.position;
  }

  take(counts: CountChange): void {
    // An expired record that the command only looked at stays for the sweep.
    if (this.#value === undefined && this.#record.value === undefined && this.#record.generation === 0) return;
    this.#record.take(this.#value, this.#expireAtMs, this.#sizeBytes, counts);
  }
}

export function openMany<Value>(options: { readonly nowMs: number; readonly open: (key: Bytes) => ShardRecord<Value> }): {
  readonly context: ManyContext<Value>;
  /** Brings each record to storage; `counted` hears of each what it changed, before the next. */
  take(counts: CountChange, counted: (position: number) => void): void;
  /** The keys of which something was written. */
  changedKeys(): Bytes[];
} {
  const opened = new Map<string, PendingRecord<Value>>();
  return {
    context: {
      nowMs: options.nowMs,
      open(key) {
        const name = toHex(key);
        let record = opened.get(name);
        if (!record) opened.set(name, (record = new PendingRecord(options.open(key))));
        return record;
      },
    },
    take(counts, counted) {
      for (const record of opened.values()) {
        record.take(counts);
        counted(record.position);
      }
    },
    changedKeys: () => [...opened.values()].filter((record) => record.wrote).map((record) => record.key),
  };
}

export function openManyForQuery<Value>(options: {
  readonly nowMs: number;
  readonly open: (key: Bytes) => RecordView<Value>;
}): ManyQueryContext<Value> {
  const opened = new Map<string, RecordView<Value>>();
  return {
    nowMs: options.nowMs,
    open(key) {
      const name = toHex(key);
      let view = opened.get(name);
      if (!view) opened.set(name, (view = options.open(key)));
      return view;
    },
  };
}

/** What a command did, before it is taken down. */
export interface Ran<Reply> {
  readonly reply: Reply;
  changedKeys(): readonly Bytes[];
}
