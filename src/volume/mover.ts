import { setTimeout as sleep } from 'node:timers/promises';
import type { Bytes } from '../base/bytes.ts';
import { isKeyfleetError } from '../base/errors.ts';
import { MIB } from '../base/units.ts';
import type { VolumeNumber } from './bucket-map.ts';
import type { Master } from './master.ts';
import type { Metakey, MoveState } from './metakeys.ts';
import { BATCHED_VALUE_BYTES, type Batch, BatchMoves, copiesAway, type MoveStep } from './move-batch.ts';
import { Throttle } from './throttle.ts';

// Brings every value to where it belongs, while the master serves. What must move is not planned ahead: a pass walks the metakeys and takes
// those whose volumes differ from their places, so a pass may be ended anywhere, by a crash too, and begun again.
//
// How a batch of them moves: move-batch.ts. While the moves are paused or cancelled, passes go on that only bring to their end what was begun: suspicions and deletes.

const PAGE = 2_000;
const BATCH_VALUES = 2_000;
const BATCH_BYTES = 16 * MIB;
const RETRY_MS = 5_000;

export interface MoveLimits {
  /** Batches under way at the same time, and as many whose old copies are being removed. */
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

export class Mover {
  readonly #master: Master;
  readonly #throttle: Throttle;
  readonly #concurrency: number;
  readonly #batches: BatchMoves;
  #progress: MoveProgress = emptyProgress();
  #running: Promise<void> | undefined;
  #passCount = 0;
  /** Values that the pass took up and did not bring into all their places. */
  #unsettledCount = 0;
  #again = false;
  #stopping = false;
  #wake: AbortController | undefined;
  #onSettled: (() => Promise<void>) | undefined;

  constructor(master: Master, limits: MoveLimits) {
    this.#master = master;
    this.#concurrency = limits.concurrency;
    this.#throttle = new Throttle(limits.bytesPerSecond);
    this.#batches = new BatchMoves(master, {
      throttle: this.#throttle,
      onStep: limits.onStep,
      onFailed: (count, error) => this.#fail(count, error),
    });
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
    // Another look when something was left: a write came between, or more copies of a value are to be made, or it failed.
    if (moved > 0 && this.#unsettledCount + this.#progress.keysFailed > 0) this.#again = true;
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
    this.#unsettledCount = 0;
    await this.#clearSuspicions();
    const running = new Set<Promise<void>>();
    const clearing = new Set<Promise<void>>();
    const jobs = new Map<string, Batch>();
    const launch = async (batch: Batch): Promise<void> => {
      while (Math.max(running.size, clearing.size) >= this.#concurrency) await Promise.race([...running, ...clearing]);
      const run: Promise<void> = this.#batches
        .run(batch)
        .then(({ keysMoved, bytesMoved, keysLeft, cleared }) => {
          moved += keysMoved;
          this.#unsettledCount += keysLeft;
          this.#count({ keysMoved, bytesMoved });
          const clear: Promise<void> = cleared.finally(() => clearing.delete(clear));
          clearing.add(clear);
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
        await this.#batches.trim(page.metakeys.filter((metakey) => this.#needsTrim(metakey)));
        await this.#finishDeletes(page.metakeys.filter(({ deleting }) => deleting));
      }
      after = page.next;
      // A pass over values that are all in place must not hold up the server.
      await new Promise((resolve) => setImmediate(resolve));
    } while (after !== undefined && !this.#stopping);
    if (!this.#stopping) for (const job of jobs.values()) await launch(job);
    await Promise.all(running);
    await Promise.all(clearing);
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

  /** So many copies could not be looked into. */
  #failCopies(count: number): void {
    if (count > 0) this.#fail(count, copiesAway());
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
