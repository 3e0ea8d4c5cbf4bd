import { type Bytes, equalBytes } from '../../base/bytes.ts';
import type { NodeClock } from '../node-clock.ts';

/** So often it is looked at keys whose changes might happen elsewhere. */
const LOOK_MS = 50;

/** Who wants to hear of changed keys. */
export class KeyListeners {
  readonly #clock: NodeClock;
  readonly #byKeyspace = new Map<number, Set<(key: Bytes | undefined) => void>>();

  constructor(clock: NodeClock) {
    this.#clock = clock;
  }

  /** A replica on this node has run a change; undefined: of all keys. */
  changed(keyspaceId: number, key: Bytes | undefined): void {
    for (const listener of this.#byKeyspace.get(keyspaceId) ?? []) listener(key);
  }

  /** What replicas here run. Returns how to stop. */
  listen(keyspaceId: number, listener: (key: Bytes | undefined) => void): () => void {
    const heard = (key: Bytes | undefined): void => listener(key);
    const all = this.#byKeyspace.get(keyspaceId) ?? new Set();
    this.#byKeyspace.set(keyspaceId, all.add(heard));
    return () => all.delete(heard);
  }

  /** Calls `listener` after changes of `keys`, at once where a replica here runs them, and some milliseconds later at the most anywhere. */
  watch(keyspaceId: number, keys: readonly Bytes[], listener: () => void): () => void {
    const stop = this.listen(keyspaceId, (key) => {
      if (key === undefined || keys.some((one) => equalBytes(one, key))) listener();
    });
    let cancel = (): void => {};
    const look = (): void => {
      cancel = this.#clock.after(LOOK_MS, look);
      listener();
    };
    cancel = this.#clock.after(LOOK_MS, look);
    return () => {
      stop();
      cancel();
    };
  }
}
