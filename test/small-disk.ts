import { execFileSync } from 'node:child_process';
import { closeSync, mkdtempSync, openSync, rmSync, writeSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

/** Only root on Linux may mount a file system of its own. */
export const canMount: boolean = process.platform === 'linux' && process.getuid?.() === 0;

/** A small file system in memory, to be filled. */
export class SmallDisk {
  readonly dir: string = mkdtempSync(join(tmpdir(), 'keyfleet-small-'));
  readonly #filler = join(this.dir, 'filler');

  /** Needs {@link canMount}. */
  constructor(bytes: number) {
    execFileSync('mount', ['-t', 'tmpfs', '-o', `size=${bytes}`, 'tmpfs', this.dir]);
  }

  /** Takes all room that is left but `spare`. */
  fill(spare = 0): void {
    const fd = openSync(this.#filler, 'a');
    const block = Buffer.alloc(64 * 1024, 'x');
    try {
      while (writeSync(fd, block) === block.length);
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== 'ENOSPC') throw error;
    } finally {
      closeSync(fd);
    }
    if (spare > 0) execFileSync('truncate', ['--size', `-${spare}`, this.#filler]);
  }

  free(): void {
    rmSync(this.#filler, { force: true });
  }

  /** Unmounts it, whoever may use it still. */
  remove(): void {
    execFileSync('umount', ['-l', this.dir]);
    rmSync(this.dir, { recursive: true, force: true });
  }
}
