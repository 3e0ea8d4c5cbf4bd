import { type FileHandle, mkdir, open, readdir, rename, statfs, unlink } from 'node:fs/promises';
import { join } from 'node:path';
import type { Bytes } from '../base/bytes.ts';
import { KeyfleetError, messageOf } from '../base/errors.ts';
import { type LockedDirectory, lockDirectory } from '../storage/directory.ts';
import { type DirectoryIdentity, readIdentity, requireVolumeOrEmpty, writeIdentity } from './directory-identity.ts';
import { KeyedMutex } from './keyed-mutex.ts';
import { NewerVersionError } from './newer-version-error.ts';
import { openQuietly } from './open-quietly.ts';
import { asStorageError, isMissing } from './storage-error.ts';
import { StoredVersions } from './stored-version.ts';
import { DirSyncer } from './sync-dirs.ts';
import { FileSystemSyncer } from './sync-file-system.ts';
import { ValueBatches } from './value-batches.ts';
import { encodeValueFile, ValueDamagedError, ValueFileReader, ValueFileWriter, type ValueInfo, writeWhole } from './value-file.ts';
import { fileName, ValuePaths } from './value-paths.ts';
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

export interface PutOptions {
  readonly contentType: string;
  /** Absent: one more than what is there. */
  readonly version?: number | undefined;
  /** When given, bytes that do not have this digest are refused. */
  readonly sha256?: string | undefined;
  /** Called under the key's lock just before the value gets its name; what it throws keeps the value out. */
  readonly guard?: (() => void) | undefined;
}

export interface OpenValue {
  readonly reader: ValueFileReader;
  close(): Promise<void>;
}

export class ValueDirectory {
  /** Many small values at once. */
  readonly batches: ValueBatches;
  readonly #dir: string;
  readonly #locked: LockedDirectory;
  readonly #paths: ValuePaths;
  readonly #versions: StoredVersions;
  readonly #locks = new KeyedMutex();
  readonly #dirs = new DirSyncer();
  readonly #fileSystem: FileSystemSyncer;
  #identity: DirectoryIdentity;

  private constructor(locked: LockedDirectory, identity: DirectoryIdentity) {
    this.#dir = locked.dir;
    this.#locked = locked;
    this.#paths = new ValuePaths(locked.dir);
    this.#versions = new StoredVersions(this.#paths);
    this.#fileSystem = new FileSystemSyncer(locked.dir);
    this.batches = new ValueBatches({
      paths: this.#paths,
      versions: this.#versions,
      locks: this.#locks,
      dirs: this.#dirs,
      fileSystem: this.#fileSystem,
    });
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
    const name = fileName(key);
    return this.#locks.run(name, async () => {
      const version = this.#nextVersion(name, options.version);
      const { file, info } = encodeValueFile({ key, contentType: options.contentType, version, body });
      requireDigest(info, options.sha256);
      await this.#write(name, file, options.guard);
      await this.#dirs.sync(this.#paths.folder(name));
      return info;
    });
  }

  /** Stores a value that arrives in pieces, in bounded memory. When `pieces` throws, nothing has changed. */
  async putStream(key: Bytes, pieces: AsyncIterable<Buffer>, options: PutOptions): Promise<ValueInfo> {
    // The bytes are taken in before the lock, so that a slow sender does not hold up others; the version is settled under it.
    const name = fileName(key);
    const path = this.#paths.newTmpOf(name);
    const handle = await open(path, 'wx');
    try {
      const writer = new ValueFileWriter(handle, { key, contentType: options.contentType });
      for await (const piece of pieces) await writer.write(piece);
      return await this.#locks.run(name, async () => {
        const version = this.#nextVersion(name, options.version);
        const info = await writer.finish(version);
        requireDigest(info, options.sha256);
        await handle.datasync();
        options.guard?.();
        await this.#place(path, name);
        await this.#dirs.sync(this.#paths.folder(name));
        return info;
      });
    } catch (error) {
      await unlink(path).catch(() => {});
      throw asStorageError(error);
    } finally {
      await handle.close();
    }
  }

  /** Opens a value, or answers undefined when there is none. @throws KF_VALUE_DAMAGED */
  async open(key: Bytes): Promise<OpenValue | undefined> {
    const path = this.#paths.value(fileName(key));
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
    const name = fileName(key);
    const removed = await this.batches.remove(name, options.upToVersion);
    if (removed) await this.#dirs.sync(this.#paths.folder(name));
    return removed;
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
        const path = this.#paths.value(name);
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
    this.#fileSystem.close();
    this.#locked.unlock();
  }

  /** The version to store: the asked one, when nothing newer is there, or the next. Called under the key's lock. */
  #nextVersion(name: string, asked: number | undefined): number {
    const current = this.#versions.of(name, { isLikely: false });
    if (asked === undefined) return current + 1;
    if (current > asked) throw new NewerVersionError(current);
    return asked;
  }

  /** Writes to tmp, syncs and renames; the rename is durable once the folder is synced. */
  async #write(name: string, file: readonly Buffer[], guard: (() => void) | undefined): Promise<void> {
    const path = this.#paths.newTmpOf(name);
    try {
      const handle = await open(path, 'wx');
      try {
        await writeWhole(handle, file);
        await handle.datasync();
      } finally {
        await handle.close();
      }
      guard?.();
      await this.#place(path, name);
    } catch (error) {
      await unlink(path).catch(() => {});
      throw asStorageError(error);
    }
  }

  /** Gives a synced file its name, under the lock of that. */
  async #place(tmp: string, name: string): Promise<void> {
    await rename(tmp, this.#paths.value(name)).finally(() => this.#versions.forget(name));
  }
}

/** The error for a master that meets the volume of another one. */
export function otherFleet(fleet: string): KeyfleetError {
  return new KeyfleetError('KF_OTHER_FLEET', `this volume belongs to the fleet ${fleet} of another master`);
}

async function openIfThere(path: string): Promise<FileHandle | undefined> {
  try {
    return await openQuietly(path);
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
