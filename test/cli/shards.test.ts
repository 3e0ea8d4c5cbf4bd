import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import type { ShardsReport } from '../../src/http/shard-admin.ts';
import { KeyfleetServer, keyfleet } from './keyfleet-process.ts';

const dir = mkdtempSync(join(tmpdir(), 'keyfleet-shards-cli-'));
let server: KeyfleetServer;
beforeAll(async () => {
  server = await KeyfleetServer.start(dir, ['--shards', '2']);
  const records = Array.from({ length: 2_000 }, (_, i) => ({ key: `key ${i}`, value: `${i}` }));
  const put = await fetch(`${server.url}/v1/keyspaces/default/batch/put`, {
    method: 'POST',
    headers: { 'content-type': 'application/json' },
    body: JSON.stringify({ records }),
  });
  expect(put.status).toBe(200);
}, 60_000);
afterAll(async () => {
  await server?.kill('SIGTERM');
  rmSync(dir, { recursive: true, force: true });
});

const run = (...args: readonly string[]) => keyfleet([...args, '--url', server.url]);
const report = async (): Promise<ShardsReport> => JSON.parse((await run('shards', '--json')).stdout) as ShardsReport;

describe('keyfleet shards, split, merge and policy, against a running server', { timeout: 60_000 }, () => {
  test('a shard is cut in halves, or where one likes, and taken over again; each key is there all the time', async () => {
    const before = await report();
    expect(before.shards.map(({ id, from, status }) => ({ id, from, status }))).toEqual([
      { id: 1, from: 0, status: 'serving' },
      { id: 2, from: 0x8000_0000, status: 'serving' },
    ]);
    const cut = await run('split', '1');
    expect(cut).toMatchObject({ code: 0, stderr: '' });
    expect(cut.stdout).toContain('keyspace default: 3 shards');
    const [left, right] = (await report()).shards;
    expect(left!.keyCount + right!.keyCount).toBe(before.shards[0]!.keyCount);
    expect(Math.abs(left!.keyCount - right!.keyCount)).toBeLessThan(10);
    expect(JSON.parse((await run('split', '2', '--at', '0xc0000000', '--json')).stdout)).toMatchObject({ isOver: true, workflows: [] });
    expect((await run('merge', '1')).stdout).toContain('keyspace default: 3 shards');
    const after = await report();
    expect(after.shards.map(({ from }) => from)).toEqual([0, 0x8000_0000, 0xc000_0000]);
    expect(after.shards[0]!.keyCount).toBe(before.shards[0]!.keyCount);
    const keys = await (await fetch(`${server.url}/v1/keyspaces/default/scan?values=false`)).text();
    expect(keys.trim().split('\n')).toHaveLength(2_001);
  });

  test('a policy is shown and changed, and the shards follow it by themselves', async () => {
    expect((await run('policy')).stdout).toMatch(/minShards +2/);
    const set = await run('policy', 'set', 'maxKeysPerShard=400', 'minShards=1', '--json');
    expect(JSON.parse(set.stdout)).toMatchObject({ maxKeysPerShard: 400, minShards: 1, mergeThresholdRatio: 0.5 });
    await expect.poll(async () => (await report()).shards.every(({ keyCount }) => keyCount <= 400), { timeout: 20_000 }).toBe(true);
    const most = (await report()).shards.length;
    expect((await run('status')).stdout).toContain('2,000 keys');
    expect((await run('shards')).stdout).toContain('a shard is split beyond 400 keys');
    await run('policy', 'set', 'maxKeysPerShard=none', 'maxBytesPerShard=none');
    expect((await run('shards')).stdout).toContain('no shard is split for its size or load: keyfleet policy set --keyspace default');
    await run('policy', 'set', 'maxKeysPerShard=100000');
    await expect.poll(async () => (await report()).shards.length, { timeout: 20_000 }).toBeLessThan(most);
  });

  test('mistakes are told by their codes, and change nothing', async () => {
    const shards = async (): Promise<number> => (await report()).shards.length;
    // The merges of before would go on meanwhile.
    const before = await shards();
    await run('policy', 'set', `minShards=${before}`);
    await expect
      .poll(async () => report().then(({ shards: now, workflows }) => [now.length, workflows.length]), { timeout: 20_000 })
      .toEqual([before, 0]);
    for (const [args, code] of [
      [['split', '999'], 'KF_NO_SHARD'],
      [['split', '1', '--at', '12345'], 'KF_BAD_SPLIT_POINT'],
      [['split', 'one'], 'KF_USAGE'],
      [['split', '1', '--at', 'here'], 'KF_USAGE'],
      [['merge', '999'], 'KF_NO_SHARD'],
      [['policy', 'set', 'maxKeysPerShard=0'], 'KF_BAD_POLICY'],
      [['policy', 'set', 'colour=3'], 'KF_BAD_POLICY'],
      [['policy', 'set', 'minShards'], 'KF_USAGE'],
      [['shards', '--keyspace', 'none'], 'KF_NO_KEYSPACE'],
    ] as const) {
      const ended = await run(...args);
      expect(`${args.join(' ')}: ${ended.stderr}`).toContain(code);
      expect(ended.code).not.toBe(0);
    }
    expect((await run('split', '1', '--at', '12345')).stderr).toMatch(
      /shard 1 of \[0x0, 0x\w+\) cannot be cut at 0x12345: .* a multiple of 0x40000$/m,
    );
    // A page of another site can send this one, and may not change anything.
    const page = await fetch(`${server.url}/v1/keyspaces/default/shards/1/split`, { method: 'POST', body: '{}' });
    expect([page.status, await shards()]).toEqual([415, before]);
  });
});
