import { type Bytes, compareBytes } from '../base/bytes.ts';
import { isKeyfleetError } from '../base/errors.ts';
import type { VolumeNumber } from './bucket-map.ts';
import { needsLook } from './copy-rules.ts';
import { inParallel } from './in-turns.ts';
import type { InflightWrites } from './inflight-writes.ts';
import type { Ledger } from './ledger.ts';
import type { Metakeys, Suspicion, SuspicionsTogether } from './metakeys.ts';
import type { VolumeClients } from './volume-clients.ts';

/** Suspicions that are looked into at the same time. */
const LOOKS_AT_ONCE = 16;

/** The copies that may lie on a volume without being referred to: written down before they can exist, looked into when their write or move has ended. */
export class Suspects {
  readonly #ledger: Ledger;
  readonly #metakeys: Metakeys;
  readonly #clients: VolumeClients;
  readonly #inflight: InflightWrites;
  readonly #onMisplaced: () => void;
  /** Suspicions whose write or move is still under way in this process: not to be looked into. By version, which hardly two of them share. */
  readonly #active = new Map<number, Suspicion[]>();

  constructor(parts: {
    readonly ledger: Ledger;
    readonly clients: VolumeClients;
    readonly inflight: InflightWrites;
    readonly onMisplaced: () => void;
  }) {
    this.#ledger = parts.ledger;
    this.#metakeys = parts.ledger.metakeys;
    this.#clients = parts.clients;
    this.#inflight = parts.inflight;
    this.#onMisplaced = parts.onMisplaced;
  }

  /** Writes suspicions down, durably, before the copies they speak of can exist. They rest until {@link end}. */
  async begin(suspicions: readonly Suspicion[]): Promise<void> {
    for (const suspicion of suspicions) {
      this.#activate(suspicion);
      this.#metakeys.suspect(suspicion);
    }
    await this.#metakeys.commit();
  }

  /** As {@link begin}, in one record: those of a batch that moves. */
  async beginTogether(suspicions: readonly Suspicion[]): Promise<SuspicionsTogether> {
    for (const suspicion of suspicions) this.#activate(suspicion);
    const together = this.#metakeys.suspectTogether(suspicions);
    await this.#metakeys.commit();
    return together;
  }

  #activate(suspicion: Suspicion): void {
    const alike = this.#active.get(suspicion.version);
    if (alike === undefined) this.#active.set(suspicion.version, [suspicion]);
    else alike.push(suspicion);
  }

  /** The write or move that wrote these down has ended. */
  end(suspicions: readonly Suspicion[]): void {
    for (const suspicion of suspicions) {
      const others = this.#active.get(suspicion.version)?.filter((one) => !isSame(one, suspicion)) ?? [];
      if (others.length === 0) this.#active.delete(suspicion.version);
      else this.#active.set(suspicion.version, others);
    }
  }

  /**
   * Removes copies that the metakeys have, durably, given up a moment ago: nothing needs to be looked into, since whatever has come to their
   * volumes since is newer. Returns how many stay suspect because their volume is away; those on lost volumes stay too.
   */
  async removeTogether(together: SuspicionsTogether): Promise<number> {
    const left = new Set<VolumeNumber>();
    let stay = 0;
    for (const number of new Set(together.suspicions.map(({ volume }) => volume))) {
      const volume = this.#metakeys.volume(number);
      const all = together.suspicions.filter((suspicion) => suspicion.volume === number);
      try {
        if (volume?.state === 'lost') left.add(number);
        else if (volume !== undefined) await this.#clients.of(number).batchDelete(all.map(asDelete));
      } catch (error) {
        if (!isKeyfleetError(error)) throw error;
        left.add(number);
        stay += all.length;
      }
    }
    this.#metakeys.settleTogether(together, ({ volume }) => left.has(volume));
    await this.#metakeys.commit();
    return stay;
  }

  /**
   * Looks into suspicions: a copy that is not referred to is removed from its volume; one that an unfinished write has put over the copy
   * referred to, or beside it, is referred to. Returns how many stay because their volume is away or the key is being written; those of
   * writes and moves under way, and on volumes that are lost, are left alone.
   */
  async clear(suspicions: readonly Suspicion[]): Promise<number> {
    const ripe = suspicions.filter((suspicion) => !this.isActive(suspicion));
    let stay = 0;
    for (const number of new Set(ripe.map(({ volume }) => volume))) {
      const volume = this.#metakeys.volume(number);
      if (volume?.state === 'lost') continue;
      const all = ripe.filter((suspicion) => suspicion.volume === number);
      try {
        if (volume !== undefined) {
          const open = new Set<Suspicion>();
          let { unclear, guilty } = this.#sorted(all, number);
          if (unclear.length > 0) {
            await inParallel(unclear.length, LOOKS_AT_ONCE, async (index) => {
              if (!(await this.#look(unclear[index]!))) open.add(unclear[index]!);
            });
            stay += open.size;
            guilty = this.#sorted(all, number).guilty.filter((suspicion) => !open.has(suspicion));
          }
          if (guilty.length > 0) await this.#clients.of(number).batchDelete(guilty.map(asDelete));
          for (const suspicion of all) if (!open.has(suspicion)) this.#metakeys.acquit(suspicion);
        } else for (const suspicion of all) this.#metakeys.acquit(suspicion);
      } catch (error) {
        if (!isKeyfleetError(error)) throw error;
        stay += all.length;
      }
    }
    await this.#metakeys.commit();
    return stay;
  }

  /** Those that only the volume can clear up, and those whose copy is not referred to. */
  #sorted(suspicions: readonly Suspicion[], number: VolumeNumber): { unclear: Suspicion[]; guilty: Suspicion[] } {
    const unclear: Suspicion[] = [];
    const guilty: Suspicion[] = [];
    for (const suspicion of suspicions) {
      const metakey = this.#metakeys.get(suspicion.key);
      if (needsLook(suspicion, metakey)) unclear.push(suspicion);
      if (!metakey?.volumes.includes(number)) guilty.push(suspicion);
    }
    return { unclear, guilty };
  }

  /** Asks the volume what it has of a key, and refers to it when that is what an unfinished write left. False: it cannot be said yet. */
  async #look({ volume, key }: Suspicion): Promise<boolean> {
    if (this.#inflight.has(key)) return false;
    const found = await this.#clients.of(volume).head(key);
    if (this.#inflight.has(key)) return false;
    const current = this.#metakeys.get(key);
    if (found === undefined || current === undefined || current.deleting) return true;
    const { version, sha256, sizeBytes } = found;
    const isHeld = current.volumes.includes(volume);
    if (isHeld && version > current.version) {
      const suspect = current.volumes.filter((one) => one !== volume).map((one) => ({ volume: one, key, version: current.version }));
      this.#ledger.refer(current, { key, version, sha256, sizeBytes, volumes: [volume], deleting: false }, { suspect });
      this.#onMisplaced();
    } else if (!isHeld && version === current.version && sha256 === current.sha256 && this.#metakeys.placeOf(key).includes(volume)) {
      this.#ledger.refer(current, { ...current, volumes: [...current.volumes, volume] });
    }
    return true;
  }

  /** Whether the write or move that makes this very copy is under way in this process. */
  isActive(copy: Suspicion): boolean {
    return this.#active.get(copy.version)?.some((one) => isSame(one, copy)) === true;
  }
}

function asDelete({ key, version }: Suspicion): { readonly key: Bytes; readonly upToVersion: number } {
  return { key, upToVersion: version };
}

function isSame(a: Suspicion, b: Suspicion): boolean {
  return a === b || (a.volume === b.volume && a.version === b.version && compareBytes(a.key, b.key) === 0);
}
