import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { Redis } from 'ioredis';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { Prng } from '../../src/base/prng.ts';
import type { MoveStatus } from '../../src/pool/moves/move-status.ts';
import { type KeyfleetProcess, keyfleet } from '../cli/keyfleet-process.ts';
import { ExactWorker, replyOf, type Send } from './exact-workload.ts';
import { answersAgain } from './fault-fleet.ts';
import { startFollowingProxy, startOwner } from './owner-process.ts';
import { freePort, hasRedis, type RedisServer, startRedisServers } from './redis-servers.ts';

// What people come for: a pool from a twemproxy file grows and shrinks under an application that knows every answer, and nothing but latency is to be seen.
// `npm run soak:pool -- --keys 1000000` runs it with a million keys.

const KEYS = Number(process.env['KEYFLEET_POOL_KEYS'] ?? 20_000);
const SEED = Number(process.env['KEYFLEET_POOL_SEED'] ?? 4_211);
const BATCH_KEYS = 500;
/** How long anything may take, on a machine that is busy with other things. */
const PATIENCE_MS = 120_000 + KEYS;

/** The pool `beta` of twemproxy's own example, with ports of this run, and more than its 400 ms of patience for a machine that tests run on. */
function fileOf(listen: number, servers: readonly RedisServer[]): string {
  return `beta:
  listen: 127.0.0.1:${listen}
  hash: fnv1a_64
  hash_tag: "{}"
  distribution: ketama
  auto_eject_hosts: false
  timeout: 20000
  redis: true
  servers:
${servers.map(({ address }, i) => `   - ${address}:1 server${i + 1}\n`).join('')}`;
}

const keyOf = (i: number): string => `user:${i}`;
const storedOf = (i: number): string => `value ${i}`;

function randomOf(seed: number): () => number {
  const prng = new Prng(seed);
  return () => prng.u32() / 0x1_0000_0000;
}

let servers: RedisServer[] = [];
let dir = '';
let ownerPort = 0;
let owner: KeyfleetProcess;
const ports: number[] = [];
const proxies: KeyfleetProcess[] = [];
const clients: Redis[] = [];

beforeAll(async () => {
  if (!hasRedis) return;
  servers = await startRedisServers(5);
  dir = mkdtempSync(join(tmpdir(), 'keyfleet-come-and-go-'));
  ownerPort = await freePort();
  for (const name of ['a', 'b']) {
    ports.push(await freePort());
    writeFileSync(join(dir, `${name}.yml`), fileOf(ports.at(-1)!, servers.slice(0, 4)));
  }
  await beginOwner();
  for (const place of [0, 1]) await beginProxy(place);
}, 120_000);

afterAll(async () => {
  for (const client of clients) client.disconnect();
  for (const one of [...proxies, owner]) await one?.kill('SIGKILL');
  await Promise.all(servers.map((server) => server.stop()));
  if (dir !== '') rmSync(dir, { recursive: true, force: true });
});

async function beginOwner(): Promise<void> {
  owner = await startOwner({ file: join(dir, 'a.yml'), dir: join(dir, 'state'), port: ownerPort });
}

async function beginProxy(place: number): Promise<void> {
  proxies[place] = await startFollowingProxy({ file: join(dir, `${['a', 'b'][place]}.yml`), ownerPort });
}

async function ok(...args: string[]): Promise<string> {
  const { code, stdout, stderr } = await keyfleet(['pool', args[0]!, '--url', `http://127.0.0.1:${ownerPort}`, ...args.slice(1)]);
  expect({ args, code, stderr: code === 0 ? '' : stderr }).toEqual({ args, code: 0, stderr: '' });
  return stdout;
}

async function status(): Promise<MoveStatus> {
  return (await (await fetch(`http://127.0.0.1:${ownerPort}/v1/status`)).json()) as MoveStatus;
}

async function until(isSo: (now: MoveStatus) => boolean, what: string): Promise<void> {
  for (const endMs = Date.now() + PATIENCE_MS; ; await sleep(10)) {
    const now = await status();
    if (isSo(now)) return;
    if (Date.now() > endMs) throw new Error(`${what} did not come about: ${JSON.stringify(now)}`);
  }
}

/** Reads what was put in at the start, one key or several at a time, until it is over. */
async function readStill(client: Redis, random: () => number, isOver: () => boolean, wrong: string[]): Promise<number> {
  let count = 0;
  for (; !isOver(); count++) {
    const asked = Array.from({ length: random() < 0.8 ? 1 : 8 }, () => Math.floor(random() * KEYS));
    const values = asked.length === 1 ? [await client.get(keyOf(asked[0]!))] : await client.mget(asked.map(keyOf));
    for (const [at, i] of asked.entries())
      if (values[at] !== storedOf(i) && wrong.length < 20) wrong.push(`${keyOf(i)}: ${values[at]}, not ${storedOf(i)}`);
  }
  return count;
}

describe.runIf(hasRedis)('a pool from a twemproxy file, before an application that checks every answer', () => {
  test(
    `a server joins and another leaves while the mover and a proxy are killed (${KEYS} keys, seed ${SEED})`,
    async () => {
      const app = new Redis(ports[0]!);
      // When an answer is lost this one wants to know, instead of sending the command again.
      const other = new Redis(ports[1]!, { autoResendUnfulfilledCommands: false, maxRetriesPerRequest: 0 });
      clients.push(app, other);
      let reconnected = 0;
      other.on('error', () => undefined).on('reconnecting', () => reconnected++);
      for (let at = 0; at < KEYS; at += BATCH_KEYS) {
        const batch = Array.from({ length: Math.min(BATCH_KEYS, KEYS - at) }, (_, i) => [keyOf(at + i), storedOf(at + i)]);
        await app.mset(...batch.flat());
      }

      let isOver = false;
      const errors: string[] = [];
      const wrong: string[] = [];
      let settled = Promise.resolve();
      const call = (client: Redis, name: string, key: string, rest: readonly (string | number)[]): Promise<unknown> =>
        client.call(name, key, ...rest);
      const sendAlways: Send = async (name, key, rest) => {
        try {
          return replyOf(await call(app, name, key, rest));
        } catch (error) {
          errors.push(`${name} ${key}: ${String(error)}`);
          throw error;
        }
      };
      const sendThroughTheKilled: Send = async (name, key, rest) => {
        try {
          return replyOf(await call(other, name, key, rest));
        } catch (error) {
          // What a killed proxy had sent is carried out by now, if ever; so it can be asked what became of it.
          await sleep(0);
          await settled;
          throw error;
        }
      };
      const workers = [
        ...[1, 2, 3].map((lane) => new ExactWorker(`app${lane}`, sendAlways, randomOf(SEED + lane))),
        ...[4, 5].map((lane) => new ExactWorker(`other${lane}`, sendThroughTheKilled, randomOf(SEED + lane))),
      ];
      const working = Promise.all(workers.map((worker) => worker.run(() => isOver)));
      const reading = readStill(app, randomOf(SEED), () => isOver, wrong);

      async function killProxy(): Promise<void> {
        let done: () => void = () => {};
        settled = new Promise((resolve) => {
          done = resolve;
        });
        await proxies[1]!.kill('SIGKILL');
        for (const server of servers) await answersAgain(server);
        done();
        await beginProxy(1);
      }
      async function killOwner(): Promise<void> {
        await until(({ state, keysMoved }) => state === 'running' && keysMoved > 0, 'a walk');
        await owner.kill('SIGKILL');
        await beginOwner();
      }

      // Slow enough to be killed in the middle.
      await ok('limits', '--rate', String(2 * KEYS));
      await ok('add', `${servers[4]!.address}:1 server5`, '--no-wait');
      await killOwner();
      await killProxy();
      await killOwner();
      expect((await status()).state).toBe('running');
      await ok('limits', '--rate', 'none');
      await until(({ state }) => state === 'idle', 'the end of the moves');
      expect(await servers[4]!.client.request('DBSIZE')).toBeGreaterThan(KEYS / 20);
      await ok('remove', 'server2');
      expect(await servers[1]!.client.request('DBSIZE')).toBe(0);
      isOver = true;
      const reports = await working;

      expect([...wrong, ...reports.flatMap((report) => report.wrong)]).toEqual([]);
      expect(errors).toEqual([]);
      expect(reconnected).toBeGreaterThan(0);
      expect(await reading).toBeGreaterThan(100);
      expect(Math.min(...reports.map(({ operations }) => operations))).toBeGreaterThan(100);
      expect(await ok('verify')).toMatch(/[\d,]+ keys, each on its own server and on no other/);
      for (let at = 0; at < KEYS; at += BATCH_KEYS) {
        const batch = Array.from({ length: Math.min(BATCH_KEYS, KEYS - at) }, (_, i) => at + i);
        expect(await other.mget(batch.map(keyOf))).toEqual(batch.map(storedOf));
      }
    },
    5 * PATIENCE_MS,
  );
});
