import type { Bytes } from '../base/bytes.ts';
import { isKeyfleetError, KeyfleetError } from '../base/errors.ts';
import type { VolumeNumber } from './bucket-map.ts';
import { deleteUnfinished, isOutdated, outdatedError } from './copy-rules.ts';
import { InflightWrites } from './inflight-writes.ts';
import { Ledger } from './ledger.ts';
import { type Metakey, type Metakeys, movedVersion, type Suspicion, type VolumeRecord } from './metakeys.ts';
import { Suspects } from './suspects.ts';
import { tee } from './tee.ts';
import { errorOf, type StoredValue, type VolumeAnswer, VolumeUnavailableError } from './volume-client.ts';
import { VolumeClients, type VolumeClientsOptions } from './volume-clients.ts';

// Reads, writes and deletes of keys over the volumes, and the bookkeeping that a move shares with them (mover.ts).
//
// A write goes to the volumes where the key belongs today, under a new version, and the metakey follows when they have it. The version
// orders everything: a volume keeps the newest, the metakey takes only newer ones, a late copy by a mover carries the version that it read
// and so never wins over a write. Nothing holds a lock while bytes travel.

/** A GET asks again so often when the value moved between the look at the metakey and the request. */
const CHASE_TRIES = 5;

export interface MasterOptions extends VolumeClientsOptions {
  readonly metakeys: Metakeys;
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

/** A delete that readers see and that some volumes which hold the value have not heard of. */
export interface UnfinishedDelete {
  readonly metakey: Metakey;
  readonly failures: readonly KeyfleetError[];
}

export class Master {
  readonly metakeys: Metakeys;
  readonly ledger: Ledger;
  readonly clients: VolumeClients;
  readonly suspects: Suspects;
  readonly stats: MasterStats = { gets: 0, puts: 0, deletes: 0, notFound: 0, unavailable: 0, damaged: 0 };
  /** Called when a key was met whose copies are not where they belong, or too few, or whose delete or write has not ended. */
  onMisplaced: (() => void) | undefined;
  readonly #inflight = new InflightWrites();
  /** Writes under way per volume. */
  readonly #writing = new Map<VolumeNumber, number>();

  private constructor({ metakeys, ...options }: MasterOptions) {
    this.metakeys = metakeys;
    this.ledger = new Ledger(metakeys);
    this.clients = new VolumeClients(metakeys, options);
    this.suspects = new Suspects({
      ledger: this.ledger,
      clients: this.clients,
      inflight: this.#inflight,
      onMisplaced: () => this.onMisplaced?.(),
    });
  }

  /** Reads all metakeys once, for the counts: about three seconds per million. */
  static async open(options: MasterOptions): Promise<Master> {
    const master = new Master(options);
    await master.metakeys.beginEpoch();
    return master;
  }

  /** Whether there is something to bring to its end: writes, moves or deletes that did not. */
  get hasUnfinished(): boolean {
    return this.ledger.deletingCount > 0 || this.metakeys.hasSuspicions;
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
    this.ledger.refer(current, after, { suspect: [suspicion] });
    await this.metakeys.commit();
    await this.suspects.clear([suspicion]);
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
        const answer = await this.clients.of(number).fetch(method, metakey.key, headers);
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
      await this.suspects.begin(suspicions);
      const stored = await this.#send(key, places, body, { ...options, version });
      await this.#refer(key, version, stored, suspicions);
      failed = false;
      return stored.value;
    } finally {
      this.suspects.end(suspicions);
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
    const stay = await this.suspects.clear(suspicions).catch(() => suspicions.length);
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
          return await this.clients.of(number).put(key, bodies[index]!, options);
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
    this.suspects.end(suspicions);
    if (overtaken) {
      const left = stored.on.map((volume) => ({ volume, key, version }));
      for (const suspicion of left) this.metakeys.suspect(suspicion);
      await this.metakeys.commit();
      await this.suspects.clear([...left, ...suspicions]);
      return;
    }
    const { sizeBytes, sha256 } = stored.value;
    const metakey: Metakey = { key, version, sizeBytes, sha256, volumes: stored.on, deleting: false };
    const outdated = (current?.volumes ?? [])
      .filter((volume) => !stored.on.includes(volume))
      .map((volume) => ({ volume, key, version: current!.version }));
    this.ledger.refer(current, metakey, { acquit: suspicions.filter(({ volume }) => stored.on.includes(volume)), suspect: outdated });
    await this.metakeys.commit();
    const missed = suspicions.filter(({ volume }) => !stored.on.includes(volume));
    if (outdated.length + missed.length > 0) void this.#lookLater([...outdated, ...missed]);
    if (String(this.metakeys.placeOf(key)) !== String(stored.on)) this.onMisplaced?.();
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
    const deleting = metakey.deleting ? metakey : { ...metakey, version: this.metakeys.newVersion(), deleting: true };
    if (!metakey.deleting) {
      this.ledger.refer(metakey, deleting);
      await this.metakeys.commit();
    }
    const [unfinished] = await this.finishDeletes([deleting]);
    if (unfinished === undefined) return;
    this.onMisplaced?.();
    const away = unfinished.failures.filter((failure) => failure instanceof VolumeUnavailableError);
    this.stats.unavailable += away.length;
    if (away.length < unfinished.failures.length)
      throw unfinished.failures.find((failure) => !away.includes(failure as VolumeUnavailableError))!;
    if (away.length === deleting.volumes.length) throw deleteUnfinished(away);
  }

  /**
   * The second half of deletes, together; after a crash it is done again from here. A volume is asked once for all of them.
   * @returns those that did not end, and why
   */
  async finishDeletes(deleting: readonly Metakey[]): Promise<UnfinishedDelete[]> {
    const failures = new Map<VolumeNumber, KeyfleetError>();
    const isAsked = (number: VolumeNumber): boolean => (this.metakeys.volume(number)?.state ?? 'lost') !== 'lost';
    const numbers = [...new Set(deleting.flatMap(({ volumes }) => volumes))].filter(isAsked);
    await Promise.all(
      numbers.map(async (number) => {
        const held = deleting.filter(({ volumes }) => volumes.includes(number));
        try {
          await this.clients.of(number).batchDelete(held.map(({ key, version }) => ({ key, upToVersion: version })));
        } catch (error) {
          if (!isKeyfleetError(error)) throw error;
          failures.set(number, error);
        }
      }),
    );
    const unfinished: UnfinishedDelete[] = [];
    for (const metakey of deleting) {
      const { key, version, volumes } = metakey;
      this.#inflight.deleted(key, version);
      const failed = volumes.flatMap((number) => failures.get(number) ?? []);
      const current = this.metakeys.get(key);
      if (failed.length > 0) unfinished.push({ metakey, failures: failed });
      else if (current?.version === version) {
        // A lost volume may be found again; its copy must not outlive this.
        const suspect = volumes
          .filter((number) => this.metakeys.volume(number)?.state === 'lost')
          .map((volume) => ({ volume, key, version }));
        this.ledger.refer(current, undefined, { suspect });
      }
    }
    await this.metakeys.commit();
    return unfinished;
  }

  /** A write of the key, or the very copy that a move makes, is under way in this process. */
  isUnderWay(copy: Suspicion): boolean {
    return this.#inflight.has(copy.key) || this.suspects.isActive(copy);
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
    await this.clients.close();
    await this.metakeys.commit();
    await this.metakeys.close();
  }
}
