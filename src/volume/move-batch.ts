import type { Bytes } from '../base/bytes.ts';
import { KeyfleetError } from '../base/errors.ts';
import { MIB } from '../base/units.ts';
import type { VolumeNumber } from './bucket-map.ts';
import type { Master } from './master.ts';
import { type Metakey, movedVersion, type Suspicion, type SuspicionsTogether } from './metakeys.ts';
import type { Throttle } from './throttle.ts';

// How a batch of values moves from one volume to another:
//
//   1  suspect the copies on the target                   (durable: from here on no crash loses sight of them)
//   2  the target fetches them from the source, verifies, writes, syncs
//   3  the metakeys refer to the target, if no write has changed them meanwhile; the old copies become suspects  (one durable batch)
//   4  the old copies, and those on the target that nobody refers to, are removed from their volumes
//
// Until 3 the source answers, from 3 on the target, and both have the value: there is no moment without a good copy. A write during a move
// goes to its new place with a higher version; step 3 then finds another version and leaves it alone.

/** Larger values travel alone, streamed. */
export const BATCHED_VALUE_BYTES = MIB;

/** A batch's steps, as a test sees them: what it returns is awaited before the next. */
export type MoveStep = 'suspected' | 'copied' | 'referred' | 'cleared';

export interface Batch {
  readonly from: VolumeNumber;
  readonly to: VolumeNumber;
  readonly metakeys: Metakey[];
  bytes: number;
}

export interface BatchOutcome {
  readonly keysMoved: number;
  readonly bytesMoved: number;
  /** Values of the batch that are not in all their places after it. */
  readonly keysLeft: number;
  /** Step 4, under way. */
  readonly cleared: Promise<void>;
}

export interface BatchMovesOptions {
  readonly throttle: Throttle;
  readonly onStep: ((step: MoveStep) => Promise<void>) | undefined;
  /** So many values could not be moved, or copies not be removed, and why. */
  readonly onFailed: (count: number, error: unknown) => void;
}

export class BatchMoves {
  readonly #master: Master;
  readonly #throttle: Throttle;
  readonly #onStep: ((step: MoveStep) => Promise<void>) | undefined;
  readonly #onFailed: (count: number, error: unknown) => void;

  constructor(master: Master, { throttle, onStep, onFailed }: BatchMovesOptions) {
    this.#master = master;
    this.#throttle = throttle;
    this.#onStep = onStep;
    this.#onFailed = onFailed;
  }

  /** Gives up copies of values that are in all their places and elsewhere too. */
  async trim(metakeys: readonly Metakey[]): Promise<void> {
    const outdated = metakeys.flatMap((metakey) => this.#referToPlaces(metakey, undefined)?.outdated ?? []);
    if (outdated.length === 0) return;
    const together = this.#master.metakeys.suspectTogether(outdated);
    await this.#master.metakeys.commit();
    await this.#remove(together);
  }

  async #remove(outdated: SuspicionsTogether): Promise<void> {
    const stay = await this.#master.suspects.removeTogether(outdated);
    if (stay > 0) this.#onFailed(stay, copiesAway());
  }

  /**
   * Moves a batch; resolves after step 3, so that the next one may begin while the disks of the old copies are at work. What could not be moved
   * is told to `onFailed`; nothing is thrown but our own faults.
   */
  async run(batch: Batch): Promise<BatchOutcome> {
    const { metakeys, suspects } = this.#master;
    const copies = batch.metakeys.map(({ key, version }) => ({ volume: batch.to, key, version: movedVersion(version) }));
    let made: SuspicionsTogether | undefined;
    let outdated: SuspicionsTogether | undefined;
    let toClear: readonly Suspicion[] = [];
    let outcome = { keysMoved: 0, bytesMoved: 0, keysLeft: batch.metakeys.length };
    try {
      await this.#throttle.take(batch.bytes);
      made = await suspects.beginTogether(copies);
      await this.#onStep?.('suspected');
      const arrived = await this.#copy(batch);
      await this.#onStep?.('copied');
      const referred = this.#referAll(arrived, batch.to);
      // What is not referred to goes, like the old copies.
      toClear = copies.filter(({ key }) => !referred.keys.has(key));
      metakeys.settleTogether(made, ({ key }) => !referred.keys.has(key));
      made = undefined;
      if (referred.outdated.length > 0) outdated = metakeys.suspectTogether(referred.outdated);
      await metakeys.commit();
      await this.#onStep?.('referred');
      const bytesMoved = arrived.reduce((sum, { sizeBytes }) => sum + sizeBytes, 0);
      outcome = { keysMoved: arrived.length, bytesMoved, keysLeft: batch.metakeys.length - referred.completeCount };
    } catch (error) {
      this.#onFailed(batch.metakeys.length, error);
    }
    suspects.end(copies);
    if (made !== undefined) {
      metakeys.settleTogether(made, () => true);
      toClear = copies;
    }
    return { ...outcome, cleared: this.#clear(toClear, outdated) };
  }

  async #clear(suspicions: readonly Suspicion[], outdated: SuspicionsTogether | undefined): Promise<void> {
    if (suspicions.length > 0) await this.#master.suspects.clear(suspicions);
    if (outdated !== undefined) await this.#remove(outdated);
    await this.#onStep?.('cleared');
  }

  /** Copies a batch's values; returns those that are on the target now, verified there. */
  async #copy(batch: Batch): Promise<Metakey[]> {
    const source = this.#master.metakeys.volume(batch.from);
    if (source === undefined) return [];
    const target = this.#master.clients.of(batch.to);
    if (batch.metakeys.length === 1 && batch.bytes > BATCHED_VALUE_BYTES) {
      const metakey = batch.metakeys[0]!;
      const { sha256 } = await target.pull(metakey.key, source.address, movedVersion(metakey.version));
      return this.#isCopyOf(metakey, sha256) ? [metakey] : [];
    }
    const results = await target.batchPull(
      source.address,
      batch.metakeys.map(({ key, version }) => ({ key, version: movedVersion(version) })),
    );
    return batch.metakeys.filter((metakey, index) => {
      const result = results[index]!;
      if ('sha256' in result) return this.#isCopyOf(metakey, result.sha256);
      const changed = this.#master.metakeys.get(metakey.key)?.version !== metakey.version;
      if (!changed) this.#onFailed(1, new KeyfleetError('KF_VALUE_LOST', `${result.code}: ${result.message}`));
      return false;
    });
  }

  /** Whether what arrived is the value that the metakey tells of, and not what a write has put over it on the source. */
  #isCopyOf(metakey: Metakey, sha256: string): boolean {
    if (sha256 === metakey.sha256) return true;
    if (this.#master.metakeys.get(metakey.key)?.version === metakey.version)
      this.#onFailed(1, new KeyfleetError('KF_CHECKSUM_MISMATCH', `the copy has SHA-256 ${sha256} instead of ${metakey.sha256}`));
    return false;
  }

  /** Lets the metakeys follow the copies that have arrived, into the open batch. */
  #referAll(
    arrived: readonly Metakey[],
    to: VolumeNumber,
  ): { readonly keys: ReadonlySet<Bytes>; readonly completeCount: number; readonly outdated: readonly Suspicion[] } {
    const keys = new Set<Bytes>();
    const outdated: Suspicion[] = [];
    let completeCount = 0;
    for (const metakey of arrived) {
      const referred = this.#referToPlaces(metakey, to);
      if (referred === undefined) continue;
      keys.add(metakey.key);
      outdated.push(...referred.outdated);
      if (referred.isComplete) completeCount++;
    }
    return { keys, completeCount, outdated };
  }

  /**
   * Refers to the copy on `arrived` too and gives up copies that are not in place; into the open batch. Undefined when the value is no longer
   * the one that was copied; else whether it is in all its places now, and the copies given up, not yet among the suspects.
   */
  #referToPlaces(
    copied: Metakey,
    arrived: VolumeNumber | undefined,
  ): { readonly isComplete: boolean; readonly outdated: readonly Suspicion[] } | undefined {
    const { metakeys } = this.#master;
    const { key } = copied;
    const current = metakeys.get(key);
    if (current === undefined || Math.abs(current.version - copied.version) > 1 || current.sha256 !== copied.sha256 || current.deleting)
      return undefined;
    const held = arrived === undefined || current.volumes.includes(arrived) ? current.volumes : [...current.volumes, arrived];
    const places = metakeys.placeOf(key);
    const isComplete = places.length > 0 && places.every((number) => held.includes(number));
    const volumes = isComplete ? places : held;
    const version = arrived === undefined ? current.version : Math.max(current.version, movedVersion(copied.version));
    // The copy that has just arrived is among them when the value was to go elsewhere meanwhile.
    const outdated = held
      .filter((number) => !volumes.includes(number))
      .map((volume) => ({ volume, key, version: volume === arrived ? version : current.version }));
    const { sizeBytes, sha256, deleting } = current;
    this.#master.ledger.refer(current, { key, version, sizeBytes, sha256, volumes, deleting });
    return { isComplete, outdated };
  }
}

/** Why copies stay suspect. */
export function copiesAway(): KeyfleetError {
  return new KeyfleetError('KF_VOLUME_UNAVAILABLE', 'copies to remove lie on a volume that is away');
}
