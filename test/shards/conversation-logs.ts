import type { LogName } from '../../src/shard/meta/hosting.ts';
import type { LogBasis } from '../../src/shard/meta/shard-map.ts';

/** The entries of a log, which begins behind entry `base`. */
export interface Log {
  readonly base: number;
  readonly entries: Uint8Array[];
  /** Of one that is not a shard's first: how it is told from another that was made in its place. */
  readonly id?: string;
}

/** The logs of a conversation, as their servers have them. */
export class ConversationLogs {
  readonly #logs = new Map<string, Log>();
  /** Those that went: nobody begins them again. */
  readonly #gone = new Set<string>();

  has(log: LogName): boolean {
    return this.#logs.has(nameOf(log));
  }

  isGone(log: LogName): boolean {
    return this.#gone.has(nameOf(log));
  }

  /** Undefined: it is gone. One that nobody has begun is empty, and is begun unless it `isOld`. */
  get(log: LogName, isOld: boolean): Log | undefined {
    const name = nameOf(log);
    const known = this.#logs.get(name);
    if (known || this.#gone.has(name)) return known;
    const begun = { base: 0, entries: [] };
    if (!isOld) this.#logs.set(name, begun);
    return begun;
  }

  delete(log: LogName): void {
    this.#logs.delete(nameOf(log));
  }

  burn(log: LogName): void {
    this.delete(log);
    this.#gone.add(nameOf(log));
  }

  /** The id of the log that begins behind `basis`, if it is there. */
  made(log: LogName, basis: LogBasis): string | undefined {
    const id = this.#logs.get(nameOf(log))?.id;
    return id === idOf(basis) ? id : undefined;
  }

  make(log: LogName, basis: LogBasis): void {
    this.#logs.set(nameOf(log), { base: basis.seq, entries: [], id: idOf(basis) });
  }
}

/** The number of its last entry. */
export function lastOf({ base, entries }: Log): number {
  return base + entries.length;
}

function nameOf({ shard, generation }: LogName): string {
  return `${shard}-${generation}`;
}

function idOf({ seq, hash }: LogBasis): string {
  return `${seq} ${hash}`;
}
