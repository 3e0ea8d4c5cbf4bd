import { setTimeout as sleep } from 'node:timers/promises';
import type { Bytes } from '../base/bytes.ts';
import { isKeyfleetError, KeyfleetError } from '../base/errors.ts';
import { MIB } from '../base/units.ts';
import type { VolumeNumber } from './bucket-map.ts';
import type { Master } from './master.ts';
import { type Metakey, type MoveState, movedVersion, type Suspicion } from './metakeys.ts';
import { Throttle } from './throttle.ts';

// Brings every value to where it belongs, while the master serves. What must move is not planned ahead: a pass walks the metakeys and takes
// those whose volumes differ from their places, so a pass may be ended anywhere, by a crash too, and begun again.
//
//   per batch of values, from one volume to another:
//     1  suspect the copies on the target                   (durable: from here on no crash loses sight of them)
//     2  the target fetches them from the source, verifies, writes, syncs
//     3  the metakeys refer to the target, if no write has changed them meanwhile; the old copies become suspects  (one durable batch)
//     4  suspects that nobody refers to are removed from their volumes
//
// While the moves are paused or cancelled, passes go on that only bring to their end what was begun: suspicions and deletes.
//
// Until 3 the source answers, from 3 on the target, and both have the value: there is no moment without a good copy. A write during a move
// goes to its new place with a higher version; step 3 then finds another version and leaves it alone.

const PAGE = 2_000;
const BATCH_VALUES = 1_000;
const BATCH_BYTES = 16 * MIB;
/** Larger values travel alone, streamed. */
const BATCHED_VALUE_BYTES = MIB;
const RETRY_MS = 5_000;

/** A batch's steps, as a test sees them: what it returns is awaited before the next. */
export type MoveStep = 'suspected' | 'copied' | 'referred' | 'cleared';

export interface MoveLimits {
  /** Batches under way at the same time. */
  readonly concurrency: number;
  /** Undefined: as fast as it goes. */
  readonly bytesPerSecond: number | undefined;
  readonly onStep?: (step: MoveStep) => Promise<void>;
}

export interface MoveProgress {
  /** Waiting: for a volume that is away. Paused and cancelled: no value moves, though some may not be in their places. */
  readonly state: 'idle' | 'moving' | 'waiting' | 'paused' | 'cancelled';
  readonly startedAtMs: number;
  readonly keysSeen: number;
  readonly keysTotal: number;
  readonly keysMoved: number;
  readonly bytesMoved: number;
  /** Values that could not be moved in the last pass, and why the last one could not. */
  readonly keysFailed: number;
  readonly lastError: string | undefined;
  /** Keys of which no copy is left on any volume that is not lost. */
  readonly keysLost: number;
}

interface Job {
  readonly from: VolumeNumber;
  readonly to: VolumeNumber;
  readonly metakeys: Metakey[];
  bytes: number;
}

export class Mover {
  readonly #master: Master;
  readonly #throttle: Throttle;
  readonly #concurrency: number;
  readonly #onStep: ((step: MoveStep) => Promise<void>) | undefined;
  #progress: MoveProgress = emptyProgress();
  #running: Promise<void> | undefined;
  #passCount = 0;
  #again = false;
  #stopping = false;
  #wake: AbortController | undefined;
  #onSettled: (() => Promise<void>) | undefined;

  constructor(master: Master, limits: MoveLimits) {
    this.#master = master;
    this.#concurrency = limits.concurrency;
    this.#onStep = limits.onStep;
    this.#throttle = new Throttle(limits.bytesPerSecond);
    const { moveState } = master.metakeys;
    if (isHalted(moveState)) this.#progress = { ...emptyProgress(), state: moveState };
    master.onMisplaced = () => this.#noteMisplaced();
  }

  get progress(): MoveProgress {
    return this.#progress;
  }

  /** Called after a pass that left nothing to do. */
  set onSettled(callback: () => Promise<void>) {
    this.#onSettled = callback;
  }

  /** Begins to move what is not in its place, or looks again when a pass is under way. */
  async start(): Promise<void> {
    const { metakeys } = this.#master;
    this.#again = true;
    if (metakeys.moveState !== 'moving') {
      metakeys.setMoveState('moving');
      await metakeys.commit();
    }
    this.#wake?.abort();
    if (this.#stopping) return;
    this.#running ??= this.#run();
  }

  /** Takes up what an earlier process has left: moves, and the ends of writes and deletes. */
  async resume(): Promise<void> {
    const { moveState } = this.#master.metakeys;
    if (moveState === 'moving') return this.start();
    if (this.#master.hasUnfinished) this.#noteMisplaced();
  }

  /** Resolves when all is in its place, or when the work was paused or cancelled. */
  async settled(): Promise<void> {
    if (!isHalted(this.#master.metakeys.moveState)) await this.#running;
  }

  /** Ends after the batches under way. What has moved stays moved; what was begun is still brought to its end. */
  async stop(state: 'paused' | 'cancelled'): Promise<void> {
    this.#master.metakeys.setMoveState(state);
    await this.#master.metakeys.commit();
    await this.close();
    // Somebody has begun anew while the batches under way ended.
    if (this.#master.metakeys.moveState === 'moving') return this.start();
    this.#progress = { ...this.#progress, state };
    if (this.#master.hasUnfinished) this.#noteMisplaced();
  }

  /** Ends after the batches under way; the next start of the master goes on. */
  async close(): Promise<void> {
    this.#stopping = true;
    this.#wake?.abort();
    this.#throttle.release();
    await this.#running;
    this.#stopping = false;
  }

  #noteMisplaced(): void {
    // A pass that waits for a volume to come back is not hurried by every write that misses it.
    this.#again = true;
    if (this.#running !== undefined || this.#stopping) return;
    if (isHalted(this.#master.metakeys.moveState)) this.#running = this.#run();
    else void this.start().catch(() => {});
  }

  async #run(): Promise<void> {
    try {
      while (this.#again && !this.#stopping) {
        this.#again = false;
        const { moveState } = this.#master.metakeys;
        const failed = isHalted(moveState) ? await this.#endPass(moveState) : await this.#movePass();
        if (this.#stopping) return;
        if (failed) {
          await this.#pauseFor(RETRY_MS);
          this.#again = true;
        }
        if (!this.#again && !isHalted(this.#master.metakeys.moveState)) await this.#settle();
      }
    } finally {
      this.#running = undefined;
    }
  }

  /** Moves values; whether some could not be moved. */
  async #movePass(): Promise<boolean> {
    if (this.#progress.state !== 'moving' && this.#progress.state !== 'waiting') {
      this.#progress = { ...emptyProgress(), startedAtMs: Date.now() };
    }
    const keysTotal = this.#master.ledger.keyCount;
    this.#progress = { ...this.#progress, state: 'moving', keysSeen: 0, keysTotal, keysFailed: 0, lastError: undefined, keysLost: 0 };
    const moved = await this.#pass();
    if (moved > 0) this.#again = true;
    if (moved > 0 || this.#progress.keysFailed === 0 || this.#stopping) return false;
    this.#progress = { ...this.#progress, state: 'waiting' };
    return true;
  }

  /** Moves nothing, but ends what was begun; whether some of it could not be ended. */
  async #endPass(state: 'paused' | 'cancelled'): Promise<boolean> {
    this.#progress = { ...this.#progress, state, keysFailed: 0, lastError: undefined };
    await this.#clearSuspicions();
    let after: Bytes | undefined;
    while (this.#master.ledger.deletingCount > 0 && !this.#stopping) {
      const page = this.#master.metakeys.page(after, PAGE);
      await this.#finishDeletes(page.metakeys.filter(({ deleting }) => deleting));
      after = page.next;
      if (after === undefined) break;
      await new Promise((resolve) => setImmediate(resolve));
    }
    return this.#progress.keysFailed > 0;
  }

  async #settle(): Promise<void> {
    this.#master.metakeys.setMoveState('settled');
    await this.#master.metakeys.commit();
    this.#progress = { ...this.#progress, state: 'idle' };
    for (const { number, state } of this.#master.metakeys.volumes) {
      if (!this.#hasLeft(number)) continue;
      // Free for another master. One that cannot be told stays ours until somebody empties its directory.
      if (state === 'removing')
        await this.#master.clients
          .of(number)
          .release()
          .catch(() => {});
      // It may have been taken back meanwhile.
      if (this.#hasLeft(number)) this.#master.metakeys.forgetVolume(number);
    }
    await this.#master.metakeys.commit();
    await this.#onSettled?.();
  }

  /** A volume that is to go, and that nothing refers to or is written to any more. */
  #hasLeft(number: VolumeNumber): boolean {
    const state = this.#master.metakeys.volume(number)?.state;
    const isLeaving = state === 'removing' || state === 'lost';
    return isLeaving && this.#master.ledger.loadOf(number).keyCount === 0 && !this.#master.isWritingTo(number);
  }

  async #pauseFor(ms: number): Promise<void> {
    this.#wake = new AbortController();
    await sleep(ms, undefined, { signal: this.#wake.signal }).catch(() => {});
    this.#wake = undefined;
  }

  /** One walk over all metakeys; returns how many values it moved. */
  async #pass(): Promise<number> {
    let moved = 0;
    this.#passCount++;
    await this.#clearSuspicions();
    const running = new Set<Promise<void>>();
    const jobs = new Map<string, Job>();
    const launch = async (job: Job): Promise<void> => {
      while (running.size >= this.#concurrency) await Promise.race(running);
      const run: Promise<void> = this.#runJob(job)
        .then((count) => {
          moved += count;
        })
        .finally(() => running.delete(run));
      running.add(run);
    };
    let after: Bytes | undefined;
    do {
      const page = this.#master.metakeys.page(after, PAGE);
      this.#count({ keysSeen: page.metakeys.length });
      for (const metakey of page.metakeys) {
        for (const step of this.#stepsOf(metakey)) {
          const name = `${step.from}>${step.to}`;
          const large = metakey.sizeBytes > BATCHED_VALUE_BYTES;
          const job = (large ? undefined : jobs.get(name)) ?? { ...step, metakeys: [], bytes: 0 };
          job.metakeys.push(metakey);
          job.bytes += metakey.sizeBytes;
          if (large || job.metakeys.length >= BATCH_VALUES || job.bytes >= BATCH_BYTES) {
            if (!large) jobs.delete(name);
            await launch(job);
          } else jobs.set(name, job);
        }
        if (this.#stopping) break;
      }
      if (!this.#stopping) {
        await this.#trim(page.metakeys.filter((metakey) => this.#needsTrim(metakey)));
        await this.#finishDeletes(page.metakeys.filter(({ deleting }) => deleting));
      }
      after = page.next;
      // A pass over values that are all in place must not hold up the server.
      await new Promise((resolve) => setImmediate(resolve));
    } while (after !== undefined && !this.#stopping);
    if (!this.#stopping) for (const job of jobs.values()) await launch(job);
    await Promise.all(running);
    return moved;
  }

  /** The copies that are missing where `metakey` belongs, each with a volume to fetch it from. */
  #stepsOf(metakey: Metakey): { readonly from: VolumeNumber; readonly to: VolumeNumber }[] {
    if (metakey.deleting) return [];
    const { metakeys } = this.#master;
    const missing = metakeys.placeOf(metakey.key).filter((number) => !metakey.volumes.includes(number));
    if (missing.length === 0) return [];
    const sources = metakey.volumes.filter((number) => {
      const volume = metakeys.volume(number);
      return volume !== undefined && volume.state !== 'lost';
    });
    // Another source at each pass: one may be away, or its copy damaged.
    const from = sources[this.#passCount % sources.length];
    if (from === undefined) {
      this.#count({ keysLost: 1 });
      return [];
    }
    return missing.map((to) => ({ from, to }));
  }

  /** All places have the value, and others have it too (or a lost volume is still named). */
  #needsTrim(metakey: Metakey): boolean {
    const { map, replicas } = this.#master.metakeys;
    if (metakey.deleting || metakey.volumes.length <= map.placeCount(replicas)) return false;
    const places = this.#master.metakeys.placeOf(metakey.key);
    return places.length > 0 && places.every((number) => metakey.volumes.includes(number));
  }

  /** Gives up the copies that are too many. */
  async #trim(metakeys: readonly Metakey[]): Promise<void> {
    if (metakeys.length === 0) return;
    const outdated = metakeys.flatMap((metakey) => this.#referToPlaces(metakey, undefined));
    await this.#master.metakeys.commit();
    this.#failCopies(await this.#master.suspects.clear(outdated));
  }

  async #finishDeletes(deleting: readonly Metakey[]): Promise<void> {
    if (deleting.length === 0) return;
    const unfinished = await this.#master.finishDeletes(deleting);
    if (unfinished.length > 0) this.#fail(unfinished.length, unfinished[0]!.failures[0]);
  }

  async #clearSuspicions(): Promise<void> {
    let after: Bytes | undefined;
    do {
      const page = this.#master.metakeys.suspicions(after, 1_000);
      this.#failCopies(await this.#master.suspects.clear(page.suspicions));
      after = page.next;
    } while (after !== undefined && !this.#stopping);
  }

  async #runJob(job: Job): Promise<number> {
    const suspicions = job.metakeys.map(({ key, version }) => ({ volume: job.to, key, version: movedVersion(version) }));
    const outdated: Suspicion[] = [];
    try {
      await this.#throttle.take(job.bytes);
      await this.#master.suspects.begin(suspicions);
      await this.#onStep?.('suspected');
      const arrived = await this.#copy(job);
      await this.#onStep?.('copied');
      for (const metakey of arrived) outdated.push(...this.#referToPlaces(metakey, job.to));
      await this.#master.metakeys.commit();
      await this.#onStep?.('referred');
      const bytes = arrived.reduce((sum, metakey) => sum + metakey.sizeBytes, 0);
      this.#count({ keysMoved: arrived.length, bytesMoved: bytes });
      return arrived.length;
    } catch (error) {
      this.#fail(job.metakeys.length, error);
      return 0;
    } finally {
      // What is referred to by now is acquitted; what is not goes, like the old copies.
      await this.#master.suspects.endAndClear(suspicions, outdated);
      await this.#onStep?.('cleared');
    }
  }

  /** Copies a job's values; returns those that are on the target now, verified there. */
  async #copy(job: Job): Promise<Metakey[]> {
    const source = this.#master.metakeys.volume(job.from);
    if (source === undefined) return [];
    const target = this.#master.clients.of(job.to);
    if (job.metakeys.length === 1 && job.bytes > BATCHED_VALUE_BYTES) {
      const metakey = job.metakeys[0]!;
      const { sha256 } = await target.pull(metakey.key, source.address, movedVersion(metakey.version));
      return this.#isCopyOf(metakey, sha256) ? [metakey] : [];
    }
    const results = await target.batchPull(
      source.address,
      job.metakeys.map(({ key, version }) => ({ key, version: movedVersion(version) })),
    );
    return job.metakeys.filter((metakey, index) => {
      const result = results[index]!;
      if ('sha256' in result) return this.#isCopyOf(metakey, result.sha256);
      const changed = this.#master.metakeys.get(metakey.key)?.version !== metakey.version;
      if (!changed) this.#fail(1, new KeyfleetError('KF_VALUE_LOST', `${result.code}: ${result.message}`));
      return false;
    });
  }

  /** Whether what arrived is the value that the metakey tells of, and not what a write has put over it on the source. */
  #isCopyOf(metakey: Metakey, sha256: string): boolean {
    if (sha256 === metakey.sha256) return true;
    if (this.#master.metakeys.get(metakey.key)?.version === metakey.version)
      this.#fail(1, new KeyfleetError('KF_CHECKSUM_MISMATCH', `the copy has SHA-256 ${sha256} instead of ${metakey.sha256}`));
    return false;
  }

  /**
   * Refers to the copy on `arrived` too (when the value is still the one that was copied) and gives up copies that are not in place; into the
   * open batch. Returns the copies given up.
   */
  #referToPlaces(copied: Metakey, arrived: VolumeNumber | undefined): Suspicion[] {
    const { metakeys } = this.#master;
    const { key } = copied;
    const current = metakeys.get(key);
    if (current === undefined || Math.abs(current.version - copied.version) > 1 || current.sha256 !== copied.sha256 || current.deleting)
      return [];
    const held = arrived === undefined || current.volumes.includes(arrived) ? current.volumes : [...current.volumes, arrived];
    const places = metakeys.placeOf(key);
    const complete = places.length > 0 && places.every((number) => held.includes(number));
    const volumes = complete ? places : held;
    const version = arrived === undefined ? current.version : Math.max(current.version, movedVersion(copied.version));
    const outdated = held.filter((number) => !volumes.includes(number)).map((volume) => ({ volume, key, version: current.version }));
    this.#master.ledger.refer(current, { ...current, volumes, version }, { suspect: outdated });
    return outdated;
  }

  /** So many copies could not be looked into. */
  #failCopies(count: number): void {
    if (count > 0) this.#fail(count, new KeyfleetError('KF_VOLUME_UNAVAILABLE', 'copies to remove lie on a volume that is away'));
  }

  #fail(count: number, error: unknown): void {
    if (!isKeyfleetError(error)) throw error;
    this.#progress = { ...this.#progress, keysFailed: this.#progress.keysFailed + count, lastError: `${error.code}: ${error.message}` };
  }

  #count(more: {
    readonly keysSeen?: number;
    readonly keysMoved?: number;
    readonly bytesMoved?: number;
    readonly keysLost?: number;
  }): void {
    const now = this.#progress;
    this.#progress = {
      ...now,
      keysSeen: now.keysSeen + (more.keysSeen ?? 0),
      keysMoved: now.keysMoved + (more.keysMoved ?? 0),
      bytesMoved: now.bytesMoved + (more.bytesMoved ?? 0),
      keysLost: now.keysLost + (more.keysLost ?? 0),
    };
  }
}

function isHalted(state: MoveState): state is 'paused' | 'cancelled' {
  return state === 'paused' || state === 'cancelled';
}

function emptyProgress(): MoveProgress {
  return {
    state: 'idle',
    startedAtMs: 0,
    keysSeen: 0,
    keysTotal: 0,
    keysMoved: 0,
    bytesMoved: 0,
    keysFailed: 0,
    lastError: undefined,
    keysLost: 0,
  };
}
