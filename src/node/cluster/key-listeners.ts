import { type Bytes, equalBytes } from '../../base/bytes.ts';

/** Who wants to hear of changed keys. */
export class KeyListeners {
  readonly #byKeyspace = new Map<number, Set<(key: Bytes | undefined) => void>>();

  /** A replica on this node has run a change, or another node tells of one; undefined: of all keys. */
  changed(keyspaceId: number, key: Bytes | undefined): void {
    for (const listener of this.#byKeyspace.get(keyspaceId) ?? []) listener(key);
  }

  /** All that is heard of. Returns how to stop. */
  listen(keyspaceId: number, listener: (key: Bytes | undefined) => void): () => void {
    const heard = (key: Bytes | undefined): void => listener(key);
    const all = this.#byKeyspace.get(keyspaceId) ?? new Set();
    this.#byKeyspace.set(keyspaceId, all.add(heard));
    return () => all.delete(heard);
  }

  /** Calls `listener` after changes of `keys`. */
  watch(keyspaceId: number, keys: readonly Bytes[], listener: () => void): () => void {
    return this.listen(keyspaceId, (key) => {
      if (key === undefined || keys.some((one) => equalBytes(one, key))) listener();
    });
  }
}
