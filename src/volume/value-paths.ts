import { hash } from 'node:crypto';
import { sep } from 'node:path';
import type { Bytes } from '../base/bytes.ts';

/** The name of a key's file: the SHA-256 of the key, in hex. */
export function fileName(key: Bytes): string {
  return hash('sha256', key, 'hex');
}

/** Where the files of a volume's directory lie (value-directory.ts draws it). */
export class ValuePaths {
  readonly #dir: string;
  #tmpCount = 0;

  constructor(dir: string) {
    this.#dir = dir;
  }

  /** The folder of a value, by the name of its file. */
  folder(name: string): string {
    return `${this.#dir}${sep}values${sep}${name.slice(0, 2)}`;
  }

  value(name: string): string {
    return `${this.folder(name)}${sep}${name}`;
  }

  /** A path for a value that is being written, in the folder of `tmp/` with this number (of its lowest byte); never the same twice. */
  newTmp(folder: number): string {
    const name = (folder & 255).toString(16).padStart(2, '0');
    return `${this.#dir}${sep}tmp${sep}${name}${sep}${process.pid}-${this.#tmpCount++}`;
  }

  /** A path for a value that is written by itself: in the folder with the number of its own. */
  newTmpOf(name: string): string {
    return this.newTmp(Number.parseInt(name.slice(0, 2), 16));
  }
}
