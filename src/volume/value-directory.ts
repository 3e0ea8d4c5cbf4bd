import { hash } from 'node:crypto';
import { closeSync, existsSync, openSync, readFileSync, readSync, renameSync, rmSync } from 'node:fs';
import { type FileHandle, mkdir, open, readdir, rename, statfs, unlink } from 'node:fs/promises';
import { basename, dirname, join, sep } from 'node:path';
import type { Bytes } from '../base/bytes.ts';
import { KeyfleetError, messageOf } from '../base/errors.ts';
import { type LockedDirectory, lockDirectory } from '../storage/directory.ts';
import { type DirectoryIdentity, readIdentity, requireVolumeOrEmpty, writeIdentity } from './directory-identity.ts';
import { inParallel, inSlices } from './in-turns.ts';
import { KeyedMutex } from './keyed-mutex.ts';
import { asStorageError, isMissing } from './storage-error.ts';
import { DirSyncer } from './sync-dirs.ts';
import { FileSystemSyncer } from './sync-file-system.ts';
import {
  decodeValueFile,
  encodeValueFile,
  ValueDamagedError,
  ValueFileReader,
  ValueFileWriter,
  type ValueInfo,
  VERSION_BYTES,
  versionInHeader,
  writeNewFile,
  writeWhole,
} from './value-file.ts';
import { makeFolders } from './volume-folders.ts';

// The values of one volume, as files:
//
//   keyfleet-volume.json   who this volume is: its id goes with the directory, whatever its address
//   values/ab/<sha256 of the key>   one file a value; the name comes from a digest, so no key can lead out of the directory
//   tmp/ab/                values that are being written; emptied on start. As many folders as below values/, far from each other, since
//                          file systems place new files near their folder and slow down where many were removed (volume-folders.ts)
//
// A put writes to tmp, syncs, renames into place and syncs the directory before it answers: a value is there whole, in its old or its new
// form, whatever happens. A put or delete that carries a version never touches a newer one.

/** Files written and synced at the same time by a batch. */
const BATCH_PARALLEL = 16;
/** So many files on, one sync of the file system is cheaper than one of each. */
const SYNC_TOGETHER_FROM = 64;

export interface PutOptions {
  readonly contentType: string;
  /** Absent: one more than what is there. */
  readonly version?: number | undefined;
  /** When given, bytes that do not have this digest are refused. */
  readonly sha256?: string | undefined;
  /** Called under the key's lock just before the value gets its name; what it throws keeps the value out. */
  readonly guard?: (() => void) | undefined;
}

/** There is a newer version: the caller's is a late copy. */
export class NewerVersionError extends KeyfleetError {
  override readonly name = 'NewerVersionError';
  readonly version: number;
  constructor(version: number) {
    super('KF_NEWER_VERSION', `version ${version} of this value is already here; the older one was not stored`);
    this.version = version;
  }
}

export interface BatchValue {
  readonly key: Bytes;
  readonly body: Bytes;
  readonly contentType: string;
  readonly version: number;
  readonly sha256: string;
}

export interface OpenValue {
  readonly reader: ValueFileReader;
  close(): Promise<void>;
}

export class ValueDirectory {
  readonly #dir: string;
  readonly #locked: LockedDirectory;
  readonly #locks = new KeyedMutex();
  readonly #dirs = new DirSyncer();
  readonly #fileSystem: FileSystemSyncer;
  #identity: DirectoryIdentity;
  #tmpCount = 0;

  private constructor(locked: LockedDirectory, identity: DirectoryIdentity) {
    this.#dir = locked.dir;
    this.#locked = locked;
    this.#fileSystem = new FileSystemSyncer(locked.dir);
    this.#identity = identity;
  }

  /**
   * Opens a volume's directory, making a new volume of an empty one, and keeps other processes out of it.
   * @throws KF_VOLUME_UNUSABLE, KF_STORAGE_LOCKED
   */
  static async open(dir: string): Promise<ValueDirectory> {
    let locked: LockedDirectory | undefined;
    try {
      await mkdir(dir, { recursive: true });
      await requireVolumeOrEmpty(dir);
      locked = await lockDirectory(dir);
      const identity = await readIdentity(dir);
      await makeFolders(dir);
      const directory = new ValueDirectory(locked, identity);
      for (const synced of [dir, join(dir, 'values')]) await directory.#dirs.sync(synced);
      return directory;
    } catch (error) {
      locked?.unlock();
      if (error instanceof KeyfleetError) throw error;
      throw new KeyfleetError('KF_VOLUME_UNUSABLE', `cannot use ${dir} as a volume: ${messageOf(error)}`, { cause: error });
    }
  }

  get id(): string {
    return this.#identity.id;
  }

  /** The fleet that the volume belongs to; undefined: it is free. */
  get fleet(): string | undefined {
    return this.#identity.fleet;
  }

  /** Gives the volume to a fleet, durably. @throws KF_OTHER_FLEET when it belongs to another one */
  claim(fleet: string): Promise<void> {
    return this.#changeOwner(fleet, { ...this.#identity, fleet });
  }

  /** Sets the volume free, durably. @throws KF_OTHER_FLEET when it belongs to another fleet than the one that says so */
  release(fleet: string): Promise<void> {
    const { format, id } = this.#identity;
    return this.#changeOwner(fleet, { format, id });
  }

  #changeOwner(fleet: string, after: DirectoryIdentity): Promise<void> {
    return this.#locks.run('identity', async () => {
      if (this.fleet !== undefined && this.fleet !== fleet) throw otherFleet(this.fleet);
      if (this.fleet === after.fleet) return;
      try {
        await writeIdentity(this.#dir, after);
        await this.#dirs.sync(this.#dir);
      } catch (error) {
        throw asStorageError(error);
      }
      this.#identity = after;
    });
  }

  /** Stores a value whose bytes are at hand. */
  async put(key: Bytes, body: Bytes, options: PutOptions): Promise<ValueInfo> {
    return this.#locks.run(fileName(key), async () => {
      const version = this.#nextVersion(key, options.version);
      const { file, info } = encodeValueFile({ key, contentType: options.contentType, version, body });
      requireDigest(info, options.sha256);
      await this.#write(key, file, options.guard);
      await this.#dirs.sync(this.#folder(key));
      return info;
    });
  }

  /** Stores a value that arrives in pieces, in bounded memory. When `pieces` throws, nothing has changed. */
  async putStream(key: Bytes, pieces: AsyncIterable<Buffer>, options: PutOptions): Promise<ValueInfo> {
    // The bytes are taken in before the lock, so that a slow sender does not hold up others; the version is settled under it.
    const path = this.#tmpPath(key);
    const handle = await open(path, 'wx');
    try {
      const writer = new ValueFileWriter(handle, { key, contentType: options.contentType });
      for await (const piece of pieces) await writer.write(piece);
      return await this.#locks.run(fileName(key), async () => {
        const version = this.#nextVersion(key, options.version);
        const info = await writer.finish(version);
        requireDigest(info, options.sha256);
        await handle.datasync();
        options.guard?.();
        await rename(path, this.#path(key));
        await this.#dirs.sync(this.#folder(key));
        return info;
      });
    } catch (error) {
      await unlink(path).catch(() => {});
      throw asStorageError(error);
    } finally {
      await handle.close();
    }
  }

  /** Reads many small values, verified; per value what it is, undefined when there is none, or why it cannot be read. */
  async readMany(keys: readonly Bytes[]): Promise<({ readonly info: ValueInfo; readonly body: Buffer } | KeyfleetError | undefined)[]> {
    const results: ({ info: ValueInfo; body: Buffer } | KeyfleetError | undefined)[] = [];
    await inSlices(keys.length, (index) => {
      const path = this.#path(keys[index]!);
      try {
        const found = decodeValueFile(readFileSync(path), path);
        if (!Buffer.from(found.info.key).equals(keys[index]!)) throw new ValueDamagedError(path, 'holds another key');
        results.push(found);
      } catch (error) {
        results.push(isMissing(error) ? undefined : asStorageError(error));
      }
    });
    return results;
  }

  /**
   * Stores many small values; per value its info or the error that kept it out. Few syncs: one of the file system when all are written and
   * one when all have their names, or, where that cannot be had, one per file.
   */
  async putMany(values: readonly BatchValue[], guard?: () => void): Promise<(ValueInfo | KeyfleetError)[]> {
    const results = new Array<ValueInfo | KeyfleetError>(values.length);
    if (values.length < SYNC_TOGETHER_FROM || !this.#fileSystem.isSupported) {
      await inParallel(values.length, BATCH_PARALLEL, async (index) => {
        results[index] = await this.put(values[index]!.key, values[index]!.body, { ...values[index]!, guard }).catch(asStorageError);
      });
      return results;
    }
    const written = new Map<number, { readonly path: string; readonly info: ValueInfo }>();
    try {
      await inSlices(values.length, (index) => {
        const value = values[index]!;
        try {
          const { file, info } = encodeValueFile(value);
          requireDigest(info, value.sha256);
          const path = this.#tmpPath(value.key);
          written.set(index, { path, info });
          writeNewFile(path, file);
        } catch (error) {
          results[index] = asStorageError(error);
        }
      });
      if (!(await this.#fileSystem.sync()))
        throw new KeyfleetError('KF_VOLUME_IO', 'the file system of the volume cannot be synced', { retryable: true });
      await inSlices(values.length, (index) => {
        const done = written.get(index);
        if (done === undefined || results[index] !== undefined) return undefined;
        const { key, version } = values[index]!;
        const name = fileName(key);
        return this.#locks.run(name, async () => {
          try {
            const path = this.#pathOf(name);
            const current = versionNow(path, { isLikely: false });
            if (current > version) throw new NewerVersionError(current);
            guard?.();
            renameSync(done.path, path);
            results[index] = done.info;
          } catch (error) {
            results[index] = asStorageError(error);
          }
        });
      });
      const named = values.filter((_, index) => results[index] !== undefined && !(results[index] instanceof Error));
      if (!(await this.#fileSystem.sync()))
        await Promise.all([...new Set(named.map(({ key }) => this.#folder(key)))].map((folder) => this.#dirs.sync(folder)));
      return results;
    } finally {
      for (const [index, { path }] of written)
        if (results[index] instanceof Error || results[index] === undefined) rmSync(path, { force: true });
    }
  }

  /** Opens a value, or answers undefined when there is none. @throws KF_VALUE_DAMAGED */
  async open(key: Bytes): Promise<OpenValue | undefined> {
    const path = this.#path(key);
    const handle = await openIfThere(path);
    if (handle === undefined) return undefined;
    try {
      const reader = await ValueFileReader.open(handle, path);
      if (!Buffer.from(reader.info.key).equals(key)) throw new ValueDamagedError(path, 'holds another key');
      return { reader, close: () => handle.close() };
    } catch (error) {
      await handle.close();
      throw asStorageError(error);
    }
  }

  /** Removes a value; with `upToVersion`, only when it is not newer. Returns whether one was removed. */
  async delete(key: Bytes, options: { readonly upToVersion?: number | undefined } = {}): Promise<boolean> {
    const path = this.#path(key);
    const removed = await this.#remove(path, options.upToVersion);
    if (removed) await this.#dirs.sync(dirname(path));
    return removed;
  }

  /** Removes many values, each only when it is not newer than it is told; returns how many were removed. */
  async deleteMany(values: readonly { readonly key: Bytes; readonly upToVersion: number }[]): Promise<number> {
    const touched = new Set<string>();
    let count = 0;
    // A removal waits for the journal of the file system, ten times as long as a creation: side by side they wait together.
    await inParallel(values.length, BATCH_PARALLEL, async (index) => {
      const { key, upToVersion } = values[index]!;
      const path = this.#path(key);
      if (!(await this.#remove(path, upToVersion))) return;
      count++;
      touched.add(dirname(path));
    });
    const together = touched.size >= SYNC_TOGETHER_FROM && (await this.#fileSystem.sync());
    if (!together) await Promise.all([...touched].map((folder) => this.#dirs.sync(folder)));
    return count;
  }

  /** All values in order of file name, from after `after` on; damaged ones as errors. */
  async *list(
    options: { readonly after?: string; readonly verify?: boolean } = {},
  ): AsyncGenerator<{ readonly name: string; readonly found: ValueInfo | KeyfleetError }, void> {
    const after = options.after ?? '';
    for (const folder of (await readdir(join(this.#dir, 'values'))).sort()) {
      if (folder < after.slice(0, 2)) continue;
      for (const name of (await readdir(join(this.#dir, 'values', folder))).sort()) {
        if (name <= after) continue;
        const path = join(this.#dir, 'values', folder, name);
        const handle = await openIfThere(path);
        if (handle === undefined) continue;
        try {
          const reader = await ValueFileReader.open(handle, path);
          if (fileName(reader.info.key) !== name) throw new ValueDamagedError(path, 'its name is not that of its key');
          if (options.verify) await reader.verify();
          yield { name, found: reader.info };
        } catch (error) {
          yield { name, found: asStorageError(error) };
        } finally {
          await handle.close();
        }
      }
    }
  }

  async space(): Promise<{ readonly freeBytes: number; readonly totalBytes: number }> {
    const stats = await statfs(this.#dir);
    return { freeBytes: stats.bavail * stats.bsize, totalBytes: stats.blocks * stats.bsize };
  }

  async close(): Promise<void> {
    await this.#dirs.close();
    this.#locked.unlock();
  }

  #folder(key: Bytes): string {
    return dirname(this.#path(key));
  }

  #path(key: Bytes): string {
    return this.#pathOf(fileName(key));
  }

  #pathOf(name: string): string {
    return `${this.#dir}${sep}values${sep}${name.slice(0, 2)}${sep}${name}`;
  }

  #tmpPath(key: Bytes): string {
    return `${this.#dir}${sep}tmp${sep}${fileName(key).slice(0, 2)}${sep}${process.pid}-${this.#tmpCount++}`;
  }

  /** The version to store: the asked one, when nothing newer is there, or the next. Called under the key's lock. */
  #nextVersion(key: Bytes, asked: number | undefined): number {
    const current = versionNow(this.#path(key), { isLikely: false });
    if (asked === undefined) return current + 1;
    if (current > asked) throw new NewerVersionError(current);
    return asked;
  }

  /** Writes to tmp, syncs and renames; the rename is durable once the folder is synced. */
  async #write(key: Bytes, file: readonly Buffer[], guard: (() => void) | undefined): Promise<void> {
    const path = this.#tmpPath(key);
    try {
      const handle = await open(path, 'wx');
      try {
        await writeWhole(handle, file);
        await handle.datasync();
      } finally {
        await handle.close();
      }
      guard?.();
      await rename(path, this.#path(key));
    } catch (error) {
      await unlink(path).catch(() => {});
      throw asStorageError(error);
    }
  }

  async #remove(path: string, upToVersion: number | undefined): Promise<boolean> {
    return this.#locks.run(basename(path), async () => {
      if (upToVersion !== undefined && versionNow(path) > upToVersion) return false;
      try {
        await unlink(path);
        return true;
      } catch (error) {
        if (isMissing(error)) return false;
        throw asStorageError(error);
      }
    });
  }
}

/** The error for a master that meets the volume of another one. */
export function otherFleet(fleet: string): KeyfleetError {
  return new KeyfleetError('KF_OTHER_FLEET', `this volume belongs to the fleet ${fleet} of another master`);
}

/** The name of a key's file: the SHA-256 of the key, in hex. */
export function fileName(key: Bytes): string {
  return hash('sha256', key, 'hex');
}

async function openIfThere(path: string): Promise<FileHandle | undefined> {
  try {
    return await open(path, 'r');
  } catch (error) {
    if (isMissing(error)) return undefined;
    throw asStorageError(error);
  }
}

function requireDigest(info: ValueInfo, sha256: string | undefined): void {
  if (sha256 === undefined || sha256 === info.sha256) return;
  throw new KeyfleetError(
    'KF_CHECKSUM_MISMATCH',
    `the bytes received have SHA-256 ${info.sha256} instead of ${sha256}; nothing was stored`,
    { retryable: true },
  );
}

/** The stored version; 0 when there is no value, or none that can be read (a put then replaces it). One small read, cheaper than a trip to another thread. */
function versionNow(path: string, { isLikely = true } = {}): number {
  // An open that fails makes an error with its stack, which costs more than to ask first.
  if (!isLikely && !existsSync(path)) return 0;
  let fd: number;
  try {
    fd = openSync(path, 'r');
  } catch (error) {
    if (isMissing(error)) return 0;
    throw asStorageError(error);
  }
  try {
    const header = Buffer.alloc(VERSION_BYTES);
    return versionInHeader(header.subarray(0, readSync(fd, header, 0, VERSION_BYTES, 0)), path);
  } catch (error) {
    if (error instanceof ValueDamagedError) return 0;
    throw asStorageError(error);
  } finally {
    closeSync(fd);
  }
}
