// A set of keys in byte-wise order, for scans over a hash map that holds the values.
//
// Keys are latin1 strings, one character a byte: JavaScript compares them by code unit, which is byte-wise order. New keys wait in a heap
// of their own and are put in their places only when somebody asks for order, each key once; so a load that only writes and reads points
// never pays for it. The order itself is a list of sorted leaves of at most LEAF_KEYS keys, found by binary search over their first keys:
// an insertion moves half a leaf (about 0.1 µs), and every LEAF_KEYS / 2 insertions one place in the list of leaves.
// Keys are never taken out one by one (see `rebuild`): a reader looks each key up in its map anyway and passes over those that are gone.

const LEAF_KEYS = 256;

export class OrderedKeys {
  #leaves: string[][] = [[]];
  #firsts: string[] = [''];
  #waiting: string[] = [];
  #size = 0;
  #version = 0;

  /** Keys in their places. Those that wait are not counted. */
  get size(): number {
    return this.#size;
  }

  /** Changes whenever a key took its place, so that a cursor knows that it must seek again. */
  get version(): number {
    return this.#version;
  }

  get waiting(): number {
    return this.#waiting.length;
  }

  /** Takes note of a key; twice the same key is the same as once. */
  add(key: string): void {
    this.#waiting.push(key);
  }

  /** Puts at most `limit` waiting keys in their places. Returns whether none waits any more. O(log n) a key. */
  settle(limit = Number.POSITIVE_INFINITY): boolean {
    const waiting = this.#waiting;
    if (waiting.length === 0) return true;
    this.#version++;
    for (let left = Math.min(limit, waiting.length); left > 0; left--) this.#insert(waiting.pop()!);
    return waiting.length === 0;
  }

  /** Starts over with `keys`, in any order. O(n log n). */
  rebuild(keys: Iterable<string>): void {
    const sorted = [...keys].sort(byCodeUnit);
    this.#waiting = [];
    this.#leaves = [];
    this.#firsts = [];
    for (let at = 0; at < sorted.length; at += LEAF_KEYS / 2) {
      const leaf = sorted.slice(at, at + LEAF_KEYS / 2);
      this.#leaves.push(leaf);
      this.#firsts.push(leaf[0]!);
    }
    if (this.#leaves.length === 0) {
      this.#leaves.push([]);
      this.#firsts.push('');
    }
    this.#size = sorted.length;
    this.#version++;
  }

  cursor(reverse: boolean): KeyCursor {
    return new KeyCursor(this, this.#locate, reverse);
  }

  /** The leaves, the leaf and the index where `key` is or would be. */
  readonly #locate = (key: string, place: Place): void => {
    const firsts = this.#firsts;
    // The last leaf whose first key is not above `key`.
    let low = 0;
    let high = firsts.length - 1;
    while (low < high) {
      const middle = (low + high + 1) >>> 1;
      if (firsts[middle]! <= key) low = middle;
      else high = middle - 1;
    }
    const leaf = this.#leaves[low]!;
    place.leaves = this.#leaves;
    place.leaf = low;
    place.index = lowerBound(leaf, key);
  };

  #insert(key: string): void {
    const place = insertPlace;
    this.#locate(key, place);
    const leaf = this.#leaves[place.leaf]!;
    if (leaf[place.index] === key) return;
    this.#size++;
    if (place.index === leaf.length) leaf.push(key);
    else leaf.splice(place.index, 0, key);
    if (place.index === 0) this.#firsts[place.leaf] = key;
    if (leaf.length <= LEAF_KEYS) return;
    // Keys that come in ascending order leave full leaves behind, others half full ones.
    const keep = place.index === leaf.length - 1 ? leaf.length - 1 : leaf.length >>> 1;
    const right = leaf.splice(keep);
    this.#leaves.splice(place.leaf + 1, 0, right);
    this.#firsts.splice(place.leaf + 1, 0, right[0]!);
  }
}

interface Place {
  leaves: readonly (readonly string[])[];
  leaf: number;
  index: number;
}

const insertPlace: Place = { leaves: [], leaf: 0, index: 0 };

/** Walks the keys that have taken their places; finds its way when more did meanwhile, or all were rebuilt. */
export class KeyCursor {
  /** Undefined past the end. */
  key: string | undefined = undefined;
  readonly #keys: OrderedKeys;
  readonly #locate: (key: string, place: Place) => void;
  readonly #reverse: boolean;
  readonly #place: Place = { leaves: [], leaf: 0, index: 0 };
  #version = -1;

  constructor(keys: OrderedKeys, locate: (key: string, place: Place) => void, reverse: boolean) {
    this.#keys = keys;
    this.#locate = locate;
    this.#reverse = reverse;
  }

  /** Forwards: to the first key `>= key`. Backwards: to the last key `< key`, or to the very last without `key`. */
  seek(key: string | undefined): void {
    this.#version = this.#keys.version;
    const place = this.#place;
    if (key === undefined) this.#locate('', place);
    else this.#locate(key, place);
    if (!this.#reverse) {
      this.#take();
      return;
    }
    if (key === undefined) {
      place.leaf = place.leaves.length - 1;
      place.index = place.leaves[place.leaf]!.length;
    }
    place.index--;
    this.#take();
  }

  /** To the next key in its direction. O(1), or O(log n) when the set changed since the last step. */
  advance(): void {
    const key = this.key;
    if (key === undefined) return;
    if (this.#version !== this.#keys.version) {
      this.seek(key);
      if (this.#reverse || this.key !== key) return;
    }
    this.#place.index += this.#reverse ? -1 : 1;
    this.#take();
  }

  /** Whether keys took their places since the last step: one of them may lie before `key`, or after its end. */
  get isStale(): boolean {
    return this.#version !== this.#keys.version;
  }

  /** To the next key beyond `last` in its direction, which is where a stale cursor must look again. */
  advanceBeyond(last: string): void {
    if (!this.isStale) {
      this.advance();
      return;
    }
    this.seek(last);
    if (!this.#reverse && this.key === last) this.advance();
  }

  #take(): void {
    const place = this.#place;
    const { leaves } = place;
    if (place.index < 0) {
      place.leaf--;
      if (place.leaf < 0) {
        this.key = undefined;
        return;
      }
      place.index = leaves[place.leaf]!.length - 1;
    } else if (place.index >= leaves[place.leaf]!.length) {
      place.leaf++;
      place.index = 0;
      if (place.leaf >= leaves.length) {
        this.key = undefined;
        return;
      }
    }
    this.key = leaves[place.leaf]![place.index];
  }
}

/** Where the first of `keys`, ascending, stands that is not below `key`. */
export function lowerBound(keys: readonly string[], key: string): number {
  let low = 0;
  let high = keys.length;
  while (low < high) {
    const middle = (low + high) >>> 1;
    if (keys[middle]! < key) low = middle + 1;
    else high = middle;
  }
  return low;
}

export function byCodeUnit(a: string, b: string): number {
  return a < b ? -1 : a > b ? 1 : 0;
}
