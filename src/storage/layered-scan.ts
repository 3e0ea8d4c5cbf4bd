import { assert } from '../base/assert.ts';
import { after, type DeadRuns, NOTED_FROM } from './dead-runs.ts';
import { fromLatin1, latin1 } from './latin1.ts';
import type { TableRange, TableRangeOptions } from './lmdb-table.ts';
import { copyOf, type Memtable } from './memtable.ts';
import type { KeyCursor } from './ordered-keys.ts';
import type { ScanOptions, StoragePair } from './storage.ts';

/** What a scan reads from: memtables, the newest first, over a table. */
export interface Layers {
  readonly memtables: readonly Memtable[];
  range(options: TableRangeOptions): TableRange;
  /** Changes whenever `memtables` or the table below does; a scan then finds its place anew. */
  readonly generation: number;
  readonly isOpen: boolean;
  /** What scans have found dead, kept true by the memtables; a snapshot, which nobody writes to, keeps none. */
  readonly dead?: DeadRuns;
}

/**
 * Merges the layers in key order. Each step takes the smallest key (or the largest, backwards) that any layer stands on; the newest layer
 * that knows it decides, and a deletion there hides what is below. Live data may change between steps: new keys take their places in the
 * order of the newest memtable, and its cursor finds its way; when a memtable was frozen or went into the table, all begin anew behind the
 * last key. Cost of a step: one look at each layer, and O(log n) where something changed; many dead keys in a row are passed over once.
 */
export class LayeredScan implements IterableIterator<StoragePair> {
  readonly #layers: Layers;
  readonly #from: string;
  readonly #to: string | undefined;
  readonly #reverse: boolean;
  readonly #keysOnly: boolean;
  #left: number;
  #cursors: KeyCursor[] = [];
  #range: TableRange | undefined;
  /** The pair the table stands on. */
  #below: { key: string; value: Buffer } | undefined;
  #generation = -1;
  /** The last key visited or passed over. */
  #last: string | undefined;

  constructor(layers: Layers, options: ScanOptions) {
    this.#layers = layers;
    this.#from = latin1(options.from);
    this.#to = options.to && latin1(options.to);
    this.#reverse = options.reverse ?? false;
    this.#keysOnly = options.keysOnly ?? false;
    this.#left = this.#to !== undefined && this.#to <= this.#from ? 0 : (options.limit ?? Number.POSITIVE_INFINITY);
  }

  next(): IteratorResult<StoragePair> {
    if (this.#left <= 0) return this.return();
    const layers = this.#layers;
    assert(layers.isOpen, () => 'scan of a closed storage or a released snapshot');
    layers.memtables[0]?.settle();
    /** Nothing lives between here and where the scan stands. */
    const start = this.#last;
    let passed = 0;
    if (this.#generation === layers.generation) this.#advance();
    else if (this.#seek()) passed = NOTED_FROM;
    for (;;) {
      const key = this.#nearest();
      const value = key === undefined ? undefined : this.#valueOf(key);
      if (value || key === undefined) {
        if (passed >= NOTED_FROM) this.#noteDead(start, key);
        if (!value) return this.return();
        this.#last = key;
        this.#left--;
        return { done: false, value: { key: fromLatin1(key!), value } };
      }
      this.#last = key;
      // Looked up now and then: where there are notes at all, the first dead key of many lies in one.
      if (passed++ % NOTED_FROM === 0 && this.#leap(key)) passed = NOTED_FROM;
      else this.#advance();
    }
  }

  /** Past the stretch of dead keys that `key` lies in, if there is one. */
  #leap(key: string): boolean {
    const beyond = this.#beyond(this.#reverse ? after(key) : key);
    if (beyond === undefined) return false;
    this.#place(beyond, false);
    return true;
  }

  /** The far end of the stretch of dead keys that begins at or before `from`, in the direction of the scan. */
  #beyond(from: string | undefined): string | undefined {
    const dead = this.#layers.dead;
    if (!dead || dead.isEmpty || from === undefined) return undefined;
    return this.#reverse ? dead.startBelow(from) : dead.endFrom(from);
  }

  /** Nothing lives between `start` (undefined: where the scan began) and `stop` (undefined: where it ends). */
  #noteDead(start: string | undefined, stop: string | undefined): void {
    const dead = this.#layers.dead;
    const low = this.#reverse ? stop : start;
    const high = this.#reverse ? (start ?? this.#to) : (stop ?? this.#to);
    // To the end of all keys: to the last one met.
    const end = high ?? (this.#reverse || this.#last === undefined ? undefined : after(this.#last));
    if (end !== undefined) dead?.note(low === undefined ? this.#from : after(low), end);
  }

  return(): IteratorResult<StoragePair> {
    this.#left = 0;
    this.#range?.return?.();
    this.#range = undefined;
    this.#cursors = [];
    return { done: true, value: undefined };
  }

  [Symbol.iterator](): this {
    return this;
  }

  /** Puts all layers on their first key beyond the last one visited, or beyond the dead keys there: true then. */
  #seek(): boolean {
    const layers = this.#layers;
    const last = this.#last;
    this.#generation = layers.generation;
    for (const memtable of layers.memtables) memtable.settle();
    const reverse = this.#reverse;
    const begin = reverse ? (last ?? this.#to) : (last ?? this.#from);
    const beyond = this.#beyond(reverse || last === undefined ? begin : after(last));
    this.#place(beyond ?? begin, last !== undefined && beyond === undefined);
    return beyond !== undefined;
  }

  /** Puts all layers on their first key from `begin` on; `exclusive`: behind it. */
  #place(begin: string | undefined, exclusive: boolean): void {
    const layers = this.#layers;
    const reverse = this.#reverse;
    this.#range?.return?.();
    this.#cursors = layers.memtables.map((memtable) => {
      const cursor = memtable.cursor(reverse);
      cursor.seek(begin);
      if (exclusive && cursor.key === begin) cursor.advance();
      return cursor;
    });
    const keysOnly = this.#keysOnly;
    this.#range = reverse
      ? layers.range({ from: this.#from, to: begin, reverse, exclusive: false, keysOnly })
      : layers.range({ from: begin!, to: this.#to, reverse, exclusive, keysOnly });
    this.#stepBelow();
  }

  /** Moves the layers that stand on the last key visited. */
  #advance(): void {
    const last = this.#last;
    for (const cursor of this.#cursors) {
      if (cursor.key === last || cursor.isStale) cursor.advanceBeyond(last!);
    }
    if (this.#below?.key === last) this.#stepBelow();
  }

  #stepBelow(): void {
    const step = this.#range!.next();
    this.#below = step.done ? undefined : step.value;
  }

  #nearest(): string | undefined {
    let nearest = this.#below?.key;
    for (const { key } of this.#cursors) {
      if (key === undefined) continue;
      if (nearest === undefined || (this.#reverse ? key > nearest : key < nearest)) nearest = key;
    }
    if (nearest === undefined) return undefined;
    if (this.#reverse) return nearest < this.#from ? undefined : nearest;
    return this.#to !== undefined && nearest >= this.#to ? undefined : nearest;
  }

  #valueOf(key: string): Buffer | undefined {
    const { memtables } = this.#layers;
    for (let i = 0; i < memtables.length; i++) {
      if (this.#cursors[i]!.key !== key) continue;
      const found = memtables[i]!.peek(key);
      if (found === 'deleted') return undefined;
      if (found) return copyOf(found, 0, this.#keysOnly ? 0 : found.length);
    }
    return this.#below?.key === key ? this.#below.value : undefined;
  }
}
