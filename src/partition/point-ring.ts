/** Points of a circle of 32-bit hashes, each with an owner: the table under ketama and its relatives. Immutable. */
export class PointRing {
  /** In ascending order; equal points in the order they were given. */
  readonly points: Uint32Array;
  /** Beside each point the number of its owner. */
  readonly owners: Uint32Array;
  /** For each value of the top bits, the first point that is not below them. */
  readonly #index: Uint32Array;
  readonly #shift: number;

  constructor(points: readonly { readonly at: number; readonly owner: number }[]) {
    const count = points.length;
    // One number carries place and turn: 32 + 21 bits are exact, and a typed array sorts many times quicker than a comparator.
    const order = Float64Array.from(points, (point, turn) => point.at * 0x20_0000 + turn).sort();
    this.points = new Uint32Array(count);
    this.owners = new Uint32Array(count);
    for (let i = 0; i < count; i++) {
      const turn = order[i]! % 0x20_0000;
      this.points[i] = points[turn]!.at;
      this.owners[i] = points[turn]!.owner;
    }
    let bits = 1;
    while (bits < 20 && 1 << bits < count) bits++;
    this.#shift = 32 - bits;
    this.#index = new Uint32Array((1 << bits) + 1);
    let point = 0;
    for (let top = 0; top <= 1 << bits; top++) {
      while (point < count && this.points[point]! >>> this.#shift < top) point++;
      this.#index[top] = point;
    }
  }

  /** The first point at or after `hash`, or the first of all beyond the last. */
  find(hash: number): number {
    const top = hash >>> this.#shift;
    let low = this.#index[top]!;
    let high = this.#index[top + 1]!;
    while (low < high) {
      const middle = (low + high) >>> 1;
      if (this.points[middle]! < hash) low = middle + 1;
      else high = middle;
    }
    return low === this.points.length ? 0 : low;
  }

  /** Calls `visit` with each owner from the point at or after `hash` onwards, once each, until it says `false`. */
  visitOwners(hash: number, visit: (owner: number) => boolean): void {
    const seen = new Set<number>();
    const start = this.find(hash);
    const count = this.points.length;
    for (let i = 0; i < count; i++) {
      const owner = this.owners[start + i < count ? start + i : start + i - count]!;
      if (seen.has(owner)) continue;
      seen.add(owner);
      if (!visit(owner)) return;
    }
  }
}

/** Share of the circle, 0 … 1, that belongs to another owner in `after` than in `before`; `idOf` names the owners of each. */
export function movedShare(
  before: PointRing,
  after: PointRing,
  idOf: { readonly before: (owner: number) => string; readonly after: (owner: number) => string },
): number {
  let moved = 0;
  let last = -1;
  let i = 0;
  let j = 0;
  const owner = (ring: PointRing, point: number): number => ring.owners[point < ring.points.length ? point : 0]!;
  while (last < 0xffff_ffff) {
    const next = Math.min(before.points[i] ?? 0xffff_ffff, after.points[j] ?? 0xffff_ffff);
    if (idOf.before(owner(before, i)) !== idOf.after(owner(after, j))) moved += next - last;
    while (i < before.points.length && before.points[i]! <= next) i++;
    while (j < after.points.length && after.points[j]! <= next) j++;
    last = next;
  }
  return moved / 2 ** 32;
}
