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

  /** A path for a value that is being written; never the same twice. */
  newTmp(name: string): string {
    return `${this.#dir}${sep}tmp${sep}${name.slice(0, 2)}${sep}${process.pid}-${this.#tmpCount++}`;
  }
}
