import fs from 'node:fs';
import { dirname, join } from 'node:path';
import type { Bytes } from '../base/bytes.ts';

/** What the journal asks of a file system. Tests put one in its place that fails, fills up or forgets. */
export interface Files {
  /** Names in `dir`, which is made when it is missing. */
  list(dir: string): string[];
  read(path: string): Buffer;
  /** Opens an existing file for writing. With `synced`, a write is on disk when it is done. */
  open(path: string, synced: boolean): JournalFile;
  /** Makes a file of `bytes` zeros, its room on disk taken for good. @throws what the system says, ENOSPC among it; then there is no file. */
  makeZeroed(path: string, bytes: number): Promise<void>;
  /** The same, blocking; the file is not yet synced, its name is. */
  makeZeroedSync(path: string, bytes: number): void;
  /** Gives a file another name, lastingly. */
  rename(from: string, to: string): Promise<void>;
  /** Removes files of one directory, lastingly. */
  remove(paths: readonly string[]): Promise<void>;
  /** Brings what earlier processes wrote to a file onto the disk. */
  syncSync(path: string): void;
}

export interface JournalFile {
  /** Writes `parts` one after the other from `offset` on, whole or with an error. */
  write(parts: readonly Bytes[], offset: number, done: (error: Error | null) => void): void;
  /** fdatasync. */
  sync(done: (error: Error | null) => void): void;
  close(): void;
}

const ZEROS_BYTES = 1 << 20;
let zeros: Buffer | undefined;

/** The file system of this machine. */
export const realFiles: Files = {
  list(dir) {
    fs.mkdirSync(dir, { recursive: true });
    return fs.readdirSync(dir);
  },
  read: (path) => fs.readFileSync(path),
  open: (path, synced) => new RealFile(fs.openSync(path, fs.constants.O_WRONLY | (synced ? (fs.constants.O_DSYNC ?? 0) : 0)), synced),
  async makeZeroed(path, bytes) {
    const file = await fs.promises.open(path, 'w');
    try {
      const block = (zeros ??= Buffer.alloc(ZEROS_BYTES));
      for (let at = 0; at < bytes; ) at += (await file.write(block, 0, Math.min(ZEROS_BYTES, bytes - at), at)).bytesWritten;
      await file.sync();
    } catch (error) {
      await file.close().catch(() => {});
      await fs.promises.unlink(path).catch(() => {});
      throw error;
    }
    await file.close();
    await syncDir(dirname(path));
  },
  makeZeroedSync(path, bytes) {
    const fd = fs.openSync(path, 'w');
    try {
      const block = (zeros ??= Buffer.alloc(ZEROS_BYTES));
      for (let at = 0; at < bytes; ) at += fs.writeSync(fd, block, 0, Math.min(ZEROS_BYTES, bytes - at), at);
    } catch (error) {
      fs.closeSync(fd);
      fs.rmSync(path, { force: true });
      throw error;
    }
    fs.closeSync(fd);
    syncDirSync(dirname(path));
  },
  async rename(from, to) {
    await fs.promises.rename(from, to);
    await syncDir(dirname(to));
  },
  async remove(paths) {
    for (const path of paths) await fs.promises.rm(path, { force: true });
    if (paths[0] !== undefined) await syncDir(dirname(paths[0]));
  },
  syncSync(path) {
    const fd = fs.openSync(path, 'r+');
    try {
      fs.fdatasyncSync(fd);
    } finally {
      fs.closeSync(fd);
    }
  },
};

class RealFile implements JournalFile {
  readonly #fd: number;
  /** Where there is no O_DSYNC we sync by hand. */
  readonly #syncAfterWrite: boolean;

  constructor(fd: number, synced: boolean) {
    this.#fd = fd;
    this.#syncAfterWrite = synced && fs.constants.O_DSYNC === undefined;
  }

  write(parts: readonly Bytes[], offset: number, done: (error: Error | null) => void): void {
    let total = 0;
    for (const part of parts) total += part.length;
    const after = (error: Error | null, written: number): void => {
      if (error) done(error);
      else if (written < total) this.write(rest(parts, written), offset + written, done);
      else if (this.#syncAfterWrite) this.sync(done);
      else done(null);
    };
    if (parts.length === 1) fs.write(this.#fd, parts[0]!, 0, total, offset, after);
    else fs.writev(this.#fd, parts, offset, after);
  }

  sync(done: (error: Error | null) => void): void {
    fs.fdatasync(this.#fd, done);
  }

  close(): void {
    fs.closeSync(this.#fd);
  }
}

/** What is left of `parts` after their first `written` bytes. */
function rest(parts: readonly Bytes[], written: number): Bytes[] {
  const left: Bytes[] = [];
  for (const part of parts) {
    if (written < part.length) left.push(written > 0 ? part.subarray(written) : part);
    written = Math.max(0, written - part.length);
  }
  return left;
}

async function syncDir(path: string): Promise<void> {
  // Windows cannot sync a directory, and does not need to.
  if (process.platform === 'win32') return;
  const dir = await fs.promises.open(path, 'r');
  try {
    await dir.sync();
  } finally {
    await dir.close();
  }
}

export function syncDirSync(path: string): void {
  if (process.platform === 'win32') return;
  const fd = fs.openSync(path, 'r');
  try {
    fs.fsyncSync(fd);
  } finally {
    fs.closeSync(fd);
  }
}

/**
 * Makes a directory, and those above it that are missing; true when it was not there. Node's own `recursive` never returns where the system says
 * ENOENT although everything above is there, as in /proc.
 */
export function makeDirs(path: string, mode?: number): boolean {
  try {
    fs.mkdirSync(path, mode);
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException;
    if (code === 'EEXIST' && fs.statSync(path).isDirectory()) return false;
    const above = dirname(path);
    if (code !== 'ENOENT' || above === path) throw error;
    makeDirs(above, mode);
    fs.mkdirSync(path, mode);
  }
  return true;
}

/** Writes a small file so that after a crash it is there whole or as it was before. */
export function writeFileLasting(path: string, text: string): void {
  const aside = join(dirname(path), `.${process.pid}.tmp`);
  const fd = fs.openSync(aside, 'w');
  try {
    fs.writeFileSync(fd, text);
    fs.fsyncSync(fd);
  } finally {
    fs.closeSync(fd);
  }
  fs.renameSync(aside, path);
  syncDirSync(dirname(path));
}
