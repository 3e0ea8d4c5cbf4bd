import { toHex } from '../../base/bytes.ts';
import { KeyfleetError } from '../../base/errors.ts';
import type { Hasher, KeyInput } from '../hasher.ts';

/** Hashers by the names they have in configuration, on the command line and in tables. */
export class HasherNames {
  readonly #byName: ReadonlyMap<string, Hasher>;

  constructor(hashers: readonly Hasher[]) {
    this.#byName = new Map(hashers.map((hasher) => [hasher.name, hasher]));
  }

  /** All names, in alphabetical order. */
  get names(): readonly string[] {
    return [...this.#byName.keys()].sort();
  }

  /** @throws KF_UNKNOWN_HASH when no hasher has this name. */
  get(name: string): Hasher {
    const hasher = this.#byName.get(name);
    if (!hasher) throw new KeyfleetError('KF_UNKNOWN_HASH', `no hash is called ${name}; there are ${this.names.join(', ')}`);
    return hasher;
  }

  hex(name: string, key: KeyInput, options: HashOptions = {}): string {
    return toHex(this.get(name).digest(key, options.seed ?? 0));
  }
}

export interface HashOptions {
  /** A whole number from 0, below 2^32 or 2^64 as the hash has it; a hash without a seed of its own hashes the key followed by it. */
  readonly seed?: number | bigint;
}
