import type { KeyspaceRecord } from '../../shard/meta/meta-records.ts';
import { positionScheme } from '../../shard/position-scheme.ts';
import type { AnyModule, ShardKeyspace } from './hosted-shard.ts';

/** The keyspaces whose value module this process has. */
export class ServedKeyspaces {
  readonly #modules = new Map<string, AnyModule>();
  readonly #keyspaces = new Map<number, ShardKeyspace>();

  constructor(modules: readonly AnyModule[] = []) {
    for (const module of modules) this.give(module);
  }

  /** From now on the keyspaces of this module are served; another one of its name is not used any more by those that come. */
  give(module: AnyModule): void {
    this.#modules.set(module.name, module);
  }

  /** The module and scheme of a keyspace; undefined: its module was not given. */
  of(record: KeyspaceRecord): ShardKeyspace | undefined {
    const known = this.#keyspaces.get(record.id);
    if (known) return known;
    const module = this.#modules.get(record.module);
    if (!module) return undefined;
    const keyspace = { id: record.id, name: record.name, module, scheme: positionScheme(record.scheme) };
    this.#keyspaces.set(record.id, keyspace);
    return keyspace;
  }
}
