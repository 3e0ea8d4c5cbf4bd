import { statfsSync } from 'node:fs';
import type { DiskSpace } from './storage.ts';

/** Of the file system of `dir`; undefined where it does not tell. */
export function spaceOf(dir: string): DiskSpace | undefined {
  try {
    const { bavail, blocks, bsize } = statfsSync(dir);
    return { freeBytes: bavail * bsize, totalBytes: blocks * bsize };
  } catch {
    return undefined;
  }
}
