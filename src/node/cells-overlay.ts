import { type Bytes, compareBytes, toHex } from '../base/bytes.ts';
import type { Cell, Cells } from '../shard/value-module.ts';

/** Cells that can be written without changing those below: what was written is kept, to be compared and then done for real. */
export class CellsOverlay implements Cells {
  readonly #below: Cells;
  /** Undefined: deleted. */
  readonly #written = new Map<string, { readonly cell: Bytes; readonly value: Bytes | undefined }>();
  #cleared = false;

  constructor(below: Cells) {
    this.#below = below;
  }

  get(cell: Bytes): Bytes | undefined {
    const written = this.#written.get(toHex(cell));
    if (written) return written.value;
    return this.#cleared ? undefined : this.#below.get(cell);
  }

  has(cell: Bytes): boolean {
    return this.get(cell) !== undefined;
  }

  *scan(
    options: { readonly from?: Bytes; readonly to?: Bytes; readonly reverse?: boolean; readonly limit?: number } = {},
  ): IterableIterator<Cell> {
    const { from, to, reverse = false, limit = Number.POSITIVE_INFINITY } = options;
    const seen = new Map<string, Cell>();
    if (!this.#cleared) {
      for (const cell of this.#below.scan({ ...(from ? { from } : {}), ...(to ? { to } : {}) })) seen.set(toHex(cell.cell), cell);
    }
    for (const [name, { cell, value }] of this.#written) {
      if ((from && compareBytes(cell, from) < 0) || (to && compareBytes(cell, to) >= 0)) continue;
      if (value) seen.set(name, { cell, value });
      else seen.delete(name);
    }
    const inOrder = [...seen.values()].sort((a, b) => (reverse ? -1 : 1) * compareBytes(a.cell, b.cell));
    yield* inOrder.slice(0, limit);
  }

  set(cell: Bytes, value: Bytes): void {
    this.#written.set(toHex(cell), { cell, value });
  }

  delete(cell: Bytes): void {
    this.#written.set(toHex(cell), { cell, value: undefined });
  }

  clear(): void {
    this.#written.clear();
    this.#cleared = true;
  }

  /** All that was written, in words, for comparison. */
  summary(): string {
    const writes = [...this.#written].map(([name, { value }]) => `${name}=${value ? toHex(value) : 'gone'}`);
    return `${this.#cleared ? 'cleared ' : ''}${writes.sort().join(' ')}`;
  }

  /** Writes it to the cells below. */
  apply(): void {
    if (this.#cleared) this.#below.clear();
    for (const { cell, value } of this.#written.values()) {
      if (value) this.#below.set(cell, value);
      else this.#below.delete(cell);
    }
  }
}
