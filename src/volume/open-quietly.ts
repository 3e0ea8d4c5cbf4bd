import { constants, openSync } from 'node:fs';
import { type FileHandle, open } from 'node:fs/promises';

// The first read of a file after it was written would note the time in its inode, which the disk must then be given: as much work as the
// read itself. Where there is such a flag (Linux) it is left out. It is only for the file's owner; others read as usual.

const QUIETLY = constants.O_RDONLY | constants.O_NOATIME;

/** Opens a file for reading. Blocks. */
export function openQuietlySync(path: string): number {
  try {
    return openSync(path, QUIETLY);
  } catch (error) {
    if (!isNotOurs(error)) throw error;
    return openSync(path, 'r');
  }
}

/** Opens a file for reading. */
export async function openQuietly(path: string): Promise<FileHandle> {
  try {
    return await open(path, QUIETLY);
  } catch (error) {
    if (!isNotOurs(error)) throw error;
    return open(path, 'r');
  }
}

function isNotOurs(error: unknown): boolean {
  return (error as NodeJS.ErrnoException).code === 'EPERM';
}
