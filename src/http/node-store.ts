import { KeyfleetError } from '../base/errors.ts';
import { type BackupSource, StoreBackupSource } from '../node/backup/backup-source.ts';
import { type BackupTarget, StoreBackupTarget } from '../node/backup/backup-target.ts';
import type { ServingHost } from '../node/store-host.ts';
import type { Durability, StorageStats } from '../storage/storage.ts';
import type { ClusterAdmin } from './cluster-admin.ts';
import type { HttpKeyspace, HttpStore } from './http-store.ts';
import { ModuleHttpKeyspace } from './module-keyspace.ts';
import { type RedisHandle, RedisHttpKeyspace } from './redis-keyspace.ts';
import { nodeShardAdmin, type ShardAdmin } from './shard-admin.ts';

/** A node's keyspaces as the HTTP door serves them: Redis's as strings, those of other value modules by commands and queries. */
export class NodeHttpStore implements HttpStore {
  readonly #node: ServingHost;
  readonly #keyspaces = new Map<string, RedisHttpKeyspace>();
  readonly #modules = new Map<string, ModuleHttpKeyspace>();

  readonly cluster: ClusterAdmin | undefined;
  readonly backups: BackupSource & BackupTarget;

  constructor(node: ServingHost, cluster?: ClusterAdmin) {
    this.#node = node;
    this.cluster = cluster;
    const source = new StoreBackupSource(node);
    const target = new StoreBackupTarget(node);
    this.backups = {
      origin: () => source.origin(),
      part: (keyspace, from, to) => source.part(keyspace, from, to),
      check: (keyspace, wish) => target.check(keyspace, wish),
      begin: (keyspace, what) => target.begin(keyspace, what),
      put: (keyspace, id, block) => target.put(keyspace, id, block),
      end: (keyspace, id, what) => target.end(keyspace, id, what),
    };
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
    return this.#node.keyspaces().map(({ name }) => name);
  }

  missingModule(name: string): string | undefined {
    return this.#node.keyspaceRecords().find((one) => one.name === name)?.module;
  }

  keyspace(name: string): HttpKeyspace | undefined {
    const runtime = this.#node.keyspaces().find((one) => one.name === name);
    if (!runtime) return undefined;
    if (runtime.module.name !== 'redis') {
      let served = this.#modules.get(name);
      if (!served?.isOf(runtime)) this.#modules.set(name, (served = new ModuleHttpKeyspace(runtime)));
      return served;
    }
    let keyspace = this.#keyspaces.get(name);
    if (!keyspace?.isOf(runtime as unknown as RedisHandle)) {
      keyspace = new RedisHttpKeyspace(runtime as unknown as RedisHandle);
      this.#keyspaces.set(name, keyspace);
    }
    return keyspace;
  }

  shardAdmin(name: string): ShardAdmin | undefined {
    return nodeShardAdmin(this.#node, name);
  }

  /** What RESP serves under that name. @throws KF_NO_KEYSPACE. */
  handle(name: string): RedisHandle {
    const runtime = this.#served().find((one) => one.name === name);
    if (!runtime) throw new KeyfleetError('KF_NO_KEYSPACE', `there is no keyspace ${JSON.stringify(name)}`);
    return runtime as unknown as RedisHandle;
  }

  #served(): ReturnType<ServingHost['keyspaces']> {
    return this.#node.keyspaces().filter((keyspace) => keyspace.module.name === 'redis');
  }
}
