import { type Bytes, equalBytes } from '../base/bytes.ts';
import { behindPrefix, garbageKey, systemKey } from '../shard/key-layout.ts';
import type { Storage } from '../storage/storage.ts';

/** Pairs in one go: about a millisecond's work. */
const SLICE = 512;

/** Removes from storage what nothing refers to any more (old tables, old cells), a little at a time. */
export class Garbage {
  readonly #storage: Storage;
  /** There may be some. */
  #isDue = true;
  /** How far the removal of the first range has come. */
  #reclaimed: { readonly note: Bytes; readonly to: Bytes } | undefined;

  constructor(storage: Storage) {
    this.#storage = storage;
  }

  /** There is storage to reclaim. */
  note(): void {
    this.#isDue = true;
  }

  /** Removes some of the first range, in a batch that `inBatch` opens; the note of it goes when the range is empty. True when there is more to do at once. */
  reclaim(inBatch: (work: (batch: Storage) => void) => void): boolean {
    if (!this.#isDue) return false;
    const notes = systemKey('g', new Uint8Array(0));
    const [note] = this.#storage.scan({ from: notes, to: behindPrefix(notes), limit: 1 });
    if (!note) {
      this.#isDue = false;
      return false;
    }
    const from = note.key.slice(notes.length);
    const resumed = this.#reclaimed && equalBytes(this.#reclaimed.note, note.key) ? this.#reclaimed.to : from;
    const keys: Bytes[] = [];
    for (const { key } of this.#storage.scan({ from: resumed, to: note.value, limit: SLICE })) keys.push(key);
    inBatch((batch) => {
      for (const key of keys) batch.delete(key);
      if (keys.length < SLICE) batch.delete(garbageKey(from));
    });
    this.#reclaimed = keys.length < SLICE ? undefined : { note: note.key, to: keys.at(-1)! };
    return true;
  }
}
