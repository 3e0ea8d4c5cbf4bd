import { fileURLToPath } from 'node:url';
import { Redis } from 'ioredis';
import { nodeClusterAdmin } from '../../src/http/cluster-admin.ts';
import { NodeHttpStore } from '../../src/http/node-store.ts';
import { type HttpServer, startHttpServer } from '../../src/http/server.ts';
import { loadModule } from '../../src/node/load-module.ts';
import { type ClusterStore, openCluster } from '../../src/node/open-cluster.ts';
import { NodeClusterSource } from '../../src/resp/node-cluster.ts';
import { type RespServer, startRespServer } from '../../src/resp/server.ts';
import { createRedisModule } from '../../src/shard/redis/redis-module.ts';
import { MemoryStorage } from '../../src/storage/memory.ts';

const definitions = {
  ledger: { module: await loadModule(fileURLToPath(new URL('./ledger-module.mjs', import.meta.url))), shards: 2 },
  default: { module: createRedisModule(), scheme: 'redis', shards: 2 },
} as const;

/** What came of a request: what was answered, or its code and message. */
export interface Outcome {
  readonly answer?: string;
  readonly code?: string;
  readonly message?: string;
}

/** A node of a cluster in this process, with all its doors. Its requests are given up after 3 s. */
export class NodeWithDoors {
  readonly store: ClusterStore<typeof definitions>;
  readonly url: string;
  readonly #resp: RespServer;
  readonly #http: HttpServer;
  readonly #redis: Redis;

  private constructor(store: ClusterStore<typeof definitions>, resp: RespServer, http: HttpServer) {
    this.store = store;
    this.#resp = resp;
    this.#http = http;
    this.url = `http://127.0.0.1:${http.port}`;
    this.#redis = new Redis({ port: resp.address.port, maxRetriesPerRequest: 0 });
    this.#redis.on('error', () => {});
  }

  static async start(node: string, servers: readonly string[]): Promise<NodeWithDoors> {
    const store = await openCluster({
      ...{ cluster: 'test', node, nats: { servers }, storage: new MemoryStorage(), requestTimeoutMs: 3_000 },
      keyspaces: definitions,
    });
    const httpStore = new NodeHttpStore(store.node, nodeClusterAdmin(store.node));
    const resp = await startRespServer({
      keyspace: httpStore.handle('default'),
      port: 0,
      info: { version: 'test', typeOf: () => 'string' },
      cluster: new NodeClusterSource(store.node.node, 'default'),
      redirects: 'never',
    });
    const http = await startHttpServer({ store: httpStore, host: '127.0.0.1', port: 0, version: 'test' });
    return new NodeWithDoors(store, resp, http);
  }

  /** Every shard of both keyspaces is led, and on so many nodes. */
  hasCopies(count: number): boolean {
    return [...this.store.shards('ledger'), ...this.store.shards('default')].every(
      ({ leader, replicas }) => leader !== undefined && replicas?.length === count,
    );
  }

  redis(...words: readonly [string, ...string[]]): Promise<Outcome> {
    const [command, ...args] = words;
    return outcomeOf(() => this.#redis.call(command, ...args));
  }

  async put(key: string, value: string): Promise<Outcome> {
    const response = await fetch(`${this.url}/v1/keyspaces/default/keys/${key}`, { method: 'PUT', body: value });
    const text = await response.text();
    if (response.ok) return { answer: text };
    return { ...(JSON.parse(text) as { readonly error: Outcome }).error, answer: String(response.status) };
  }

  append(key: string, item: string, timeoutMs: number): Promise<Outcome> {
    return outcomeOf(() => this.store.command('ledger', key, { kind: 'append', item }, { timeoutMs }));
  }

  read(key: string, read: 'lease' | 'barrier' | 'local', timeoutMs: number): Promise<Outcome> {
    return outcomeOf(() => this.store.query('ledger', key, null, { read, timeoutMs }));
  }

  async close(): Promise<void> {
    this.#redis.disconnect();
    await this.#resp.close();
    await this.#http.close();
    await this.store.close();
  }
}

async function outcomeOf(ask: () => Promise<unknown>): Promise<Outcome> {
  try {
    return { answer: String(await ask()) };
  } catch (error) {
    const { message, code = /KF_\w+/.exec(message)?.[0] } = error as Error & { readonly code?: string };
    return { code: code ?? '', message };
  }
}
