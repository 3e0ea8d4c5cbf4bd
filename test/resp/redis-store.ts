import { StoreNode } from '../../src/node/store-node.ts';
import { type RespServer, type RespServerOptions, startRespServer } from '../../src/resp/server.ts';
import { typeName } from '../../src/shard/redis/key-commands.ts';
import { createRedisModule } from '../../src/shard/redis/redis-module.ts';
import type { RedisValue } from '../../src/shard/redis/value.ts';
import { MemoryStorage } from '../../src/storage/memory.ts';

export interface RedisStore {
  readonly server: RespServer;
  readonly port: number;
  close(): Promise<void>;
}

/** The store behind the RESP door, on storage in memory: everything but the disk is the real thing. */
export async function startRedisStore(options: Partial<RespServerOptions> = {}): Promise<RedisStore> {
  const node = await StoreNode.open({ storage: new MemoryStorage() });
  const lookups = { hits: 0, misses: 0 };
  const keyspace = await node.registerKeyspace('default', { module: createRedisModule({ lookups }), scheme: 'redis' });
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
    close: async () => {
      await server.close({ graceMs: 500 });
      await node.close();
    },
  };
}
