import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import type { UpPlan } from '../../src/cli/up/up-plan.ts';
import { KeyfleetProcess, keyfleet } from '../cli/keyfleet-process.ts';
import { NATS_SERVERS } from '../nats/nats-servers.ts';
import { RespClient } from '../resp/resp-client.ts';

const server = NATS_SERVERS.find(({ isHere }) => isHere);

describe.runIf(server !== undefined)('keyfleet up', () => {
  let scratch: string;
  let dir: string;
  let up: KeyfleetProcess | undefined;
  beforeEach(() => {
    scratch = mkdtempSync(join(tmpdir(), 'keyfleet-up-'));
    dir = join(scratch, 'cluster');
  });
  afterEach(async () => {
    await up?.kill('SIGTERM');
    await allGone();
    rmSync(scratch, { recursive: true, force: true });
  }, 60_000);

  const start = async (...args: readonly string[]): Promise<KeyfleetProcess> => {
    const process = new KeyfleetProcess(['up', '--dir', dir, '--nats-server', server!.binary, ...args]);
    let ended = false;
    void process.ended.then(() => {
      ended = true;
    });
    await expect.poll(() => ended || process.stdout.includes('Ctrl-C ends it.'), { timeout: 90_000 }).toBe(true);
    if (ended) throw new Error(`it did not come up:\n${process.stderr}`);
    up = process;
    return process;
  };
  const plan = (): UpPlan => JSON.parse(readFileSync(join(dir, 'up.json'), 'utf8')) as UpPlan;
  const tell = (...args: readonly string[]) => keyfleet(['up', ...args, '--dir', dir]);
  const ask = async (node: number, ...command: readonly string[]): Promise<unknown> => {
    const client = await RespClient.connect({ port: plan().nodes[node]!.respPort });
    try {
      return await client.call(...command);
    } finally {
      client.close();
    }
  };
  const pids = async (): Promise<Map<string, number>> =>
    new Map([...(await tell('list')).stdout.matchAll(/^(\S+-\d+) +pid (\d+)/gm)].map(([, name, pid]) => [name!, Number(pid)]));
  const seen = new Set<number>();
  const note = async (): Promise<Map<string, number>> => {
    const now = await pids();
    for (const pid of now.values()) seen.add(pid);
    return now;
  };
  const isRunning = (pid: number): boolean => {
    try {
      process.kill(pid, 0);
      return true;
    } catch {
      return false;
    }
  };
  const allGone = async (): Promise<void> => {
    await expect.poll(() => [...seen].filter(isRunning), { timeout: 40_000 }).toEqual([]);
    seen.clear();
  };

  test('a cluster with one command: killed, stopped and added nodes, all gone after kill -9, and the data there again', async () => {
    let running = await start('--base-port', '0', '--nats-servers', '1', '--', '--shards', '3');
    const names = [...(await note()).keys()];
    expect(names).toEqual(['nats-1', 'node-1', 'node-2', 'node-3']);
    expect(await ask(0, 'SET', 'greeting', 'hello')).toBe('+OK');
    expect(await ask(2, 'GET', 'greeting')).toBe('hello');

    // The doctor looks at all of it.
    const monitor = `http://127.0.0.1:${plan().nats[0]!.monitorPort}`;
    const doctor = () =>
      keyfleet(['doctor', '--url', `http://127.0.0.1:${plan().nodes[0]!.httpPort}`, '--nats-monitor', monitor, '--dir', dir]);
    expect(await doctor()).toMatchObject({ code: 0, stdout: expect.stringContaining('3 nodes are up, 3 copies of each shard') });

    // One that dies is told of, and starts again when asked to.
    process.kill((await note()).get('node-2')!, 'SIGKILL');
    await expect
      .poll(() => running.stderr, { timeout: 10_000 })
      .toContain('node-2 was ended by SIGKILL. Start it again: keyfleet up start node-2');
    await expect
      .poll(doctor, { timeout: 30_000 })
      .toMatchObject({ code: 1, stdout: expect.stringMatching(/^WRONG {2}node (node-2 is down|node-2 does not answer)/m) });
    expect(await tell('start', 'node-2')).toMatchObject({ code: 0, stdout: 'node-2 runs\n' });
    expect(await ask(1, 'GET', 'greeting')).toBe('hello');
    expect(await tell('start', 'node-9')).toMatchObject({ code: 2, stderr: expect.stringContaining('node-9') });

    // One directory is run once.
    const second = new KeyfleetProcess(['up', '--dir', dir, '--nats-server', server!.binary]);
    expect(await second.ended).toMatchObject({ code: 3, stderr: expect.stringContaining('runs in this directory already') });
    expect(await keyfleet(['up', '--dir', dir, '--nodes', '2', '--nats-server', server!.binary])).toMatchObject({ code: 2 });

    // Killed itself, it leaves nobody behind.
    await note();
    await running.kill('SIGKILL');
    await allGone();

    running = await start();
    expect(await ask(1, 'GET', 'greeting')).toBe('hello');
    expect(await tell('add')).toMatchObject({ code: 0, stdout: expect.stringContaining('node-4 runs') });
    expect(await ask(3, 'GET', 'greeting')).toBe('hello');
    await note();
    up = undefined;
    expect(await running.kill('SIGTERM')).toMatchObject({ code: 0, stderr: expect.stringContaining('everything answered is in') });
    expect(running.stderr).not.toContain('-9');
    await allGone();
  }, 180_000);

  test('one that cannot come up ends all, and says why', async () => {
    const failed = new KeyfleetProcess([
      'up',
      '--dir',
      dir,
      '--nats-server',
      server!.binary,
      '--base-port',
      '0',
      '--nats-servers',
      '1',
      '--',
      '--shards',
      'many',
    ]);
    expect(await failed.ended).toMatchObject({ code: 1, stderr: expect.stringContaining('KF_CHILD_FAILED') });
    expect(failed.stderr).toContain('--shards');
  }, 60_000);

  test('asking a directory that is none of its, or for what it cannot do: KF_USAGE', async () => {
    expect(await tell('list')).toMatchObject({ code: 2 });
    expect(await tell('strat', 'node-2')).toMatchObject({ code: 2, stderr: expect.stringContaining('there is no `keyfleet up strat`') });
  }, 30_000);
});
