// For how long does a cluster not answer when one of its parts goes? Three nats-servers that sync every write and three nodes, real processes; 16 keys spread over 8
// shards are incremented all the time through a node that stays, each again as soon as it was answered. Told is the longest time without an answer of any key:
//
//   a node is killed with -9, the one that leads most     bounded by its leases (3 s) and the claim behind them
//   a node is ended (SIGTERM)                              it hands over what it leads
//   the nats-server that leads a shard's log is killed     bounded by NATS's own elections
//   a nats-server is ended
//   a node joins: its share of the copies moves to it      and how long that takes, with so many keys
//
//   npm run bench -- failover [--keys N] [--rounds N]
import { cpus, loadavg } from 'node:os';
import { setTimeout as sleep } from 'node:timers/promises';
import { parseArgs } from 'node:util';
import { jetstreamManager } from '@nats-io/jetstream';
import { showCount } from '../src/base/units.ts';
import { findNatsServer } from '../src/nats/find-server.ts';
import { ClusterProcesses } from '../test/cluster/cluster-processes.ts';
import { RespClient } from '../test/resp/resp-client.ts';

const { values: flags } = parseArgs({
  options: {
    large: { type: 'boolean', default: false },
    keys: { type: 'string' },
    rounds: { type: 'string' },
  },
});
const keyCount = Number(flags.keys ?? (flags.large ? 100_000 : 2_000));
const rounds = Number(flags.rounds ?? (flags.large ? 5 : 1));
const KEYS = Array.from({ length: 16 }, (_, i) => `probe:${i}`);

interface Nodes {
  readonly nodes: readonly { readonly id: string; readonly leads: number; readonly replicas: number }[];
  readonly keyspaces: readonly {
    readonly name: string;
    readonly shards: readonly { readonly id: number }[];
    readonly workflows: readonly unknown[];
  }[];
}

/** Increments every key all the time, and knows how long each had to wait. */
class Probe {
  readonly #port: number;
  readonly #lastMs = new Map<string, number>();
  readonly #lastErrors = new Map<string, string>();
  readonly #loops: Promise<void>[];
  #stop = false;
  #worstMs = 0;
  answered = 0;
  errors = 0;

  constructor(port: number) {
    this.#port = port;
    const nowMs = performance.now();
    for (const key of KEYS) this.#lastMs.set(key, nowMs);
    this.#loops = KEYS.map((key) => this.#loop(key));
  }

  /** The longest wait so far, also of those that wait still. */
  worst(): number {
    const nowMs = performance.now();
    return Math.max(this.#worstMs, ...[...this.#lastMs.values()].map((lastMs) => nowMs - lastMs));
  }

  lap(): void {
    this.#worstMs = 0;
    const nowMs = performance.now();
    for (const key of KEYS) this.#lastMs.set(key, nowMs);
  }

  /** Waits until every key has been answered again. */
  async allAnswer(): Promise<void> {
    const sinceMs = performance.now();
    const endMs = sinceMs + 60_000;
    while ([...this.#lastMs.values()].some((lastMs) => lastMs < sinceMs)) {
      if (performance.now() > endMs) {
        const missing = [...this.#lastMs].filter(([, lastMs]) => lastMs < sinceMs).map(([key]) => `${key}: ${this.#lastErrors.get(key)}`);
        throw new Error(`keys are not answered for a minute: ${missing.join('; ')}`);
      }
      await sleep(10);
    }
  }

  async stop(): Promise<void> {
    this.#stop = true;
    await Promise.all(this.#loops);
  }

  async #loop(key: string): Promise<void> {
    let client: RespClient | undefined;
    while (!this.#stop) {
      try {
        client ??= await RespClient.connect({ port: this.#port });
        const answer = await client.call('INCR', key);
        if (!/^:?\d+$/.test(String(answer))) {
          this.errors++;
          this.#lastErrors.set(key, String(answer));
          await sleep(10);
          continue;
        }
        const nowMs = performance.now();
        this.#worstMs = Math.max(this.#worstMs, nowMs - this.#lastMs.get(key)!);
        this.#lastMs.set(key, nowMs);
        this.answered++;
      } catch (error) {
        this.errors++;
        this.#lastErrors.set(key, String(error));
        client?.close();
        client = undefined;
        await sleep(20);
      }
    }
    client?.close();
  }
}

const binary = await findNatsServer();
console.log(
  `${cpus().length} × ${cpus()[0]?.model.trim() ?? 'unknown'}, Node ${process.version}, load ${loadavg()[0]!.toFixed(1)}; nats-server ${binary.version}; ${showCount(keyCount)} keys`,
);
const probes: Probe[] = [];
const results = new Map<string, number[]>();
const note = (what: string, ms: number): void => {
  results.set(what, [...(results.get(what) ?? []), ms]);
  console.log(`${what.padEnd(52)} ${showCount(ms).padStart(7)} ms`);
};

const cluster = await ClusterProcesses.start({ binary: binary.path, shards: 8, hasLedger: false });
try {
  await fill(cluster.respPort(0));
  // Node 0 stays all the time: the one that is asked.
  const probe = new Probe(cluster.respPort(0));
  probes.push(probe);
  await probe.allAnswer();
  const during = async (what: string, event: () => Promise<unknown>): Promise<void> => {
    await settled();
    probe.lap();
    await event();
    await sleep(300);
    await probe.allAnswer();
    note(what, probe.worst());
  };
  for (let round = 0; round < rounds; round++) {
    await during('nothing happens', () => sleep(2_000));
    const victim = await leadsMost();
    await during('a node is killed with -9', () => cluster.kill(victim));
    await cluster.startNode(victim);
    const next = await leadsMost();
    await during('a node is ended', () => cluster.end(next));
    await cluster.startNode(next);
    const server = await logLeader();
    await during('the nats-server that leads a log is killed with -9', () => cluster.nats.kill(server));
    cluster.nats.startOne(server);
    await cluster.nats.ready();
    await during('a nats-server is ended', () => cluster.nats.end(server));
    cluster.nats.startOne(server);
    await cluster.nats.ready();
  }
  await settled();
  probe.lap();
  const beganMs = performance.now();
  await cluster.addNode();
  const joinedMs = performance.now();
  await waitUntil(async () => (await nodes()).nodes.some(({ id, replicas }) => id === 'node-4' && replicas > 0));
  await settled();
  const { nodes: after } = await nodes();
  note('a node joins', probe.worst());
  console.log(
    `  it was up after ${showCount(joinedMs - beganMs)} ms, and had ${after.find(({ id }) => id === 'node-4')!.replicas} of ${after.reduce((sum, { replicas }) => sum + replicas, 0)} copies after ${showCount(performance.now() - beganMs)} ms`,
  );
  await probe.stop();
  // Nothing of what was answered is lost: each key counts at least its answers.
  const client = await RespClient.connect({ port: cluster.respPort(1) });
  let sum = 0;
  for (const key of KEYS) sum += Number(String(await client.call('GET', key)));
  client.close();
  if (sum < probe.answered) throw new Error(`${probe.answered} increments were answered and ${sum} are there`);
  console.log(`checksum: ${probe.answered} increments answered, ${sum} done, ${probe.errors} errors`);
} catch (error) {
  // What the nodes believe of shards that nobody leads.
  for (const [index, id] of cluster.ids.entries()) console.error(`${id}:\n${cluster.logOf(index)}`);
  for (const url of cluster.urls) {
    const report: unknown = await (await fetch(`${url}/v1/nodes`)).json();
    console.error(JSON.stringify(report, undefined, 2));
  }
  throw error;
} finally {
  await Promise.all(probes.map((probe) => probe.stop()));
  await cluster.stop();
}
console.log('quote, the worst of all rounds:');
for (const [what, all] of results) console.log(`  ${what.padEnd(52)} ${showCount(Math.max(...all)).padStart(7)} ms`);

async function fill(port: number): Promise<void> {
  const client = await RespClient.connect({ port });
  const value = 'x'.repeat(100);
  for (let from = 0; from < keyCount; from += 500) {
    const count = Math.min(500, keyCount - from);
    for (let i = 0; i < count; i++) client.send('SET', `key:${from + i}`, value);
    for (let i = 0; i < count; i++) await client.next();
  }
  client.close();
}

async function nodes(): Promise<Nodes> {
  const response = await fetch(`${cluster.urlOf(0)}/v1/nodes`);
  return (await response.json()) as Nodes;
}

/** Of the nodes but the first, the one that leads most shards. */
async function leadsMost(): Promise<number> {
  const [, ...others] = (await nodes()).nodes;
  const most = others.reduce((best, one) => (one.leads > best.leads ? one : best));
  return cluster.ids.indexOf(most.id);
}

async function logLeader(): Promise<number> {
  const { keyspaces } = await nodes();
  const shard = keyspaces.find(({ name }) => name === 'default')!.shards[0]!.id;
  const connection = await cluster.nats.connect();
  const { cluster: group } = await (await jetstreamManager(connection)).streams.info(`keyfleet-test-${shard}-g1`);
  return cluster.nats.names.indexOf(group!.leader!);
}

/** Nothing moves, and leaders are those that should be. */
async function settled(): Promise<void> {
  await sleep(3_000);
  await waitUntil(async () => (await nodes()).keyspaces.every(({ workflows }) => workflows.length === 0));
}

async function waitUntil(isTrue: () => Promise<boolean>): Promise<void> {
  const endMs = Date.now() + 120_000;
  while (!(await isTrue().catch(() => false))) {
    if (Date.now() > endMs) throw new Error('the cluster did not come to rest in two minutes');
    await sleep(50);
  }
}
