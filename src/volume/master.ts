import type { Bytes } from '../base/bytes.ts';
import { isKeyfleetError, KeyfleetError } from '../base/errors.ts';
import type { VolumeNumber } from './bucket-map.ts';
import { isOutdated, nameOf, needsLook, outdatedError } from './copy-rules.ts';
import { InflightWrites } from './inflight-writes.ts';
import { type Metakey, type Metakeys, movedVersion, type Suspicion, type VolumeRecord } from './metakeys.ts';
import { tee } from './tee.ts';
import { inParallel } from './value-directory.ts';
import {
  DeleteUnfinishedError,
  errorOf,
  type StoredValue,
  type VolumeAnswer,
  VolumeClient,
  VolumeUnavailableError,
} from './volume-client.ts';

// Reads, writes and deletes of keys over the volumes, and the bookkeeping that a move shares with them (mover.ts).
//
// A write goes to the volumes where the key belongs today, under a new version, and the metakey follows when they have it. The version
// orders everything: a volume keeps the newest, the metakey takes only newer ones, a late copy by a mover carries the version that it read
// and so never wins over a write. Nothing holds a lock while bytes travel.

/** A GET asks again so often when the value moved between the look at the metakey and the request. */
const CHASE_TRIES = 5;
/** Suspicions that are looked into at the same time. */
const LOOKS_AT_ONCE = 16;

export interface MasterOptions {
  readonly metakeys: Metakeys;
  /** Shared token of the volumes. */
  readonly token?: string | undefined;
  readonly connectMs?: number;
  readonly answerMs?: number;
}

export interface MasterStats {
  gets: number;
  puts: number;
  deletes: number;
  notFound: number;
  unavailable: number;
  /** Reads that found a damaged or missing copy. */
  damaged: number;
}

/** What a master counts of one volume. */
export interface VolumeLoad {
  keyCount: number;
  sizeBytes: number;
}

export class Master {
  readonly metakeys: Metakeys;
  readonly stats: MasterStats = { gets: 0, puts: 0, deletes: 0, notFound: 0, unavailable: 0, damaged: 0 };
  /** Called when a key was met whose copies are not where they belong, or too few. */
  onMisplaced: (() => void) | undefined;
  readonly #options: MasterOptions;
  readonly #clients = new Map<VolumeNumber, VolumeClient>();
  readonly #inflight = new InflightWrites();
  readonly #loads = new Map<VolumeNumber, VolumeLoad>();
  /** Suspicions whose write or move is still under way in this process: not to be looked into. */
  readonly #active = new Set<string>();
  /** Writes under way per volume. */
  readonly #writing = new Map<VolumeNumber, number>();
  #keyCount = 0;
  /** At the start. */
  #deletingCount = 0;

  private constructor(options: MasterOptions) {
    this.#options = options;
    this.metakeys = options.metakeys;
    let after: Bytes | undefined;
    do {
      const page = this.metakeys.page(after, 10_000);
      for (const metakey of page.metakeys) {
        this.#count(metakey, 1);
        if (metakey.deleting) this.#deletingCount++;
      }
      after = page.next;
    } while (after !== undefined);
  }

  /** Reads all metakeys once, for the counts: about a second per million. */
  static async open(options: MasterOptions): Promise<Master> {
    const master = new Master(options);
    await master.metakeys.beginEpoch();
    return master;
  }

  /** Whether an earlier process left something to look into: writes, moves or deletes that did not end. */
  get hasUnfinished(): boolean {
    return this.#deletingCount > 0 || this.metakeys.suspicions(undefined, 1).suspicions.length > 0;
  }

  get keyCount(): number {
    return this.#keyCount;
  }

  loadOf(volume: VolumeNumber): Readonly<VolumeLoad> {
    return this.#loads.get(volume) ?? { keyCount: 0, sizeBytes: 0 };
  }

  /** @throws KF_UNKNOWN_VOLUME */
  client(number: VolumeNumber): VolumeClient {
    const volume = this.metakeys.volume(number);
    if (volume === undefined) throw new KeyfleetError('KF_UNKNOWN_VOLUME', `volume ${number} is not one of this master's`);
    let client = this.#clients.get(number);
    if (client === undefined || client.address !== volume.address) {
      void client?.close();
      client = this.connect(volume);
      this.#clients.set(number, client);
    }
    return client;
  }

  /** Ends the connections to a volume; the next request makes new ones. */
  disconnect(number: VolumeNumber): void {
    void this.#clients.get(number)?.close();
    this.#clients.delete(number);
  }

  disconnectAll(): void {
    for (const number of [...this.#clients.keys()]) this.disconnect(number);
  }

  /** A client for a volume that may not be one of ours yet. */
  connect(volume: { readonly address: string; readonly id?: string }): VolumeClient {
    const { token, connectMs, answerMs } = this.#options;
    return new VolumeClient(volume.address, {
      token,
      expectId: volume.id,
      epoch: this.metakeys.epoch,
      ...(connectMs === undefined ? {} : { connectMs }),
      ...(answerMs === undefined ? {} : { answerMs }),
    });
  }

  /**
   * The answer of a volume that holds the key, its body unread; the next replica is asked when one is away or damaged.
   * @throws KF_NOT_FOUND, KF_VOLUME_UNAVAILABLE (with the volume named), KF_VALUE_DAMAGED, KF_VALUE_LOST
   */
  async get(key: Bytes, method: 'GET' | 'HEAD', headers: Readonly<Record<string, string>>): Promise<VolumeAnswer> {
    this.stats.gets++;
    for (let tries = 0; tries < CHASE_TRIES; tries++) {
      const metakey = this.metakeys.get(key);
      if (metakey === undefined || metakey.deleting) return this.#notFound();
      const outcome = await this.#ask(metakey, method, headers);
      if (!(outcome instanceof Error)) return outcome;
      const now = this.metakeys.get(key);
      if (now?.version !== metakey.version || String(now.volumes) !== String(metakey.volumes)) continue;
      if (outcome.code === 'KF_VOLUME_UNAVAILABLE') this.stats.unavailable++;
      throw outcome;
    }
    throw new KeyfleetError('KF_BUSY', 'the value moved at every try to read it; try again', { retryable: true });
  }

  /** A copy is damaged or gone: when there are others, refers only to those, and has the copy made again. */
  async dropCopy(metakey: Metakey, number: VolumeNumber): Promise<boolean> {
    const current = this.metakeys.get(metakey.key);
    if (current === undefined || current.version !== metakey.version || current.volumes.length < 2) return false;
    const suspicion = { volume: number, key: current.key, version: current.version };
    // A version more, so that the bad copy is not taken for one that belongs to this metakey.
    const after = { ...current, version: movedVersion(current.version), volumes: current.volumes.filter((one) => one !== number) };
    this.refer(current, after, { suspect: [suspicion] });
    await this.metakeys.commit();
    await this.clear([suspicion]);
    this.onMisplaced?.();
    return true;
  }

  #notFound(): never {
    this.stats.notFound++;
    throw new KeyfleetError('KF_NOT_FOUND', 'there is no value under this key');
  }

  async #ask(metakey: Metakey, method: 'GET' | 'HEAD', headers: Readonly<Record<string, string>>): Promise<VolumeAnswer | KeyfleetError> {
    let failure: KeyfleetError | undefined;
    for (const number of metakey.volumes) {
      const volume = this.metakeys.volume(number);
      if (volume === undefined || volume.state === 'lost') continue;
      try {
        const answer = await this.client(number).fetch(method, metakey.key, headers);
        const sound = answer.status < 400 || answer.status === 416;
        if (sound && !isOutdated(answer, metakey)) return answer;
        const error = sound ? await outdatedError(answer, volume.address) : await errorOf(answer, volume.address);
        if (error.code !== 'KF_NOT_FOUND' && error.code !== 'KF_VALUE_DAMAGED') {
          // The volume refuses or fails; that says nothing about its copy.
          failure = error;
          continue;
        }
        this.stats.damaged++;
        failure ??=
          error.code === 'KF_NOT_FOUND' ? new KeyfleetError('KF_VALUE_LOST', `volume ${volume.address} no longer has this value`) : error;
        await this.dropCopy(metakey, number);
      } catch (error) {
        if (!isKeyfleetError(error)) throw error;
        failure ??= error;
      }
    }
    return failure ?? new KeyfleetError('KF_VALUE_LOST', 'every volume that held this value is lost');
  }

  /**
   * Stores a value. Resolves when the volumes and the metakey are durable.
   * @throws KF_VOLUME_UNAVAILABLE (nothing was stored), KF_OUTCOME_UNKNOWN (it may have been), KF_DISK_FULL, KF_REQUEST_INCOMPLETE
   */
  async put(
    key: Bytes,
    body: Buffer | AsyncIterable<Buffer>,
    options: { readonly contentType: string; readonly sizeBytes?: number | undefined },
  ): Promise<StoredValue> {
    this.stats.puts++;
    const end = this.#inflight.begin(key);
    const version = this.metakeys.newVersion();
    const places = this.metakeys.placeOf(key);
    // Also where the key is held already: a write that never ended may have replaced the copy that is referred to.
    const suspicions = places.map((volume) => ({ volume, key, version }));
    this.#countWrites(places, 1);
    let failed = true;
    try {
      if (places.length === 0)
        throw new KeyfleetError('KF_VOLUME_UNAVAILABLE', 'there is no volume to store this on: add one', { retryable: true });
      await this.suspect(suspicions);
      const stored = await this.#send(key, places, body, { ...options, version });
      await this.#refer(key, version, stored, suspicions);
      failed = false;
      return stored.value;
    } finally {
      this.#endActive(suspicions);
      this.#countWrites(places, -1);
      end();
      if (failed) void this.#lookLater(suspicions);
      // A volume that was taken out meanwhile has waited for this write.
      if (places.some((number) => this.metakeys.volume(number)?.state !== 'active')) this.onMisplaced?.();
    }
  }

  /** Whether a write to this volume is under way: it must not be forgotten then. */
  isWritingTo(number: VolumeNumber): boolean {
    return this.#writing.has(number);
  }

  #countWrites(places: readonly VolumeNumber[], change: 1 | -1): void {
    for (const number of places) {
      const count = (this.#writing.get(number) ?? 0) + change;
      if (count > 0) this.#writing.set(number, count);
      else this.#writing.delete(number);
    }
  }

  /** Looks into suspicions now, and leaves to the mover what cannot be said yet. */
  async #lookLater(suspicions: readonly Suspicion[]): Promise<void> {
    const stay = await this.clear(suspicions).catch(() => suspicions.length);
    if (stay > 0) this.onMisplaced?.();
  }

  /** Sends the value to its places; enough of them must take it. */
  async #send(
    key: Bytes,
    places: readonly VolumeNumber[],
    body: Buffer | AsyncIterable<Buffer>,
    options: { readonly contentType: string; readonly sizeBytes?: number | undefined; readonly version: number },
  ): Promise<{ readonly value: StoredValue; readonly on: VolumeNumber[] }> {
    const bodies = Buffer.isBuffer(body) || places.length === 1 ? places.map(() => body) : tee(body, places.length);
    const results = await Promise.allSettled(
      places.map(async (number, index) => {
        try {
          return await this.client(number).put(key, bodies[index]!, options);
        } catch (error) {
          // A concurrent write that came later is there already: ours came first and was overwritten.
          if (isKeyfleetError(error) && error.code === 'KF_NEWER_VERSION') return undefined;
          const reader = bodies[index]!;
          if ('destroy' in reader) reader.destroy();
          throw error;
        }
      }),
    );
    const on = places.filter((_, index) => results[index]!.status === 'fulfilled');
    const failures = results.flatMap((result) => (result.status === 'rejected' ? [result.reason as unknown] : []));
    const needed = Math.max(1, places.length - 1);
    if (on.length < needed) throw this.#writeFailure(failures);
    const value = results.flatMap((result) => (result.status === 'fulfilled' && result.value !== undefined ? [result.value] : []))[0];
    return { value: value ?? { sizeBytes: 0, version: options.version, sha256: '', contentType: options.contentType }, on };
  }

  #writeFailure(failures: readonly unknown[]): Error {
    const unknown = failures.find((failure) => failure instanceof VolumeUnavailableError && failure.outcomeUnknown) as
      | VolumeUnavailableError
      | undefined;
    if (unknown !== undefined) {
      this.stats.unavailable++;
      return new KeyfleetError(
        'KF_OUTCOME_UNKNOWN',
        `${unknown.message}; the value may or may not have been stored, storing it again is safe`,
        { cause: unknown, retryable: true },
      );
    }
    if (failures[0] instanceof VolumeUnavailableError) this.stats.unavailable++;
    return failures[0] as Error;
  }

  /** Lets the metakey follow a write, unless a newer write or a delete has overtaken it. */
  async #refer(
    key: Bytes,
    version: number,
    stored: { readonly value: StoredValue; readonly on: VolumeNumber[] },
    suspicions: readonly Suspicion[],
  ): Promise<void> {
    const current = this.metakeys.get(key);
    const overtaken =
      stored.value.sha256 === '' || version < this.#inflight.deletedUpTo(key) || (current !== undefined && current.version > version);
    this.#endActive(suspicions);
    if (overtaken) {
      const left = stored.on.map((volume) => ({ volume, key, version }));
      for (const suspicion of left) this.metakeys.suspect(suspicion);
      await this.metakeys.commit();
      await this.clear([...left, ...suspicions]);
      return;
    }
    const { sizeBytes, sha256 } = stored.value;
    const metakey: Metakey = { key, version, sizeBytes, sha256, volumes: stored.on, deleting: false };
    const outdated = (current?.volumes ?? [])
      .filter((volume) => !stored.on.includes(volume))
      .map((volume) => ({ volume, key, version: current!.version }));
    this.refer(current, metakey, { acquit: suspicions.filter(({ volume }) => stored.on.includes(volume)), suspect: outdated });
    await this.metakeys.commit();
    const missed = suspicions.filter(({ volume }) => !stored.on.includes(volume));
    if (outdated.length + missed.length > 0) void this.#lookLater([...outdated, ...missed]);
    if (String(this.metakeys.placeOf(key)) !== String(stored.on)) this.onMisplaced?.();
  }

  /** Changes a metakey and the counts; into the open batch. Shared with the mover. */
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

  /**
   * Removes a value from its volumes, then its metakey.
   * With replicas, one volume may be away; what it has is removed when it is back.
   * @throws KF_NOT_FOUND, KF_VOLUME_UNAVAILABLE (the value is unreadable from now on, its removal goes on when the volume is back)
   */
  async delete(key: Bytes): Promise<void> {
    this.stats.deletes++;
    const metakey = this.metakeys.get(key);
    if (metakey === undefined) return this.#notFound();
    if (!metakey.deleting) {
      this.refer(metakey, { ...metakey, version: this.metakeys.newVersion(), deleting: true });
      await this.metakeys.commit();
    }
    try {
      await this.finishDelete(key);
    } catch (error) {
      this.onMisplaced?.();
      if (!(error instanceof DeleteUnfinishedError) || error.awayCount === metakey.volumes.length) throw error;
    }
  }

  /** The second half of a delete; after a crash it is done again from here. */
  async finishDelete(key: Bytes): Promise<void> {
    const metakey = this.metakeys.get(key);
    if (metakey === undefined || !metakey.deleting) return;
    const isLost = (number: VolumeNumber): boolean => this.metakeys.volume(number)?.state === 'lost';
    const away: VolumeUnavailableError[] = [];
    for (const number of metakey.volumes.filter((one) => !isLost(one) && this.metakeys.volume(one) !== undefined)) {
      try {
        await this.client(number).delete(key, metakey.version);
      } catch (error) {
        if (!(error instanceof VolumeUnavailableError)) throw error;
        this.stats.unavailable++;
        away.push(error);
      }
    }
    this.#inflight.deleted(key, metakey.version);
    if (away.length > 0) throw new DeleteUnfinishedError(away);
    const current = this.metakeys.get(key);
    if (current?.version !== metakey.version) return;
    // A lost volume may be found again; its copy must not outlive this.
    const suspect = metakey.volumes.filter(isLost).map((volume) => ({ volume, key, version: metakey.version }));
    this.refer(metakey, undefined, { suspect });
    await this.metakeys.commit();
  }

  /** Writes suspicions down, durably, before the copies they speak of can exist. They rest until {@link endSuspects}. */
  async suspect(suspicions: readonly Suspicion[]): Promise<void> {
    for (const suspicion of suspicions) {
      this.#active.add(nameOf(suspicion));
      this.metakeys.suspect(suspicion);
    }
    await this.metakeys.commit();
  }

  /** The write or move that wrote these down has ended. */
  #endActive(suspicions: readonly Suspicion[]): void {
    for (const suspicion of suspicions) this.#active.delete(nameOf(suspicion));
  }

  /** Ends the rest of `ended` and looks into them and into `more`. */
  async endSuspects(ended: readonly Suspicion[], more: readonly Suspicion[]): Promise<void> {
    this.#endActive(ended);
    await this.clear([...ended, ...more]);
  }

  /**
   * Looks into suspicions: a copy that is not referred to is removed from its volume; one that an unfinished write has put over the copy
   * referred to, or beside it, is referred to. Returns how many stay because their volume is away or the key is being written; those of
   * writes and moves under way, and on volumes that are lost, are left alone.
   */
  async clear(suspicions: readonly Suspicion[]): Promise<number> {
    const ripe = suspicions.filter((suspicion) => !this.#active.has(nameOf(suspicion)));
    let stay = 0;
    for (const number of new Set(ripe.map(({ volume }) => volume))) {
      const volume = this.metakeys.volume(number);
      if (volume?.state === 'lost') continue;
      const all = ripe.filter((suspicion) => suspicion.volume === number);
      try {
        if (volume !== undefined) {
          const open = new Set<Suspicion>();
          const unclear = all.filter((suspicion) => needsLook(suspicion, this.metakeys.get(suspicion.key)));
          await inParallel(unclear.length, LOOKS_AT_ONCE, async (index) => {
            if (!(await this.#look(unclear[index]!))) open.add(unclear[index]!);
          });
          stay += open.size;
          const guilty = all.filter((suspicion) => !open.has(suspicion) && !this.metakeys.get(suspicion.key)?.volumes.includes(number));
          if (guilty.length > 0) await this.client(number).batchDelete(guilty.map(({ key, version }) => ({ key, upToVersion: version })));
          for (const suspicion of all) if (!open.has(suspicion)) this.metakeys.acquit(suspicion);
        } else for (const suspicion of all) this.metakeys.acquit(suspicion);
      } catch (error) {
        if (!isKeyfleetError(error)) throw error;
        stay += all.length;
      }
    }
    await this.metakeys.commit();
    return stay;
  }

  /** Asks the volume what it has of a key, and refers to it when that is what an unfinished write left. False: it cannot be said yet. */
  async #look({ volume, key }: Suspicion): Promise<boolean> {
    if (this.#inflight.has(key)) return false;
    const found = await this.client(volume).head(key);
    if (this.#inflight.has(key)) return false;
    const current = this.metakeys.get(key);
    if (found === undefined || current === undefined || current.deleting) return true;
    const { version, sha256, sizeBytes } = found;
    const isHeld = current.volumes.includes(volume);
    if (isHeld && version > current.version) {
      const suspect = current.volumes.filter((one) => one !== volume).map((one) => ({ volume: one, key, version: current.version }));
      this.refer(current, { key, version, sha256, sizeBytes, volumes: [volume], deleting: false }, { suspect });
      this.onMisplaced?.();
    } else if (!isHeld && version === current.version && sha256 === current.sha256 && this.metakeys.placeOf(key).includes(volume)) {
      this.refer(current, { ...current, volumes: [...current.volumes, volume] });
    }
    return true;
  }

  /** A write of the key, or the very copy that a move makes, is under way in this process. */
  isUnderWay(copy: Suspicion): boolean {
    return this.#inflight.has(copy.key) || this.#active.has(nameOf(copy));
  }

  volumeByName(name: string): VolumeRecord {
    const found = this.metakeys.volumes.find(
      ({ number, id, address }) => String(number) === name || id === name || address.replace(/\/$/, '') === name.replace(/\/$/, ''),
    );
    if (found === undefined)
      throw new KeyfleetError('KF_UNKNOWN_VOLUME', `no volume has the number, id or address ${name}; keyfleet volumes list shows them`);
    return found;
  }

  async close(): Promise<void> {
    for (const client of this.#clients.values()) await client.close();
    await this.metakeys.commit();
    await this.metakeys.close();
  }

  #count(metakey: Metakey, sign: 1 | -1): void {
    this.#keyCount += sign;
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
