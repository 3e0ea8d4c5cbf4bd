import { type Bytes, utf8 } from '../../src/base/bytes.ts';
import { isKeyfleetError } from '../../src/base/errors.ts';
import { MemoryLogs } from '../../src/log/memory-logs.ts';
import type { ClusterKeyspace } from '../../src/node/cluster/cluster-keyspace.ts';
import { ClusterNode } from '../../src/node/cluster/cluster-node.ts';
import type { ClusterNodeOptions } from '../../src/node/cluster/cluster-options.ts';
import type { KeyspaceOptions } from '../../src/node/keyspace-options.ts';
import { SystemClock } from '../../src/node/node-clock.ts';
import { type CounterCommand, counterModule } from '../../src/shard/counter.ts';
import type { RequestId } from '../../src/shard/request-id.ts';
import { MemoryStorage } from '../../src/storage/memory.ts';
import { InProcessNetwork } from '../../src/transport/in-process.ts';
import type { Transport } from '../../src/transport/transport.ts';

/**
 * Short, so that a test need not wait for what takes seconds in earnest. On a busy machine a lease ends now and then although its node lives: tests that say what
 * an answer is send by a {@link Sender}.
 */
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
    return untilKnown(() => node.registerKeyspace('counters', { module: counterModule, ...options }));
  }
}

/** A client whose commands have ids, so that each is run once, however often it must be sent until its answer comes. */
export class Sender {
  readonly #clientId: Bytes;
  /** In the order in which they were begun. */
  readonly #open = new Set<number>();
  #lastSeq = 0;

  constructor(clientId: string) {
    this.#clientId = utf8(clientId);
  }

  add(counters: Counters, key: string, amount = 1): Promise<number> {
    return this.send(counters, key, { kind: 'add', by: amount });
  }

  /** `requestSeq`: of a request that was sent before. */
  async send(counters: Counters, key: string, command: CounterCommand, requestSeq = ++this.#lastSeq): Promise<number> {
    this.#open.add(requestSeq);
    const [ackedBelow = requestSeq] = this.#open;
    try {
      return await untilKnown(() => run(counters, key, command, { clientId: this.#clientId, requestSeq, ackedBelow }));
    } finally {
      this.#open.delete(requestSeq);
    }
  }
}

/** Does again what may be done again, until it is known what it came to. */
export async function untilKnown<Result>(attempt: () => Promise<Result>, limitMs = 20_000): Promise<Result> {
  const endMs = performance.now() + limitMs;
  while (true) {
    try {
      return await attempt();
    } catch (error) {
      const isOpen = isKeyfleetError(error) && (error.code === 'KF_UNAVAILABLE' || error.code === 'KF_OUTCOME_UNKNOWN');
      if (!isOpen || performance.now() > endMs) throw error;
    }
  }
}

/** Splits or merges a shard as soon as that is free, and waits until it is done. */
export async function reshape(node: ClusterNode, what: 'split' | 'merge', shard: number): Promise<void> {
  const count = (): number => node.view().keyspaces[0]!.shards.length;
  const wanted = count() + (what === 'split' ? 1 : -1);
  let isOver = false;
  await waitFor(`a ${what} of shard ${shard}`, async () => {
    try {
      ({ isOver } = await node.workflows('counters')[what](shard));
    } catch (error) {
      // Once more would be another one.
      if (!isKeyfleetError(error) || error.code !== 'KF_OUTCOME_UNKNOWN') throw error;
    }
    return true;
  });
  if (isOver && count() !== wanted) throw new Error(`the ${what} is said to be over, and there are ${count()} shards, not ${wanted}`);
  await waitFor(`${wanted} shards`, () => count() === wanted);
}

export function run(counters: Counters, key: string, command: CounterCommand, request?: RequestId): Promise<number> {
  return new Promise((resolve, reject) => {
    const sink = { settled: (_: number, reply: number) => resolve(reply), failed: (_: number, error: Error) => reject(error) };
    counters.submit(utf8(key), command, sink, 0, request);
  });
}

export function add(counters: Counters, key: string, amount = 1): Promise<number> {
  return run(counters, key, { kind: 'add', by: amount });
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
