import { closeSync, fstatSync, openSync, readSync } from 'node:fs';

const EVERY_MS = 200;
const CHUNK_BYTES = 64 * 1024;

/** Follows a file that grows, from its beginning, also when another takes its name. Hands over whole lines. */
export class LogTail {
  readonly #path: string;
  readonly #onLine: (line: string) => void;
  readonly #timer: NodeJS.Timeout;
  #inode = 0;
  #offset = 0;
  #rest = '';

  constructor(path: string, onLine: (line: string) => void) {
    this.#path = path;
    this.#onLine = onLine;
    this.#timer = setInterval(() => this.read(), EVERY_MS);
    this.#timer.unref();
  }

  /** What has come since the last time. */
  read(): void {
    let file: number;
    try {
      file = openSync(this.#path, 'r');
    } catch {
      return;
    }
    try {
      const { ino, size } = fstatSync(file);
      if (ino !== this.#inode || size < this.#offset) {
        this.#inode = ino;
        this.#offset = 0;
        this.#rest = '';
      }
      const chunk = Buffer.alloc(CHUNK_BYTES);
      for (;;) {
        const bytes = readSync(file, chunk, 0, CHUNK_BYTES, this.#offset);
        if (bytes === 0) return;
        this.#offset += bytes;
        const lines = (this.#rest + chunk.toString('latin1', 0, bytes)).split('\n');
        this.#rest = lines.pop()!;
        for (const line of lines) this.#onLine(Buffer.from(line, 'latin1').toString());
      }
    } finally {
      closeSync(file);
    }
  }

  close(): void {
    clearInterval(this.#timer);
    this.read();
  }
}
