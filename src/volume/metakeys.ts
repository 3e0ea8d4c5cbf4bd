import { randomUUID } from 'node:crypto';
import type { Bytes } from '../base/bytes.ts';
import { concatBytes } from '../base/bytes.ts';
import { KeyfleetError } from '../base/errors.ts';
import type { Storage } from '../storage/storage.ts';
import { packr } from './batch-wire.ts';
import { BucketMap, type VolumeNumber } from './bucket-map.ts';
import {
  bytesOf,
  decodeMetakey,
  decodeTogether,
  encodeMetakey,
  encodeTogether,
  metakeyName,
  numbered,
  suspicionName,
  TAG,
} from './metakey-records.ts';

// What the master knows, in its embedded database: for each key which volumes hold it, the volumes themselves, the buckets, and the
// suspicions: copies that may lie on a volume without being referred to, because a move or a write has begun and not ended. Each
// suspicion is written before the copy can exist and removed, in one batch with the change of the metakey, when the copy is referred to.
// So after any crash every file on every volume is referred to, suspected, or older than what is referred to.

/** What the master keeps of a key. */
export interface Metakey {
  readonly key: Bytes;
  readonly version: number;
  readonly sizeBytes: number;
  readonly sha256: string;
  /** The volumes that hold this version. */
  readonly volumes: readonly VolumeNumber[];
  /** A delete has begun: readers are told that there is no value. */
  readonly deleting: boolean;
}

export type VolumeState =
  /** Takes new values. */
  | 'active'
  /** Gives its values away and takes none. */
  | 'draining'
  /** As draining; forgotten when its last value is gone. */
  | 'removing'
  /** Its values are gone; nothing is asked of it. Forgotten when no key refers to it. */
  | 'lost';

export interface VolumeRecord {
  readonly number: VolumeNumber;
  /** The identity in the volume's directory. */
  readonly id: string;
  readonly address: string;
  readonly state: VolumeState;
}

/** A copy of `key`, not newer than `version`, that may lie on `volume` without being referred to. */
export interface Suspicion {
  readonly volume: VolumeNumber;
  readonly key: Bytes;
  readonly version: number;
}

/** Suspicions in one record: those of the copies that a batch of a move makes, or leaves, which are all settled at once when nothing goes wrong. */
export interface SuspicionsTogether {
  readonly name: Bytes;
  readonly suspicions: readonly Suspicion[];
}

/** Whether the values are where the buckets say; `moving` survives a restart. */
export type MoveState = 'settled' | 'moving' | 'paused' | 'cancelled';

interface MasterRecord {
  readonly format: number;
  /** Whose volumes these are; made when the database is first opened. */
  readonly fleet?: string;
  /** How often a master has been opened over this database. */
  readonly epoch: number;
  readonly nextVolume: number;
  readonly versionCeiling: number;
  readonly replicas: number;
  readonly buckets: readonly (VolumeNumber | null)[];
  readonly moveState: MoveState;
  /** A rebuild has begun and not ended: not all keys are known. */
  readonly isRebuilding?: boolean;
}

/** 2: suspicions together. */
const FORMAT = 2;
const VERSION_BLOCK = 1_000_000_000;
/** Distance between the versions of two writes: room for the versions of the copies that moves make between them. */
const VERSION_STEP = 1_024;

/** The master's database. Changes collect in the storage's open batch until {@link commit}; {@link durable} waits for the disk. */
export class Metakeys {
  readonly #storage: Storage;
  readonly #volumes = new Map<VolumeNumber, VolumeRecord>();
  #master: MasterRecord;
  #map: BucketMap;
  #nextVersion: number;
  /** Single suspicions: to look for them in the database leads past those of all the writes that have ended. */
  #suspicionCount = 0;
  #togetherCount = 0;

  constructor(storage: Storage) {
    this.#storage = storage;
    const stored = storage.get(bytesOf(TAG.master));
    this.#master =
      stored === undefined
        ? { format: FORMAT, epoch: 0, nextVolume: 1, versionCeiling: 1, replicas: 1, buckets: [], moveState: 'settled' }
        : (packr.unpack(stored) as MasterRecord);
    if (this.#master.format > FORMAT) {
      throw new KeyfleetError(
        'KF_FORMAT_TOO_NEW',
        `the master's database has format ${this.#master.format}; this version of Keyfleet knows ${FORMAT}`,
      );
    }
    for (const { value } of storage.scan({ from: bytesOf(TAG.volume), to: bytesOf(TAG.volume + 1) })) {
      const volume = packr.unpack(value) as VolumeRecord;
      this.#volumes.set(volume.number, volume);
    }
    for (const _ of storage.scan({ from: bytesOf(TAG.suspicion), to: bytesOf(TAG.suspicion + 1) })) this.#suspicionCount++;
    this.#map = new BucketMap(this.#master.buckets);
    // Versions of the block in use may have been given out before a crash.
    this.#nextVersion = this.#master.versionCeiling;
  }

  get isNew(): boolean {
    return this.#volumes.size === 0 && this.#master.nextVolume === 1;
  }

  get map(): BucketMap {
    return this.#map;
  }

  /** The fleet that the volumes of this master belong to; set from {@link beginEpoch} on. */
  get fleet(): string | undefined {
    return this.#master.fleet;
  }

  /** Takes over the fleet of a master whose metakeys were lost. Into the open batch. */
  takeOverFleet(fleet: string): void {
    this.#setMaster({ fleet });
  }

  get epoch(): number {
    return this.#master.epoch;
  }

  /** Volumes have seen the epoch `seen`, of a master that came before or of a database that is gone: this one comes after it. */
  async raiseEpoch(seen: number): Promise<void> {
    if (seen <= this.#master.epoch) return;
    this.#setMaster({ epoch: seen + 1 });
    await this.commit();
  }

  get isRebuilding(): boolean {
    return this.#master.isRebuilding === true;
  }

  setRebuilding(isRebuilding: boolean): void {
    this.#setMaster({ isRebuilding });
  }

  /** This process is the master from now on. What the one before it had written down together is taken apart. */
  async beginEpoch(): Promise<void> {
    this.#setMaster({ format: FORMAT, epoch: this.#master.epoch + 1, fleet: this.fleet ?? randomUUID() });
    const left = [...this.#storage.scan({ from: bytesOf(TAG.together), to: bytesOf(TAG.together + 1) })];
    for (const { key, value } of left) this.settleTogether({ name: key, suspicions: decodeTogether(value) }, () => true);
    await this.reserveVersions(0);
  }

  get replicas(): number {
    return this.#master.replicas;
  }

  get moveState(): MoveState {
    return this.#master.moveState;
  }

  /** The volumes, in the order they were added. */
  get volumes(): VolumeRecord[] {
    return [...this.#volumes.values()].sort((a, b) => a.number - b.number);
  }

  volume(number: VolumeNumber): VolumeRecord | undefined {
    return this.#volumes.get(number);
  }

  /**
   * A version above all that were given out, before a crash too: the ceiling is durable half a block before it is reached, and versions go
   * on from it after a restart.
   */
  newVersion(): number {
    if (this.#nextVersion + VERSION_BLOCK / 2 >= this.#master.versionCeiling) {
      this.#setMaster({ versionCeiling: this.#nextVersion + VERSION_BLOCK });
      this.#storage.commit();
    }
    this.#nextVersion += VERSION_STEP;
    return this.#nextVersion;
  }

  /** Versions go on above `version`; awaited once before the first is given out, and after a rebuild. */
  async reserveVersions(version: number): Promise<void> {
    this.#nextVersion = Math.max(this.#nextVersion, Math.ceil(version / VERSION_STEP) * VERSION_STEP);
    this.#setMaster({ versionCeiling: this.#nextVersion + VERSION_BLOCK });
    await this.commit();
  }

  addVolume(volume: { readonly id: string; readonly address: string }): VolumeRecord {
    const record: VolumeRecord = { number: this.#master.nextVolume, state: 'active', ...volume };
    this.#setVolume(record);
    this.#map = this.#map.add(record.number);
    this.#setMaster({ nextVolume: record.number + 1, buckets: this.#map.buckets });
    return record;
  }

  changeVolume(number: VolumeNumber, change: Partial<Pick<VolumeRecord, 'address' | 'state'>>): void {
    const before = this.#volumes.get(number)!;
    const after = { ...before, ...change };
    this.#setVolume(after);
    if ((after.state === 'active') === (before.state === 'active')) return;
    this.#map = after.state === 'active' ? this.#map.add(number) : this.#map.remove(number);
    this.#setMaster({ buckets: this.#map.buckets });
  }

  forgetVolume(number: VolumeNumber): void {
    this.#map = this.#map.remove(number);
    this.#volumes.delete(number);
    this.#storage.delete(numbered(TAG.volume, number));
    this.#setMaster({ buckets: this.#map.buckets });
  }

  setReplicas(replicas: number): void {
    this.#setMaster({ replicas });
  }

  setMoveState(moveState: MoveState): void {
    this.#setMaster({ moveState });
  }

  /** The volumes on which `key` belongs today. */
  placeOf(key: Bytes): VolumeNumber[] {
    return this.#map.place(key, this.#master.replicas);
  }

  get(key: Bytes): Metakey | undefined {
    const value = this.#storage.get(metakeyName(key));
    return value === undefined ? undefined : decodeMetakey(key, value);
  }

  set(metakey: Metakey): void {
    this.#storage.put(metakeyName(metakey.key), encodeMetakey(metakey));
  }

  remove(key: Bytes): void {
    this.#storage.delete(metakeyName(key));
  }

  /** Up to `limit` metakeys after the place `after` that an earlier call gave; `next` is undefined at the end. */
  page(after: Bytes | undefined, limit: number): { readonly metakeys: readonly Metakey[]; readonly next: Bytes | undefined } {
    const metakeys: Metakey[] = [];
    let last: Bytes | undefined;
    const from = after === undefined ? bytesOf(TAG.metakey) : concatBytes(after, new Uint8Array(1));
    for (const { key, value } of this.#storage.scan({ from, to: bytesOf(TAG.metakey + 1), limit })) {
      metakeys.push(decodeMetakey(key.subarray(2), value));
      last = key;
    }
    return { metakeys, next: metakeys.length < limit ? undefined : last };
  }

  suspect(suspicion: Suspicion): void {
    const name = suspicionName(suspicion);
    if (!this.#storage.has(name)) this.#suspicionCount++;
    this.#storage.put(name, packr.pack([suspicion.volume, suspicion.key, suspicion.version]));
  }

  acquit(suspicion: Suspicion): void {
    const name = suspicionName(suspicion);
    if (!this.#storage.has(name)) return;
    this.#suspicionCount--;
    this.#storage.delete(name);
  }

  /** Writes suspicions down in one record, which costs a fraction of one for each. They are settled together, by {@link settleTogether}. */
  suspectTogether(suspicions: readonly Suspicion[]): SuspicionsTogether {
    const together = { name: numbered(TAG.together, this.#togetherCount++), suspicions };
    this.#storage.put(together.name, encodeTogether(suspicions));
    return together;
  }

  /** Acquits all of them, but for those that stay suspect, each by itself from now on. */
  settleTogether({ name, suspicions }: SuspicionsTogether, isSuspect: (suspicion: Suspicion) => boolean): void {
    this.#storage.delete(name);
    for (const suspicion of suspicions) if (isSuspect(suspicion)) this.suspect(suspicion);
  }

  /** Whether there are single suspicions. */
  get hasSuspicions(): boolean {
    return this.#suspicionCount > 0;
  }

  /** Up to `limit` single suspicions after the place `after` that an earlier call gave. */
  suspicions(after: Bytes | undefined, limit: number): { readonly suspicions: readonly Suspicion[]; readonly next: Bytes | undefined } {
    if (!this.hasSuspicions) return { suspicions: [], next: undefined };
    const from = after === undefined ? bytesOf(TAG.suspicion) : concatBytes(after, new Uint8Array(1));
    const pairs = [...this.#storage.scan({ from, to: bytesOf(TAG.suspicion + 1), limit })];
    return {
      suspicions: pairs.map(({ value }) => {
        const [volume, key, version] = packr.unpack(value) as [VolumeNumber, Bytes, number];
        return { volume, key, version };
      }),
      next: pairs.length < limit ? undefined : pairs.at(-1)!.key,
    };
  }

  /** Makes all changes so far one atomic batch, and resolves when the disk has it. @throws KF_STORAGE_FAILED */
  commit(): Promise<void> {
    return this.#storage.whenDurable(this.#storage.commit());
  }

  close(): Promise<void> {
    return this.#storage.close();
  }

  #setMaster(change: Partial<MasterRecord>): void {
    this.#master = { ...this.#master, ...change };
    this.#storage.put(bytesOf(TAG.master), packr.pack(this.#master));
  }

  #setVolume(volume: VolumeRecord): void {
    this.#volumes.set(volume.number, volume);
    this.#storage.put(numbered(TAG.volume, volume.number), packr.pack(volume));
  }
}

/** The version of a copy that a move makes of `version`: above it, so that a late removal of an older copy cannot meet it, and below the next write. */
export function movedVersion(version: number): number {
  return (version + 1) % VERSION_STEP === 0 ? version : version + 1;
}
