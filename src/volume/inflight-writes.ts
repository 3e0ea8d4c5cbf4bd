import type { Bytes } from '../base/bytes.ts';

interface Entry {
  writes: number;
  /** Writes with a version up to this were overtaken by a delete that is done. */
  deletedUpTo: number;
}

/** Remembers, while writes of a key are under way, the newest delete of it: a write that began before it must not bring the key back. */
export class InflightWrites {
  readonly #entries = new Map<string, Entry>();

  /** Begins a write; call the result when it has ended. */
  begin(key: Bytes): () => void {
    const name = Buffer.from(key).toString('latin1');
    let entry = this.#entries.get(name);
    if (entry === undefined) {
      entry = { writes: 0, deletedUpTo: 0 };
      this.#entries.set(name, entry);
    }
    entry.writes++;
    return () => {
      if (--entry.writes === 0) this.#entries.delete(name);
    };
  }

  has(key: Bytes): boolean {
    return this.#entries.has(Buffer.from(key).toString('latin1'));
  }

  deleted(key: Bytes, version: number): void {
    const entry = this.#entries.get(Buffer.from(key).toString('latin1'));
    if (entry !== undefined) entry.deletedUpTo = Math.max(entry.deletedUpTo, version);
  }

  deletedUpTo(key: Bytes): number {
    return this.#entries.get(Buffer.from(key).toString('latin1'))?.deletedUpTo ?? 0;
  }
}
