import { KeyfleetError } from '../base/errors.ts';
import type { StoreNode } from '../node/store-node.ts';
import type { Durability, StorageStats } from '../storage/storage.ts';
import type { HttpKeyspace, HttpStore } from './http-store.ts';
import { type RedisHandle, RedisHttpKeyspace } from './redis-keyspace.ts';

/** A node's keyspaces as the HTTP door serves them: those whose values are Redis's. */
export class NodeHttpStore implements HttpStore {
  readonly #node: StoreNode;
  readonly #keyspaces = new Map<string, RedisHttpKeyspace>();

  constructor(node: StoreNode) {
    this.#node = node;
  }

  get refusal(): Error | undefined {
    return this.#node.storage.refusal;
  }

  get durability(): Durability {
    return this.#node.storage.stats().durability;
  }

  storageStats(): StorageStats {
    return this.#node.storage.stats();
  }

  keyspaceNames(): readonly string[] {
    return this.#served().map(({ name }) => name);
  }

  keyspace(name: string): HttpKeyspace | undefined {
    const runtime = this.#served().find((one) => one.name === name);
    if (!runtime) return undefined;
    let keyspace = this.#keyspaces.get(name);
    if (!keyspace?.isOf(runtime as unknown as RedisHandle)) {
      keyspace = new RedisHttpKeyspace(runtime as unknown as RedisHandle, () =>
        runtime.shards.map(({ machine }) => {
          const { id, range, keyCount, sizeBytes } = machine.state;
          return { id: String(id), from: range.from, to: range.to, keyCount, sizeBytes, load: machine.load };
        }),
      );
      this.#keyspaces.set(name, keyspace);
    }
    return keyspace;
  }

  /** What RESP serves under that name. @throws KF_NO_KEYSPACE. */
  handle(name: string): RedisHandle {
    const runtime = this.#served().find((one) => one.name === name);
    if (!runtime) throw new KeyfleetError('KF_NO_KEYSPACE', `there is no keyspace ${JSON.stringify(name)}`);
    return runtime as unknown as RedisHandle;
  }

  #served(): ReturnType<StoreNode['keyspaces']> {
    return this.#node.keyspaces().filter((keyspace) => keyspace.module.name === 'redis');
  }
}
