import { StoreNode } from '../../src/node/store-node.ts';
import { type RespServer, type RespServerOptions, startRespServer } from '../../src/resp/server.ts';
import { typeName } from '../../src/shard/redis/key-commands.ts';
import { createRedisModule } from '../../src/shard/redis/redis-module.ts';
import type { RedisValue } from '../../src/shard/redis/value.ts';
import { MemoryStorage } from '../../src/storage/memory.ts';
import { RemoteKeyspace } from './remote-keyspace.ts';

export interface RedisStore {
  readonly server: RespServer;
  readonly port: number;
  /** Resolves when nothing is on its way. */
  idle(): Promise<void>;
  close(): Promise<void>;
}

/** The store behind the RESP door, on storage in memory: everything but the disk is the real thing. `isRemote`: as if it were on another node. */
export async function startRedisStore(options: Partial<RespServerOptions> & { readonly isRemote?: boolean } = {}): Promise<RedisStore> {
  const node = await StoreNode.open({ storage: new MemoryStorage() });
  const lookups = { hits: 0, misses: 0 };
  const here = await node.registerKeyspace('default', { module: createRedisModule({ lookups }), scheme: 'redis' });
  const remote = options.isRemote ? new RemoteKeyspace(here) : undefined;
  const keyspace = remote ?? here;
  const server = await startRespServer({
    keyspace,
    info: {
      version: '0.0.0',
      lookups,
      typeOf: (value) => typeName(value as RedisValue),
      storage: () => node.stats().storage,
      shards: () => node.stats().keyspaces[0]!.shards,
    },
    port: 0,
    ...options,
  });
  return {
    server,
    port: server.address.port,
    idle: async () => {
      while (remote && !remote.isIdle) await new Promise((resolve) => setTimeout(resolve, 2));
    },
    close: async () => {
      await server.close({ graceMs: 500 });
      await node.close();
    },
  };
}
