import { closeSync, existsSync, readSync } from 'node:fs';
import { openQuietlySync } from './open-quietly.ts';
import { asStorageError, isMissing } from './storage-error.ts';
import { ValueDamagedError, VERSION_BYTES, versionInHeader } from './value-file.ts';
import type { ValuePaths } from './value-paths.ts';

/** Versions that are remembered: a few batches. */
const MAX_KNOWN = 16_384;

/**
 * The versions of the values that are stored. Those read for a move are remembered, since the move's end asks for them again.
 *
 * Nobody else changes the directory. Whoever changes a file, under the lock of its name, calls {@link forget} when that is done; what is asked
 * under the lock is then always so, though files are read and their versions noted without it.
 */
export class StoredVersions {
  readonly #paths: ValuePaths;
  readonly #known = new Map<string, number>();
  readonly #header = Buffer.alloc(VERSION_BYTES);

  constructor(paths: ValuePaths) {
    this.#paths = paths;
  }

  /** The version of a value, by the name of its file; 0 when there is none, or none that can be read (a put then replaces it). One small read, cheaper than a trip to another thread. */
  of(name: string, { isLikely = true } = {}): number {
    const known = this.#known.get(name);
    if (known !== undefined) return known;
    const path = this.#paths.value(name);
    // An open that fails makes an error with its stack, which costs more than to ask first.
    if (!isLikely && !existsSync(path)) return 0;
    let fd: number;
    try {
      fd = openQuietlySync(path);
    } catch (error) {
      if (isMissing(error)) return 0;
      throw asStorageError(error);
    }
    try {
      return this.#in(this.#header.subarray(0, readSync(fd, this.#header, 0, VERSION_BYTES, 0)));
    } catch (error) {
      throw asStorageError(error);
    } finally {
      closeSync(fd);
    }
  }

  /** A file was read this moment, and begins so. */
  note(name: string, header: Buffer): void {
    if (this.#known.size >= MAX_KNOWN) this.#known.clear();
    this.#known.set(name, this.#in(header));
  }

  /** The file has been made, replaced or removed. */
  forget(name: string): void {
    this.#known.delete(name);
  }

  #in(header: Buffer): number {
    try {
      return versionInHeader(header, '');
    } catch (error) {
      if (error instanceof ValueDamagedError) return 0;
      throw error;
    }
  }
}
