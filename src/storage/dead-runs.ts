import { lowerBound } from './ordered-keys.ts';

// Stretches of keys in which nothing lives, as scans have found them.
//
// A deleted key stays in the order until its memtable is flushed. Whoever takes the first member of a sorted set again and again would pass over all that
// were taken before, every time: so a scan that has passed over many dead keys notes the stretch, and the next one goes straight to its end. A
// stretch is true until a key in it comes to life, which is cut out of it. Few are kept: they grow together where keys die side by side.

/** So many are kept; when there are more, all are forgotten and found again where they matter. */
const MAX_RUNS = 1_024;

/** Dead keys that a scan passes over before it is worth a note. */
export const NOTED_FROM = 16;

/** Keys as latin1 strings. Half-open: [start, end). */
export class DeadRuns {
  /** Ascending; the stretches neither overlap nor touch. */
  readonly #starts: string[] = [];
  readonly #ends: string[] = [];

  get isEmpty(): boolean {
    return this.#starts.length === 0;
  }

  /** Nothing lives from `start` up to, not including, `end`. O(log n + stretches it joins). */
  note(start: string, end: string): void {
    if (start >= end) return;
    const starts = this.#starts;
    const ends = this.#ends;
    // Those that end before it stay, as do those that start behind it.
    const first = lowerBound(ends, start);
    let last = first;
    while (last < starts.length && starts[last]! <= end) last++;
    const from = first < last && starts[first]! < start ? starts[first]! : start;
    const to = first < last && ends[last - 1]! > end ? ends[last - 1]! : end;
    starts.splice(first, last - first);
    ends.splice(first, last - first);
    if (starts.length >= MAX_RUNS) this.clear();
    this.#insert(Math.min(first, starts.length), from, to);
  }

  /** The end of the stretch that has `key` in it. O(log n). */
  endFrom(key: string): string | undefined {
    const at = this.#runOf(key);
    return at < 0 ? undefined : this.#ends[at];
  }

  /** The start of the stretch that has the keys right below `key` in it. O(log n). */
  startBelow(key: string): string | undefined {
    const at = lowerBound(this.#ends, key);
    const start = this.#starts[at];
    return start !== undefined && start < key ? start : undefined;
  }

  /** `key` lives now, or may. O(log n). */
  cut(key: string): void {
    const at = this.#runOf(key);
    if (at < 0) return;
    const start = this.#starts[at]!;
    const end = this.#ends[at]!;
    const behind = after(key);
    this.#starts.splice(at, 1);
    this.#ends.splice(at, 1);
    if (this.#starts.length >= MAX_RUNS) return;
    if (behind < end) this.#insert(at, behind, end);
    if (start < key) this.#insert(at, start, key);
  }

  clear(): void {
    this.#starts.length = 0;
    this.#ends.length = 0;
  }

  #insert(at: number, start: string, end: string): void {
    this.#starts.splice(at, 0, start);
    this.#ends.splice(at, 0, end);
  }

  #runOf(key: string): number {
    const at = lowerBound(this.#ends, after(key));
    return at < this.#starts.length && this.#starts[at]! <= key ? at : -1;
  }
}

/** The first key behind `key`. */
export function after(key: string): string {
  return `${key}\0`;
}
