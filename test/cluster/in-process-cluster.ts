import { utf8 } from '../../src/base/bytes.ts';
import { MemoryLogs } from '../../src/log/memory-logs.ts';
import type { ClusterKeyspace } from '../../src/node/cluster/cluster-keyspace.ts';
import { ClusterNode } from '../../src/node/cluster/cluster-node.ts';
import type { ClusterNodeOptions } from '../../src/node/cluster/cluster-options.ts';
import { SystemClock } from '../../src/node/node-clock.ts';
import type { KeyspaceOptions } from '../../src/node/store-node.ts';
import { type CounterCommand, counterModule } from '../../src/shard/counter.ts';
import { MemoryStorage } from '../../src/storage/memory.ts';
import { InProcessNetwork } from '../../src/transport/in-process.ts';
import type { Transport } from '../../src/transport/transport.ts';

/** Short, so that a test need not wait for what takes seconds in earnest. */
export const QUICK_TIMING = {
  leaseMs: 600,
  renewMs: 150,
  claimStaggerMs: 50,
  appendTimeoutMs: 1_000,
  tickMs: 25,
  reportMs: 100,
};

export type Counters = ClusterKeyspace<number, CounterCommand, number, null, number | undefined>;

/** Nodes of a cluster in this process, with logs and disks in memory that outlive them. */
export class InProcessCluster {
  readonly logs = new MemoryLogs();
  readonly network = new InProcessNetwork();
  readonly errors: Error[] = [];
  readonly nodes = new Map<string, ClusterNode>();
  readonly #storages = new Map<string, MemoryStorage>();
  readonly #transports = new Map<string, Transport>();

  storageOf(id: string): MemoryStorage {
    const storage = this.#storages.get(id) ?? new MemoryStorage();
    this.#storages.set(id, storage);
    return storage;
  }

  async start(id: string, options: Partial<ClusterNodeOptions> = {}): Promise<ClusterNode> {
    const transport = this.network.join(id);
    this.#transports.set(id, transport);
    const node = await ClusterNode.start({
      nodeId: id,
      cluster: 'test',
      storage: this.storageOf(id),
      clock: new SystemClock(),
      transport,
      logs: this.logs,
      modules: [counterModule as never],
      timing: QUICK_TIMING,
      onBackgroundError: (error) => this.errors.push(error),
      ...options,
    });
    this.nodes.set(id, node);
    return node;
  }

  /** Stops a node; its disk stays. */
  async stop(id: string, graceful = true): Promise<void> {
    const node = this.nodes.get(id);
    this.nodes.delete(id);
    await node?.stop({ graceful });
    await this.#transports.get(id)?.close();
  }

  async stopAll(): Promise<void> {
    await Promise.all([...this.nodes.keys()].map((id) => this.stop(id, false)));
  }

  counters(
    node: ClusterNode,
    options: Partial<KeyspaceOptions<number, CounterCommand, number, null, number | undefined>> = {},
  ): Promise<Counters> {
    return node.registerKeyspace('counters', { module: counterModule, ...options });
  }
}

export function add(counters: Counters, key: string, amount = 1): Promise<number> {
  return new Promise((resolve, reject) => {
    const sink = { settled: (_: number, reply: number) => resolve(reply), failed: (_: number, error: Error) => reject(error) };
    counters.submit(utf8(key), { kind: 'add', by: amount }, sink, 0);
  });
}

export function read(counters: Counters, key: string, mode: 'lease' | 'barrier' | 'local' = 'lease'): Promise<number | undefined> {
  return new Promise((resolve, reject) => {
    const sink = {
      settled: (_: number, answer: number | undefined) => resolve(answer),
      failed: (_: number, error: Error) => reject(error),
    };
    counters.ask(utf8(key), null, sink, 0, { read: mode });
  });
}

/** Tries again, errors included, until it is true. */
export async function waitFor(what: string, isTrue: () => boolean | Promise<boolean>, limitMs = 20_000): Promise<void> {
  const endMs = performance.now() + limitMs;
  let last: unknown;
  while (performance.now() < endMs) {
    try {
      if (await isTrue()) return;
    } catch (error) {
      last = error;
    }
    await new Promise((resolve) => setTimeout(resolve, 10));
  }
  throw new Error(`waited ${limitMs} ms for ${what}`, { cause: last });
}
