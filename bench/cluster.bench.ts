// What do durable commands and reads cost on a cluster, beside etcd? Three nats-servers that sync every write and three nodes, each a process of its own on
// this machine; keys of 16 and values of 100 bytes; 1, 64, 256 and 1,024 in flight.
//
//   1 shard        clients in the process of the node that leads it
//   16 shards      clients in all three processes, each asking for what its node leads; in flight: all together
//   16, any node   clients in one process, asking for all keys: two of three requests are carried to another node over NATS
//   bare, 1, 16    1 or 16 streams configured and written to as the logs of shards are, and no store: as far as JetStream goes
//   RESP, leader   clients in a process of their own, 16 connections with a pipeline each, to the door of the node that leads the 1 shard; SET and GET
//   RESP, other    the same at a node that does not lead it: it carries each request to the one that does
//   etcd           three members, a client in a process of its own on the member that leads, gRPC over 4 HTTP/2 connections
//
// Before the figures of each row and operation the same is done for a while uncounted, since cold code does less than half as much.
// Behind each figure stands the processor time of a request: of the processes with clients, then of each node and of each nats-server, in microseconds.
// A command is answered when most nats-servers have its entry on disk and so has the leader's own journal. Everything shares the cores of one machine.
//
//   npm run bench -- cluster [--large] [--seconds N] [--in 1,64] [--ops set,lease] [--only '1 shard'] [--profile DIR]
import { type ChildProcess, fork } from 'node:child_process';
import { mkdtempSync, rmSync } from 'node:fs';
import { cpus, loadavg, tmpdir } from 'node:os';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import { freshBytes, utf8 } from '../src/base/bytes.ts';
import { showCount } from '../src/base/units.ts';
import { findNatsServer } from '../src/nats/find-server.ts';
import { jetStreamLogs } from '../src/nats/jetstream-logs.ts';
import { natsTransport } from '../src/nats/nats-transport.ts';
import { ClusterNode } from '../src/node/cluster/index.ts';
import type { ReadMode, ReplySink } from '../src/node/keyspace-handle.ts';
import { SystemClock } from '../src/node/node-clock.ts';
import { startRespServer } from '../src/resp/server.ts';
import { plain, plainBytes } from '../src/shard/plain-bytes.ts';
import { createRedisModule } from '../src/shard/redis/redis-module.ts';
import { openStorage } from '../src/storage/lmdb.ts';
import { NatsServers, waitFor } from '../test/nats/nats-servers.ts';
import { BareStream, makeBareStream } from './peers/bare-jetstream.ts';
import { EtcdClient, EtcdMembers } from './peers/etcd.ts';
import { processorMs } from './processor-time.ts';
import { pumpRequests } from './resp-pump.ts';

const DOORS = ['RESP, leader', 'RESP, other'] as const;
const BARE = ['bare, 1', 'bare, 16'] as const;
const CONNECTIONS = 16;
/** With so many the code is warmed before each row. */
const WARM_IN_FLIGHT = 64;
const OPS = ['set', 'lease', 'barrier', 'local'] as const;
type Op = (typeof OPS)[number];

interface NodeOptions {
  readonly urls: readonly string[];
  readonly index: number;
  readonly dir: string;
  readonly keyCount: number;
}

interface Run {
  readonly kind: 'run';
  readonly keyspace: string;
  readonly op: Op;
  readonly inFlight: number;
  readonly seconds: number;
  /** Only keys whose shard the node leads. */
  readonly onlyLed: boolean;
}

type Order =
  | Run
  | { readonly kind: 'register'; readonly keyspace: string; readonly shards: number }
  /** Opens a door for Redis clients, to a keyspace of one shard. */
  | { readonly kind: 'door' }
  /** Writes to streams as shards do, and does nothing else. */
  | { readonly kind: 'bare'; readonly streams: readonly string[]; readonly inFlight: number; readonly seconds: number }
  | { readonly kind: 'end' };

interface Rate {
  readonly done: number;
  readonly failed: number;
  readonly perSecond: number;
  /** Of this process, all threads. */
  readonly cpuUs: number;
  readonly rssBytes: number;
}

const VALUE_BYTES = 100;
const keysOf = (count: number): Uint8Array[] => Array.from({ length: count }, (_, i) => utf8(`user:${String(i).padStart(11, '0')}`));

// ── a node, and the clients in its process ──

async function node({ urls, index, dir, keyCount }: NodeOptions): Promise<void> {
  const { connect } = await import('@nats-io/transport-node');
  const connection = await connect({ servers: [...urls], maxReconnectAttempts: -1, noAsyncTraces: true });
  const nodeId = `node-${index + 1}`;
  const cluster = await ClusterNode.start({
    nodeId,
    cluster: 'bench',
    storage: await openStorage({ dir: join(dir, nodeId) }),
    clock: new SystemClock(),
    transport: natsTransport({ connection, cluster: 'bench', self: nodeId }),
    logs: jetStreamLogs({ connection, cluster: 'bench' }),
  });
  const keys = keysOf(keyCount);
  let chance = index + 1;
  const next = (count: number): number => {
    chance = (Math.imul(chance, 1_664_525) + 1_013_904_223) >>> 0;
    return Math.floor((chance / 0x1_0000_0000) * count);
  };

  async function register(name: string, shards: number): Promise<number> {
    const users = await cluster.registerKeyspace(name, { module: plainBytes, shards });
    // Each by the node that is to lead it: until then leaderships are handed over.
    await waitFor('leaders that should be', async () => users.shardStats().every(({ leader, replicas }) => leader === replicas?.[0]));
    // So that reads find something: each node fills a third.
    const mine = keys.filter((_, i) => i % 3 === index);
    await pump(64, { count: mine.length }, (sink, token, i) => users.submit(mine[i]!, plain.set(newValue()), sink, token));
    return keys.filter((key) => users.where(key).isHere).length;
  }

  async function openDoor(): Promise<{ readonly port: number; readonly leads: boolean }> {
    const keyspace = await cluster.registerKeyspace('door', { module: createRedisModule(), scheme: 'redis', shards: 1 });
    await waitFor('the leader that should be', async () => keyspace.shardStats().every(({ leader, replicas }) => leader === replicas?.[0]));
    const { address } = await startRespServer({ keyspace, port: 0, info: { version: 'bench', typeOf: () => 'string' } });
    return { port: address.port, leads: keyspace.where(keys[0]!).isHere };
  }

  function run({ keyspace, op, inFlight, seconds, onlyLed }: Run): Promise<Rate> {
    const users = cluster.keyspace(keyspace) as unknown as Awaited<
      ReturnType<typeof cluster.registerKeyspace<Uint8Array, object, object, object, object>>
    >;
    const asked = onlyLed ? keys.filter((key) => users.where(key).isHere) : keys;
    const read = op as ReadMode;
    return pump(inFlight, { seconds }, (sink, token) => {
      const key = asked[next(asked.length)]!;
      if (op === 'set') users.submit(key, plain.set(newValue()), sink, token);
      else users.ask(key, plain.get(), sink, token, { read });
    });
  }

  async function bare({ streams, inFlight, seconds }: Extract<Order, { kind: 'bare' }>): Promise<Rate> {
    const opened = await Promise.all(streams.map((name) => BareStream.open(connection, name, keys[0]!.length + VALUE_BYTES)));
    return pump(inFlight, { seconds }, (sink, token) => opened[next(opened.length)]!.submit(sink, token));
  }

  process.on('message', async (order: Order) => {
    if (order.kind === 'register') process.send!({ led: await register(order.keyspace, order.shards) });
    if (order.kind === 'door') process.send!(await openDoor());
    if (order.kind === 'bare') process.send!(await bare(order));
    if (order.kind === 'run') process.send!(await run(order));
    if (order.kind === 'end') {
      await cluster.stop();
      process.exit(0);
    }
  });
  process.send!({ ready: true });
}

function newValue(): Uint8Array {
  return freshBytes(VALUE_BYTES).fill(120);
}

/** Keeps `inFlight` going for so many seconds, or until `count` are done. */
function pump(
  inFlight: number,
  { seconds = Number.POSITIVE_INFINITY, count = Number.POSITIVE_INFINITY }: { readonly seconds?: number; readonly count?: number },
  start: (sink: ReplySink<unknown>, token: number, index: number) => void,
): Promise<Rate> {
  const cpu = process.cpuUsage();
  const began = performance.now();
  const untilMs = began + seconds * 1_000;
  let [done, failed, started] = [0, 0, 0];
  return new Promise((resolvePump) => {
    // As doors do: what an answer sets off comes a little later, all of a turn together.
    const ready: number[] = [];
    let isDue = false;
    let left = Math.min(inFlight, count);
    const finish = (): void => {
      const { user, system } = process.cpuUsage(cpu);
      const perSecond = done / ((performance.now() - began) / 1_000);
      resolvePump({ done, failed, perSecond, cpuUs: (user + system) / Math.max(1, done), rssBytes: process.memoryUsage.rss() });
    };
    const go = (): void => {
      isDue = false;
      for (const token of ready.splice(0)) start(sink, token, started++);
    };
    const end = (token: number): void => {
      if (started + ready.length < count && performance.now() < untilMs) {
        ready.push(token);
        if (isDue) return;
        isDue = true;
        setImmediate(go);
      } else if (--left === 0) finish();
    };
    const sink: ReplySink<unknown> = {
      settled(token) {
        done++;
        end(token);
      },
      failed(token, error) {
        failed++;
        if (failed === 1) console.error(`failed: ${error.message}`);
        end(token);
      },
    };
    if (left === 0) finish();
    for (let token = 0; token < Math.min(inFlight, count); token++) start(sink, token, started++);
  });
}

// ── the run ──

const { values: flags } = parseArgs({
  options: {
    large: { type: 'boolean', default: false },
    seconds: { type: 'string' },
    keys: { type: 'string' },
    in: { type: 'string', default: '1,64,256,1024' },
    ops: { type: 'string', default: OPS.join(',') },
    only: { type: 'string' },
    profile: { type: 'string' },
    node: { type: 'string' },
  },
});
if (flags.node !== undefined) await node(JSON.parse(flags.node) as NodeOptions);
else await main();

async function main(): Promise<void> {
  const warmSeconds = flags.large ? 4 : 1.5;
  const seconds = Number(flags.seconds ?? (flags.large ? 5 : 0.4));
  const keyCount = Number(flags.keys ?? (flags.large ? 100_000 : 3_000));
  const inFlights = flags.in.split(',').map(Number);
  const ops = flags.ops.split(',') as Op[];
  const wanted = (name: string): boolean => flags.only === undefined || flags.only.split(';').includes(name);
  const binary = await findNatsServer();
  const load = loadavg()[0]!.toFixed(1);
  console.log(
    `${cpus().length} × ${cpus()[0]?.model.trim() ?? 'unknown'}, Node ${process.version}, load ${load}; nats-server ${binary.version}; ${showCount(keyCount)} keys, ${VALUE_BYTES}-byte values, ${seconds} s each`,
  );
  const dir = mkdtempSync(join(tmpdir(), 'keyfleet-bench-'));
  const table = new Map<string, number>();
  const note = (who: string, op: Op, inFlight: number, rates: readonly Rate[], spent = ''): void => {
    const perSecond = rates.reduce((sum, rate) => sum + rate.perSecond, 0);
    const failed = rates.reduce((sum, rate) => sum + rate.failed, 0);
    table.set(`${who} ${op} ${inFlight}`, perSecond);
    const etcd = table.get(`etcd ${op} ${inFlight}`);
    const cpu = rates.map(({ cpuUs }) => cpuUs.toFixed(1)).join(' + ');
    const ratio = etcd === undefined || who === 'etcd' ? '' : `  ${(perSecond / etcd).toFixed(1)} × etcd`;
    console.log(
      `${who.padEnd(13)} ${op.padEnd(8)} ${String(inFlight).padStart(5)}  ${showCount(perSecond).padStart(9)}/s  ${cpu} us${spent}${ratio}${failed > 0 ? `  ${failed} FAILED` : ''}`,
    );
  };
  try {
    if (wanted('etcd')) await benchEtcd(dir, { seconds, warmSeconds, keyCount, inFlights, ops, note });
    if (['1 shard', '16 shards', '16, any node', ...BARE, ...DOORS].some(wanted)) await benchNodes();
  } finally {
    rmSync(dir, { recursive: true, force: true });
  }

  async function benchDoors(
    children: readonly ChildProcess[],
    tell: (child: ChildProcess, order: Order) => Promise<{ readonly port: number; readonly leads: boolean }>,
  ): Promise<void> {
    const doors = await Promise.all(children.map((child) => tell(child, { kind: 'door' })));
    const keys = keysOf(keyCount).map((key) => Buffer.from(key));
    const value = Buffer.from(newValue());
    const part = (bytes: Buffer): Buffer => Buffer.concat([Buffer.from(`$${bytes.length}\r\n`), bytes, Buffer.from('\r\n')]);
    const sets = keys.map((key) => Buffer.concat([Buffer.from('*3\r\n$3\r\nSET\r\n'), part(key), part(value)]));
    const gets = keys.map((key) => Buffer.concat([Buffer.from('*2\r\n$3\r\nGET\r\n'), part(key)]));
    const ok = { begins: '+', bytes: '+OK\r\n'.length };
    const found = { begins: '$', bytes: part(value).length };
    const { port } = doors.find(({ leads }) => leads)!;
    await pumpRequests({ port, requests: sets, answer: ok, inFlight: 256, connections: CONNECTIONS, count: keys.length });
    for (const name of DOORS.filter(wanted)) {
      const at = name === 'RESP, leader' ? port : doors.find(({ leads }) => !leads)!.port;
      for (const op of ops.filter((one) => one === 'set' || one === 'lease')) {
        const [requests, answer] = op === 'set' ? [sets, ok] : [gets, found];
        await pumpRequests({ port: at, requests, answer, inFlight: WARM_IN_FLIGHT, connections: CONNECTIONS, seconds: warmSeconds });
        for (const inFlight of inFlights) {
          const cpu = process.cpuUsage();
          const { done, perSecond } = await pumpRequests({ port: at, requests, answer, inFlight, connections: CONNECTIONS, seconds });
          const { user, system } = process.cpuUsage(cpu);
          note(name, op, inFlight, [{ done, failed: 0, perSecond, cpuUs: (user + system) / Math.max(1, done), rssBytes: 0 }]);
        }
      }
    }
  }

  async function benchNodes(): Promise<void> {
    const servers = await NatsServers.start(binary.path, 3);
    const children: ChildProcess[] = [];
    const tell = <T>(child: ChildProcess, order: Order): Promise<T> =>
      new Promise((resolveTell, reject) => {
        const ended = (): void => reject(new Error('a node ended'));
        child.once('exit', ended);
        child.once('message', (answer) => {
          child.off('exit', ended);
          resolveTell(answer as T);
        });
        child.send(order);
      });
    try {
      for (let index = 0; index < 3; index++) {
        const options: NodeOptions = { urls: servers.urls, index, dir, keyCount };
        const profile = flags.profile === undefined ? [] : ['--cpu-prof', '--cpu-prof-dir', `${flags.profile}/node-${index + 1}`];
        const child = fork(process.argv[1]!, ['--node', JSON.stringify(options)], { execArgv: [...process.execArgv, ...profile] });
        children.push(child);
        await new Promise((resolveReady, reject) => {
          child.once('message', resolveReady);
          child.once('exit', () => reject(new Error('a node did not start')));
        });
      }
      for (const [keyspace, shards] of [
        ['one', 1],
        ['many', 16],
      ] as const) {
        const names = shards === 1 ? ['1 shard'] : ['16 shards', '16, any node'];
        if (!names.some(wanted)) continue;
        const led = (await Promise.all(children.map((child) => tell<{ led: number }>(child, { kind: 'register', keyspace, shards })))).map(
          (one) => one.led,
        );
        console.log(`${names[0]}: keys led by each node: ${led.join(', ')}`);
        for (const name of names.filter(wanted)) {
          const clients = name === '16, any node' ? children.slice(0, 1) : children.filter((_, i) => led[i]! > 0);
          for (const op of ops) {
            await Promise.all(
              clients.map((child) =>
                tell(child, {
                  kind: 'run',
                  keyspace,
                  op,
                  inFlight: WARM_IN_FLIGHT,
                  seconds: warmSeconds,
                  onlyLed: name !== '16, any node',
                }),
              ),
            );
            for (const inFlight of inFlights) {
              const each = Math.max(1, Math.round(inFlight / clients.length));
              const order: Run = { kind: 'run', keyspace, op, inFlight: each, seconds, onlyLed: name !== '16, any node' };
              // One alone in flight is asked for by one client.
              const asked = inFlight < clients.length ? clients.slice(0, inFlight) : clients;
              const spent = spentBy(servers, children);
              const rates = await Promise.all(asked.map((child) => tell<Rate>(child, order)));
              note(name, op, inFlight, rates, spent(rates));
            }
          }
        }
      }
      for (const name of BARE.filter(wanted)) await benchBare(name, servers, children, tell);
      if (DOORS.some(wanted)) await benchDoors(children, tell);
    } finally {
      await Promise.all(
        children.map((child) => {
          if (child.exitCode !== null) return undefined;
          const ended = new Promise((resolveEnd) => child.once('exit', resolveEnd));
          child.send({ kind: 'end' } satisfies Order);
          setTimeout(() => child.kill('SIGKILL'), 10_000).unref();
          return ended;
        }),
      );
      await servers.stop();
    }
  }

  async function benchBare(
    name: (typeof BARE)[number],
    servers: NatsServers,
    children: readonly ChildProcess[],
    tell: (child: ChildProcess, order: Order) => Promise<Rate>,
  ): Promise<void> {
    if (!ops.includes('set')) return;
    const count = name === 'bare, 1' ? 1 : 16;
    const streams = Array.from({ length: count }, (_, i) => `bare-${count}-${i}`);
    const connection = await servers.connect();
    for (const stream of streams) await makeBareStream(connection, stream);
    const writers = children.slice(0, Math.min(children.length, count));
    const run = (count: number, forSeconds: number): Promise<Rate[]> => {
      const asked = writers.slice(0, count);
      const orders = asked.map((child, at) => ({
        child,
        streams: streams.filter((_, i) => i % asked.length === at),
        inFlight: Math.max(1, Math.round(count / asked.length)),
      }));
      return Promise.all(orders.map(({ child, ...order }) => tell(child, { kind: 'bare', ...order, seconds: forSeconds })));
    };
    await run(WARM_IN_FLIGHT, warmSeconds);
    for (const inFlight of inFlights) {
      const spent = spentBy(servers, children);
      const rates = await run(inFlight, seconds);
      note(name, 'set', inFlight, rates, spent(rates));
    }
  }
}

/** Call what it returns later: says what each process has taken of the processors since, for each request. */
function spentBy(servers: NatsServers, children: readonly ChildProcess[]): (rates: readonly Rate[]) => string {
  const groups = [children.map(({ pid }) => pid!), servers.pids];
  const look = (): number[][] => groups.map((pids) => pids.map(processorMs));
  const before = look();
  return (rates) => {
    const done = rates.reduce((sum, rate) => sum + rate.done, 0);
    const [nodes, nats] = look().map((group, i) =>
      group.map((ms, j) => (((ms - before[i]![j]!) * 1_000) / Math.max(1, done)).toFixed(1)).join(' '),
    );
    return ` (nodes ${nodes}, nats ${nats})`;
  };
}

interface EtcdRun {
  readonly seconds: number;
  readonly warmSeconds: number;
  readonly keyCount: number;
  readonly inFlights: readonly number[];
  readonly ops: readonly Op[];
  readonly note: (who: string, op: Op, inFlight: number, rates: readonly Rate[]) => void;
}

/** etcd's reads are linearizable by asking who leads, as ours by barrier; it has no reads by lease. */
async function benchEtcd(dir: string, { seconds, warmSeconds, keyCount, inFlights, ops, note }: EtcdRun): Promise<void> {
  const members = await EtcdMembers.start(dir);
  try {
    const client = new EtcdClient(await members.leaderPort());
    const keys = keysOf(Math.min(keyCount, 2_000));
    await pump(64, { count: keys.length }, (sink, token, i) => settle(client.put(keys[i]!, newValue()), sink, token));
    let turn = 0;
    for (const op of ops) {
      const run = (inFlight: number, forSeconds: number): Promise<Rate> =>
        pump(inFlight, { seconds: forSeconds }, (sink, token) => {
          const key = keys[turn++ % keys.length]!;
          settle(op === 'set' ? client.put(key, newValue()) : found(client.get(key, op === 'local')), sink, token);
        });
      await run(WARM_IN_FLIGHT, warmSeconds);
      for (const inFlight of inFlights) note('etcd', op, inFlight, [await run(inFlight, seconds)]);
    }
    client.close();
  } finally {
    await members.stop();
  }
}

async function found(bytes: Promise<number>): Promise<void> {
  if ((await bytes) < VALUE_BYTES) throw new Error('a key is missing');
}

function settle(work: Promise<void>, sink: ReplySink<unknown>, token: number): void {
  work.then(
    () => sink.settled(token, undefined),
    (error: Error) => sink.failed(token, error),
  );
}
