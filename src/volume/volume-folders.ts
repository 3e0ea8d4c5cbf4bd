import { execFile } from 'node:child_process';
import { mkdirSync, readdirSync, unlinkSync } from 'node:fs';
import { join } from 'node:path';
import { makeDirs } from '../storage/files.ts';

/** Makes the folders that are not there, and empties those of `tmp/`. Blocks: nothing is served yet. */
export async function makeFolders(dir: string): Promise<void> {
  if (makeDirs(join(dir, 'tmp'))) await spreadFoldersOf(join(dir, 'tmp'));
  for (let byte = 0; byte < 256; byte++) {
    const folder = byte.toString(16).padStart(2, '0');
    mkdirSync(join(dir, 'values', folder), { recursive: true });
    const tmp = join(dir, 'tmp', folder);
    mkdirSync(tmp, { recursive: true });
    for (const leftover of readdirSync(tmp)) unlinkSync(join(tmp, leftover));
  }
}

/**
 * Has ext4 place the folders that will be made in `dir` in block groups far from each other; elsewhere nothing happens.
 *
 * A new file gets an inode in its folder's block group, and ext4 steps over each inode there that was freed in the last five minutes, one by
 * one, at every new file. Folders made side by side share a group: where some ten thousand values have just been replaced or moved away, a
 * new file costs 0.7 ms of processor time, and 0.02 ms when they are spread. Measured: docs/decisions/volume-folders-far-apart.md.
 */
function spreadFoldersOf(dir: string): Promise<void> {
  return new Promise((resolve) => {
    // The flag of a top directory; there is no call for it in Node. Without e2fsprogs, or on another file system, folders lie where they do.
    execFile('chattr', ['+T', '--', dir], { timeout: 10_000 }, () => resolve());
  });
}
