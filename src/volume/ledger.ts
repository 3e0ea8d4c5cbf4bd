import type { Bytes } from '../base/bytes.ts';
import type { VolumeNumber } from './bucket-map.ts';
import type { Metakey, Metakeys, Suspicion } from './metakeys.ts';

const PAGE = 10_000;

/** What a master counts of one volume. */
export interface VolumeLoad {
  keyCount: number;
  sizeBytes: number;
}

/** Changes of metakeys, and the counts that follow them: keys, deletes that have not ended, keys and bytes of each volume. */
export class Ledger {
  readonly metakeys: Metakeys;
  readonly #loads = new Map<VolumeNumber, VolumeLoad>();
  #keyCount = 0;
  #deletingCount = 0;

  /** Reads all metakeys once: about three seconds per million. */
  constructor(metakeys: Metakeys) {
    this.metakeys = metakeys;
    let after: Bytes | undefined;
    do {
      const page = metakeys.page(after, PAGE);
      for (const metakey of page.metakeys) this.#count(metakey, 1);
      after = page.next;
    } while (after !== undefined);
  }

  get keyCount(): number {
    return this.#keyCount;
  }

  /** Keys whose delete has begun and not ended. */
  get deletingCount(): number {
    return this.#deletingCount;
  }

  loadOf(volume: VolumeNumber): Readonly<VolumeLoad> {
    return this.#loads.get(volume) ?? { keyCount: 0, sizeBytes: 0 };
  }

  /** Changes a metakey, and suspicions with it, into the open batch. `before` is what stands there now. */
  refer(
    before: Metakey | undefined,
    after: Metakey | undefined,
    changes: { readonly acquit?: readonly Suspicion[]; readonly suspect?: readonly Suspicion[] } = {},
  ): void {
    if (before !== undefined) this.#count(before, -1);
    if (after !== undefined) {
      this.#count(after, 1);
      this.metakeys.set(after);
    } else if (before !== undefined) this.metakeys.remove(before.key);
    for (const suspicion of changes.acquit ?? []) this.metakeys.acquit(suspicion);
    for (const suspicion of changes.suspect ?? []) this.metakeys.suspect(suspicion);
  }

  #count(metakey: Metakey, sign: 1 | -1): void {
    this.#keyCount += sign;
    if (metakey.deleting) this.#deletingCount += sign;
    for (const number of metakey.volumes) {
      let load = this.#loads.get(number);
      if (load === undefined) {
        load = { keyCount: 0, sizeBytes: 0 };
        this.#loads.set(number, load);
      }
      load.keyCount += sign;
      load.sizeBytes += sign * metakey.sizeBytes;
    }
  }
}
