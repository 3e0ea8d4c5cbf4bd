import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import type { MoveStatus } from '../../src/pool/moves/move-status.ts';
import { type KeyfleetProcess, keyfleet } from '../cli/keyfleet-process.ts';
import { RespClient } from '../resp/resp-client.ts';
import { startFollowingProxy, startOwner } from './owner-process.ts';
import { freePort, hasRedis, type RedisServer, startRedisServers } from './redis-servers.ts';

// A pool's file is changed while an owner and a proxy of two workers go by it.

const KEYS = 300;

let servers: RedisServer[] = [];
let dir = '';
let port = 0;
let ownerPort = 0;
let owner: KeyfleetProcess;
let proxy: KeyfleetProcess;
let client: RespClient;

const file = (): string => join(dir, 'pools.yml');

/** Ranges of numbers, and the servers that they are on: `R0` is the first of our servers. */
function write(
  ranges: readonly (readonly [from: number | undefined, server: number])[],
  settings = '',
  listed = ranges.map(([, n]) => n),
): void {
  const shown = ranges.map(([from, n]) => `    - { ${from === undefined ? '' : `from: ${from}, `}server: R${n} }\n`);
  const lines = [...new Set(listed)].map((n) => `    - ${servers[n]!.address}:1 R${n}\n`);
  writeFileSync(
    file(),
    `users:\n  listen: 127.0.0.1:${port}\n  redis: true\n  workers: 2\n  distribution: ranges\n  range_by: number\n${settings}  ranges:\n${shown.join('')}  servers:\n${lines.join('')}`,
  );
}

async function until<T>(look: () => Promise<T | undefined> | T | undefined, what: string): Promise<T> {
  for (const endMs = Date.now() + 30_000; Date.now() < endMs; await sleep(20)) {
    const found = await look();
    if (found !== undefined) return found;
  }
  throw new Error(`${what} did not come about:\n${owner.stderr}${proxy?.stderr}`);
}

/** Waits until the pool is at rest with as many servers, and has every key where it belongs. */
async function expectServers(names: readonly string[]): Promise<void> {
  await until(async () => {
    const now = (await (await fetch(`http://127.0.0.1:${ownerPort}/v1/status`)).json()) as MoveStatus & { servers: { name: string }[] };
    const isSo =
      now.state === 'idle' &&
      now.servers
        .map(({ name }) => name)
        .sort()
        .join() === names.join();
    return isSo || undefined;
  }, `servers ${names.join()}`);
  const { stdout } = await keyfleet(['pool', 'verify', '--url', `http://127.0.0.1:${ownerPort}`]);
  expect(stdout).toContain(`${KEYS} keys, each on its own server and on no other`);
  for (const i of [0, 49, 50, 99, 100, 149, 150, 299]) expect(await client.call('GET', `user:${i}`)).toBe(`value ${i}`);
}

const keysOn = (n: number): Promise<unknown> => servers[n]!.client.request('DBSIZE');

beforeAll(async () => {
  if (!hasRedis) return;
  servers = await startRedisServers(3);
  dir = mkdtempSync(join(tmpdir(), 'keyfleet-reload-'));
  port = await freePort();
  ownerPort = await freePort();
  write([
    [undefined, 0],
    [100, 1],
  ]);
  owner = await startOwner({ file: file(), dir: join(dir, 'state'), port: ownerPort });
  proxy = await startFollowingProxy({ file: file(), ownerPort });
  client = await RespClient.connect({ port });
  for (let i = 0; i < KEYS; i++) client.send('SET', `user:${i}`, `value ${i}`);
  for (let i = 0; i < KEYS; i++) expect(await client.shown()).toBe('+OK');
}, 60_000);
afterAll(async () => {
  client?.close();
  await proxy?.kill('SIGKILL');
  await owner?.kill('SIGKILL');
  await Promise.all(servers.map((server) => server.stop()));
  if (dir !== '') rmSync(dir, { recursive: true, force: true });
});

describe.runIf(hasRedis)('a file that is changed while its pool works', () => {
  test('becomes a plan that the owner carries out, at a signal to the proxy, to the owner, or by apply', async () => {
    expect([await keysOn(0), await keysOn(1), await keysOn(2)]).toEqual([100, 200, 0]);
    write([
      [undefined, 0],
      [50, 2],
      [150, 1],
    ]);
    proxy.child.kill('SIGHUP');
    await until(() => proxy.stderr.includes('the owner takes the servers of the file') || undefined, 'a plan');
    expect(proxy.stderr).toContain('moving 1 slots from R0 to R2, 1 slots from R1 to R2');
    await expectServers(['R0', 'R1', 'R2']);
    expect([await keysOn(0), await keysOn(1), await keysOn(2)]).toEqual([50, 150, 100]);
    // The owner goes by the same file, and hears of the change later.
    owner.child.kill('SIGHUP');
    await until(() => owner.stderr.includes('reloaded; the pool has these servers already') || undefined, 'a reload of the owner');

    write([
      [undefined, 0],
      [150, 1],
    ]);
    owner.child.kill('SIGHUP');
    await until(() => owner.stderr.includes('slots from R2 to R0') || undefined, 'a plan');
    await expectServers(['R0', 'R1']);

    write([[undefined, 2]]);
    const apply = (...more: string[]) => keyfleet(['pool', 'apply', file(), '--url', `http://127.0.0.1:${ownerPort}`, ...more]);
    expect((await apply('--dry-run')).stdout).toMatch(/R0 to R2: 3 slots, about \d+ keys/);
    expect(await keysOn(2)).toBe(0);
    expect((await apply()).code).toBe(0);
    await expectServers(['R2']);
    expect((await apply()).stdout).toContain('the pool has these servers already');
  }, 120_000);

  test('is refused where it would send keys elsewhere without moving them, and asked for again when that is mended', async () => {
    write([[undefined, 2]], '  hash_tag: "{}"\n');
    proxy.child.kill('SIGHUP');
    await until(
      () => /KF_POOL_PLAN.*hash_tag cannot change|hash_tag cannot change.*KF_POOL_PLAN/.test(proxy.stderr) || undefined,
      'a refusal',
    );
    expect(await client.call('GET', 'user:1')).toBe('value 1');
    owner.child.kill('SIGHUP');
    await until(() => owner.stderr.includes('hash_tag cannot change') || undefined, 'a refusal of the owner');
    // A server of the pool's name that is elsewhere takes its keys with it.
    write([[undefined, 2]]);
    writeFileSync(file(), readFileSync(file(), 'utf8').replace(servers[2]!.address, servers[0]!.address));
    owner.child.kill('SIGHUP');
    await until(
      () => owner.stderr.includes(`\`keyfleet pool move R2 ${servers[0]!.address}\``) || undefined,
      'a refusal of another address',
    );
    // What stands in the way of a plan is said, and the plan made when it is gone.
    await servers[0]!.client.request('SET', 'user:7', 'a stray');
    write([
      [undefined, 0],
      [100, 2],
    ]);
    proxy.child.kill('SIGHUP');
    await until(() => proxy.stderr.includes('already holds 1 key') || undefined, 'a problem');
    await servers[0]!.client.request('DEL', 'user:7');
    proxy.child.kill('SIGHUP');
    await expectServers(['R0', 'R2']);
    expect(await keysOn(0)).toBe(100);
  }, 120_000);
});
