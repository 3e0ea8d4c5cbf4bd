import { closeSync, readSync, renameSync, rmSync, unlink } from 'node:fs';
import { open } from 'node:fs/promises';
import type { Bytes } from '../base/bytes.ts';
import type { KeyfleetError } from '../base/errors.ts';
import { KIB } from '../base/units.ts';
import { EntryWriter } from './batch-wire.ts';
import { inParallel, inSlices } from './in-turns.ts';
import type { KeyedMutex } from './keyed-mutex.ts';
import { NewerVersionError } from './newer-version-error.ts';
import { openQuietlySync } from './open-quietly.ts';
import { asStorageError, isMissing } from './storage-error.ts';
import type { StoredVersions } from './stored-version.ts';
import type { DirSyncer } from './sync-dirs.ts';
import type { FileSystemSyncer } from './sync-file-system.ts';
import { adoptValueFile, type ValueInfo, VERSION_BYTES, writeNewFile } from './value-file.ts';
import { fileName, type ValuePaths } from './value-paths.ts';

// Many small values of a volume at once, as moves read, write and remove them. What is promised of one value holds for each
// (value-directory.ts), but the disk is waited for once for all. Why, and what it costs: docs/decisions/volume-batches-sync-once.md.

/** Files synced or removed at the same time. */
const BATCH_PARALLEL = 16;
/** So many files on, one sync of the file system is cheaper than one of each. */
const SYNC_TOGETHER_FROM = 64;
/**
 * A batch is written in so many folders, which are far from each other on the disk; the next batch in others. In all 256 of them, its files
 * took ten times as many writes of the disk: each folder's region has maps of its own to be written.
 */
const BATCH_FOLDERS = 16;
/** What is read in one turn of the event loop, and sent as one piece. */
const PIECE_VALUES = 64;
const PIECE_BYTES = 512 * KIB;

/** A value as the file of it that another volume has. */
export interface BatchValue {
  readonly key: Bytes;
  readonly version: number;
  readonly file: Buffer;
  /** The address of that volume. */
  readonly from: string;
}

/** What a batch shares with the rest of its directory. */
export interface BatchParts {
  readonly paths: ValuePaths;
  readonly versions: StoredVersions;
  readonly locks: KeyedMutex;
  readonly dirs: DirSyncer;
  readonly fileSystem: FileSystemSyncer;
}

interface Written {
  readonly name: string;
  readonly tmp: string;
  readonly info: ValueInfo;
}

export class ValueBatches {
  readonly #paths: ValuePaths;
  readonly #versions: StoredVersions;
  readonly #locks: KeyedMutex;
  readonly #dirs: DirSyncer;
  readonly #fileSystem: FileSystemSyncer;
  #nextFolder = 0;

  constructor({ paths, versions, locks, dirs, fileSystem }: BatchParts) {
    this.#paths = paths;
    this.#versions = versions;
    this.#locks = locks;
    this.#dirs = dirs;
    this.#fileSystem = fileSystem;
  }

  /** The files of many values as they are, unverified, in pieces of entries (batch-wire.ts). Each piece is a turn of the event loop. */
  async *read(keys: readonly Bytes[]): AsyncGenerator<Buffer, void> {
    const writer = new EntryWriter();
    for (let next = 0; next < keys.length; ) {
      const end = Math.min(next + PIECE_VALUES, keys.length);
      while (next < end && writer.length < PIECE_BYTES) this.#readInto(writer, keys[next++]!);
      yield writer.take();
      await new Promise((resolve) => setImmediate(resolve));
    }
  }

  #readInto(writer: EntryWriter, key: Bytes): void {
    const name = fileName(key);
    try {
      const fd = openQuietlySync(this.#paths.value(name));
      try {
        writer.file((room, at) => {
          const count = readSync(fd, room, 0, room.length, at);
          if (at === 0) this.#versions.note(name, room.subarray(0, Math.min(count, VERSION_BYTES)));
          return count;
        });
      } finally {
        closeSync(fd);
      }
    } catch (error) {
      if (isMissing(error)) writer.absent();
      else writer.error(asStorageError(error));
    }
  }

  /**
   * Stores many small values, each with its own version; per value its info or the error that kept it out. The files are verified, and changed
   * in place. Few syncs: one of the file system when all are written and one when all have their names, or, where that cannot be had, one
   * per file and folder.
   */
  async put(values: readonly BatchValue[], guard?: () => void): Promise<(ValueInfo | KeyfleetError)[]> {
    const results = new Array<ValueInfo | KeyfleetError>(values.length);
    const written = new Map<number, Written>();
    const firstFolder = this.#nextFolder;
    this.#nextFolder += BATCH_FOLDERS;
    try {
      await inSlices(values.length, (index) => {
        const value = values[index]!;
        try {
          const info = adoptValueFile(value.file, value);
          const name = fileName(value.key);
          const tmp = this.#paths.newTmp(firstFolder + (index % BATCH_FOLDERS));
          written.set(index, { name, tmp, info });
          writeNewFile(tmp, value.file);
        } catch (error) {
          results[index] = asStorageError(error);
        }
      });
      await this.#syncFiles(written, results);
      await inSlices(values.length, (index) => {
        const done = written.get(index);
        if (done === undefined || results[index] !== undefined) return undefined;
        const place = (): void => {
          results[index] = this.#place(done, guard);
        };
        if (this.#locks.isFree(done.name)) return place();
        return this.#locks.run(done.name, async () => place());
      });
      const placed = [...written].filter(([index]) => !(results[index] instanceof Error));
      await this.#syncFolders(new Set(placed.map(([, { name }]) => this.#paths.folder(name))));
      return results;
    } finally {
      for (const [index, { tmp }] of written)
        if (results[index] instanceof Error || results[index] === undefined) rmSync(tmp, { force: true });
    }
  }

  /** Removes many values, each only when it is not newer than it is told; returns how many were removed. */
  async delete(values: readonly { readonly key: Bytes; readonly upToVersion: number }[]): Promise<number> {
    const folders = new Set<string>();
    let count = 0;
    // A removal waits for the journal of the file system, ten times as long as a creation: side by side they wait together.
    await inParallel(values.length, BATCH_PARALLEL, async (index) => {
      const { key, upToVersion } = values[index]!;
      const name = fileName(key);
      if (!(await this.remove(name, upToVersion))) return;
      count++;
      folders.add(this.#paths.folder(name));
    });
    await this.#syncFolders(folders);
    return count;
  }

  /** Removes a file, with `upToVersion` only when it is not newer; whether one was removed. Lasts when its folder is synced. */
  remove(name: string, upToVersion: number | undefined): Promise<boolean> {
    return this.#locks.run(name, async () => {
      if (upToVersion !== undefined && this.#versions.of(name) > upToVersion) return false;
      const error = await new Promise<NodeJS.ErrnoException | null>((resolve) => unlink(this.#paths.value(name), resolve));
      this.#versions.forget(name);
      if (error === null) return true;
      if (isMissing(error)) return false;
      throw asStorageError(error);
    });
  }

  /** Gives a written file its name, unless there is something newer. Under the lock of its name. */
  #place({ name, tmp, info }: Written, guard: (() => void) | undefined): ValueInfo | KeyfleetError {
    try {
      const current = this.#versions.of(name, { isLikely: false });
      if (current > info.version) throw new NewerVersionError(current);
      guard?.();
      renameSync(tmp, this.#paths.value(name));
      this.#versions.forget(name);
      return info;
    } catch (error) {
      return asStorageError(error);
    }
  }

  /** Syncs what was written; what cannot be is an error among the results. */
  async #syncFiles(written: ReadonlyMap<number, Written>, results: (ValueInfo | KeyfleetError)[]): Promise<void> {
    const whole = [...written.keys()].filter((index) => results[index] === undefined);
    if (whole.length >= SYNC_TOGETHER_FROM && (await this.#syncTogether())) return;
    await inParallel(whole.length, BATCH_PARALLEL, async (at) => {
      const index = whole[at]!;
      try {
        const file = await open(written.get(index)!.tmp, 'r+');
        await file.datasync().finally(() => file.close());
      } catch (error) {
        results[index] = asStorageError(error);
      }
    });
  }

  /** Makes names that were given or taken away in these folders last. */
  async #syncFolders(folders: ReadonlySet<string>): Promise<void> {
    if (folders.size >= SYNC_TOGETHER_FROM && (await this.#syncTogether())) return;
    await Promise.all([...folders].map((folder) => this.#dirs.sync(folder))).catch((error: unknown) => {
      throw asStorageError(error);
    });
  }

  #syncTogether(): Promise<boolean> {
    return this.#fileSystem.sync().catch((error: unknown) => {
      throw asStorageError(error);
    });
  }
}
