import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { createPool, type Pool } from '../../src/pool/index.ts';
import type { WholeStatus } from '../../src/pool/moves/whole-servers.ts';
import { type Ended, type KeyfleetProcess, keyfleet } from '../cli/keyfleet-process.ts';
import { startOwner } from './owner-process.ts';
import { freePort, hasRedis, type RedisServer, startRedisServers } from './redis-servers.ts';

// Every subcommand of `keyfleet pool` as people type it, against an owner and servers that run.

const KEYS = 4_000;

let servers: RedisServer[] = [];
let dir = '';
let port = 0;
let owner: KeyfleetProcess;
let pool: Pool;

async function beginOwner(): Promise<void> {
  owner = await startOwner({ file: join(dir, 'pools.yml'), dir: join(dir, 'state'), port });
}

function run(...args: string[]): Promise<Ended> {
  return keyfleet(['pool', args[0]!, '--url', `http://127.0.0.1:${port}`, ...args.slice(1)]);
}

async function ok(...args: string[]): Promise<string> {
  const { code, stdout, stderr } = await run(...args);
  expect({ args, code, stderr: code === 0 ? '' : stderr }).toEqual({ args, code: 0, stderr: '' });
  return stdout;
}

async function expectAllKeys(): Promise<void> {
  const values = await pool.mget(Array.from({ length: KEYS }, (_, i) => `key:${i}`));
  expect(values.findIndex((value, i) => value !== `value ${i}`)).toBe(-1);
}

beforeAll(async () => {
  if (!hasRedis) return;
  servers = await startRedisServers(5, ['--repl-diskless-sync-delay', '0']);
  dir = mkdtempSync(join(tmpdir(), 'keyfleet-pool-cli-'));
  port = await freePort();
  const listed = servers.slice(0, 2).map(({ address }, i) => `    - ${address}:1 ${['alpha', 'beta'][i]}\n`);
  writeFileSync(join(dir, 'pools.yml'), `main:\n  redis: true\n  distribution: slots\n  servers:\n${listed.join('')}`);
  await beginOwner();
  pool = createPool({ file: join(dir, 'pools.yml'), control: { url: `http://127.0.0.1:${port}` } });
  await pool.mset(Array.from({ length: KEYS }, (_, i) => [`key:${i}`, `value ${i}`]));
}, 60_000);
afterAll(async () => {
  pool?.close();
  await owner?.kill('SIGKILL');
  await Promise.all(servers.map((server) => server.stop()));
  rmSync(dir, { recursive: true, force: true });
});

describe.runIf(hasRedis)('keyfleet pool, the subcommands', () => {
  test('plan, add, status, reweight, verify, remove: servers come and go', async () => {
    const planned = await ok('plan', 'add', servers[2]!.address, 'gamma');
    expect(planned).toMatch(/alpha to gamma: 2,7\d\d slots, about [\d,]+ keys/);
    expect(planned).toMatch(/in all about [\d,]+ keys and .*, some \d/);
    const added = await ok('add', `${servers[2]!.address}:1`, 'gamma');
    expect(added).toMatch(/main, epoch \d+, 1 router\(s\), moves: idle/);
    expect(added).toMatch(/gamma .* weight 1 {2}5,461 slots \(33\.3 %\)/);
    expect(await ok('verify')).toContain('4,000 keys, each on its own server and on no other');
    expect(await ok('reweight', 'gamma', '2')).toMatch(/gamma .* weight 2 {2}8,192 slots \(50\.0 %\)/);
    expect(await ok('remove', 'alpha')).not.toContain('alpha  ');
    const status = JSON.parse(await ok('status', '--json')) as { servers: { name: string; slots: number }[] };
    expect(status.servers.map(({ name }) => name)).toEqual(['beta', 'gamma']);
    expect(await servers[0]!.client.request('DBSIZE')).toBe(0);
    await expectAllKeys();
  }, 90_000);

  test('split and move: whole servers, by replication, also when the owner is killed meanwhile', async () => {
    expect(await ok('split', 'gamma', `${servers[0]!.address}:1 delta`, '--dry-run')).toMatch(/delta +5,461 slots afterwards/);
    const split = await ok('split', 'gamma', `${servers[0]!.address}:1 delta`);
    expect(split).toMatch(/split gamma over itself and delta: done, operations were held for [\d.]+ ms, [\d,]+ keys removed/);
    expect(split).toMatch(/delta .* 5,461 slots/);
    // A copy that waits is a good moment to be killed in.
    await servers[1]!.client.request('CONFIG', 'SET', 'repl-diskless-sync-delay', '30');
    await ok('move', 'beta', servers[3]!.address, '--no-wait');
    await owner.kill('SIGKILL');
    await beginOwner();
    await servers[1]!.client.request('CONFIG', 'SET', 'repl-diskless-sync-delay', '0');
    // The new owner first undoes what was begun.
    await expect
      .poll(async () => (JSON.parse(await ok('status', '--json')) as { whole?: WholeStatus }).whole, { timeout: 30_000 })
      .toMatchObject({ isRunning: false, error: { code: 'KF_POOL_CLONE_FAILED' } });
    const moved = await ok('move', 'beta', servers[4]!.address);
    expect(moved).toContain(`move beta to ${servers[4]!.address}: done, operations were held`);
    expect(moved).toMatch(new RegExp(`beta +${servers[4]!.address} `));
    expect(await ok('verify')).toContain('4,000 keys, each on its own server');
    await expectAllKeys();
    // What it moved from is a copy of it still.
    expect(await ok('verify', '--server', 'beta', '--against', servers[1]!.address)).toContain(
      'the copy is the same: types, values, times to live',
    );
    // It takes no writes any more.
    await servers[1]!.client.request('CONFIG', 'SET', 'min-replicas-to-write', '0');
    const some = String(await servers[1]!.client.request('RANDOMKEY'));
    await servers[1]!.client.request('DEL', some);
    const damaged = await run('verify', '--server', 'beta', '--against', servers[1]!.address);
    expect([damaged.code, damaged.stdout]).toEqual([1, expect.stringContaining(`"${some}": missing: a string, and nothing`)]);
    expect(await ok('verify', '--sample', '100')).toMatch(/\d+ keys by chance, each on its own server/);
  }, 90_000);

  test('pause, resume, cancel: a move that is under way', async () => {
    await servers[3]!.client.request('FLUSHALL');
    const big = 'x'.repeat(20_000);
    expect(await ok('limits', '--rate', '1MB', '--check', '1')).toBe(
      '1.0 MiB/s; values above 512.0 MiB stop the moves; 100 % of the keys are compared on their way\n',
    );
    await pool.mset(Array.from({ length: 2_000 }, (_, i) => [`big:${i}`, big]));
    await ok('add', `${servers[3]!.address}:1 epsilon`, '--no-wait');
    const paused = await run('pause');
    // It may have ended before the command was there.
    expect([paused.stdout, paused.stderr].join('')).toMatch(/paused|KF_POOL_NO_MOVES/);
    expect(await ok('limits', '--rate', 'none')).toContain('as fast as it goes');
    if (paused.code === 0) {
      expect(await ok('status')).toMatch(/moves: (idle|paused(.|\n)*add .*epsilon: [\d,]+ of [\d,]+ slots, .* MiB\/s)/);
      // As its last move ended: then there is nothing to go on with.
      expect((await run('resume')).stderr).toMatch(/^$|KF_POOL_NO_MOVES/);
      expect((await run('cancel')).stderr).toMatch(/^$|KF_POOL_NO_MOVES/);
    }
    const isIdle = async (): Promise<boolean> =>
      ((await (await fetch(`http://127.0.0.1:${port}/v1/status`)).json()) as { state: string }).state === 'idle';
    for (const endMs = Date.now() + 30_000; !(await isIdle()); ) {
      if (Date.now() > endMs) throw new Error('the moves do not end');
      await new Promise((resolve) => setTimeout(resolve, 50));
    }
    expect(await ok('verify')).toContain('6,000 keys, each on its own server');
    await expectAllKeys();
  }, 90_000);

  test('what cannot be is said with its code, and ends with 1, 2 or 5', async () => {
    const said = async (...args: string[]): Promise<[number | null, string]> => {
      const { code, stderr } = await run(...args);
      return [code, stderr];
    };
    expect(await said('remove', 'nobody')).toEqual([1, expect.stringMatching(/KF_POOL_PLAN: the pool has no server nobody; it has beta/)]);
    expect(await said('reweight', 'beta', 'heavy')).toEqual([2, expect.stringMatching(/KF_USAGE: a weight is a whole number/)]);
    expect(await said('limits', '--rate', 'quick')).toEqual([2, expect.stringMatching(/KF_USAGE: a size is/)]);
    expect(await said('verify', '--server', 'beta')).toEqual([2, expect.stringMatching(/KF_USAGE: --server and --against/)]);
    expect(await said('resume')).toEqual([1, expect.stringContaining('KF_POOL_NO_MOVES')]);
    expect(await said('add', 'no-address')).toEqual([1, expect.stringMatching(/KF_POOL_PLAN: a server is host:port/)]);
    const away = await keyfleet(['pool', 'status', '--url', `http://127.0.0.1:${await freePort()}`]);
    expect([away.code, away.stderr]).toEqual([5, expect.stringMatching(/KF_UNREACHABLE: .*keyfleet pool owner/)]);
  }, 60_000);
});
