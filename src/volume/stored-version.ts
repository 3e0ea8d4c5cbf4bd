import { closeSync, existsSync, readSync } from 'node:fs';
import { openQuietlySync } from './open-quietly.ts';
import { asStorageError, isMissing } from './storage-error.ts';
import { ValueDamagedError, VERSION_BYTES, versionInHeader } from './value-file.ts';

const header = Buffer.alloc(VERSION_BYTES);

/** The version of the value at `path`; 0 when there is none, or none that can be read (a put then replaces it). One small read, cheaper than a trip to another thread. */
export function storedVersion(path: string, { isLikely = true } = {}): number {
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
    return versionInHeader(header.subarray(0, readSync(fd, header, 0, VERSION_BYTES, 0)), path);
  } catch (error) {
    if (error instanceof ValueDamagedError) return 0;
    throw asStorageError(error);
  } finally {
    closeSync(fd);
  }
}
