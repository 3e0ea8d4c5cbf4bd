import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Redis } from 'ioredis';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import type { ShardsReport } from '../../src/http/shard-admin.ts';
import { type Ended, KeyfleetProcess, KeyfleetServer, keyfleet } from '../cli/keyfleet-process.ts';
import { hasRecentNats, NATS_SERVERS, waitFor } from '../nats/nats-servers.ts';
import { ClusterProcesses } from './cluster-processes.ts';

// `keyfleet backup` of three real nodes under load, with splits and a node killed meanwhile; `keyfleet restore` into a server alone, and into the
// cluster after it was emptied.

const KEYS = 3_000;
const JSON_TYPE = { 'content-type': 'application/json' };

describe.skipIf(!hasRecentNats)('keyfleet backup and restore', { timeout: 90_000 }, () => {
  let cluster: ClusterProcesses;
  const dir = mkdtempSync(join(tmpdir(), 'keyfleet-backup-cli-'));
  const at = (name: string): string => join(dir, name);
  beforeAll(async () => {
    cluster = await ClusterProcesses.start({ binary: NATS_SERVERS[0]!.binary, hasLedger: false });
  }, 60_000);
  afterAll(async () => {
    await cluster?.stop();
    rmSync(dir, { recursive: true, force: true });
  }, 30_000);

  const put = async (url: string, records: readonly { readonly key: string; readonly value: string }[]): Promise<void> => {
    const body = JSON.stringify({ records });
    const { status } = await fetch(`${url}/v1/keyspaces/default/batch/put`, { method: 'POST', headers: JSON_TYPE, body });
    expect(status).toBe(200);
  };
  const all = async (url: string): Promise<Map<string, string>> => {
    const ended = await keyfleet(['export', '--url', url]);
    expect(ended.code).toBe(0);
    const lines = ended.stdout
      .trim()
      .split('\n')
      .map((line) => JSON.parse(line) as { key: string; value: string });
    expect(new Set(lines.map(({ key }) => key)).size).toBe(lines.length);
    return new Map(lines.map(({ key, value }) => [key, value]));
  };
  const ok = ({ code, stdout, stderr }: Ended): string => {
    expect(`${code}\n${code === 0 ? '' : stderr}`).toBe('0\n');
    return stdout;
  };

  test('a backup under load, with splits and a killed node, holds all that was there; it comes back on one machine and in the cluster', async () => {
    const [url] = cluster.urls as [string];
    await put(
      url,
      Array.from({ length: KEYS }, (_, i) => ({ key: `key ${i}`, value: `value ${i}` })),
    );
    const answered = new Map<string, number>();
    let stop = false;
    const writing = (async () => {
      for (let i = 0; !stop; i++) {
        const records = Array.from({ length: 20 }, (_, k) => ({ key: `busy ${k}`, value: `${i}` }));
        await put(url, records).catch(() => {});
        for (const { key } of records) answered.set(key, i);
      }
    })();
    await waitFor('some load', async () => answered.size === 20);
    const before = new Map(answered);
    const backup = new KeyfleetProcess(['backup', at('b'), '--url', url, '--concurrency', '2']);
    const shards = (await (await fetch(`${url}/v1/keyspaces/default/shards`)).json()) as ShardsReport;
    await keyfleet(['split', String(shards.shards[0]!.id), '--url', url]);
    await cluster.kill(2);
    ok(await backup.ended);
    stop = true;
    await writing;
    expect(ok(await keyfleet(['backup', 'verify', at('b')]))).toContain('every file as it was written');
    expect(JSON.parse(ok(await keyfleet(['backup', 'info', at('b'), '--json'])))).toMatchObject({ cluster: 'test', format: 1 });
    const twice = await keyfleet(['backup', at('b'), '--url', url]);
    expect([twice.code, twice.stderr]).toEqual([2, expect.stringContaining('KF_BACKUP_EXISTS')]);

    const check = (found: Map<string, string>): void => {
      expect(found.size).toBe(KEYS + 20);
      for (let i = 0; i < KEYS; i++) expect(found.get(`key ${i}`)).toBe(`value ${i}`);
      for (const [key, value] of before) expect(Number(found.get(key))).toBeGreaterThanOrEqual(value);
    };
    const single = await KeyfleetServer.start(at('single'), ['--shards', '2']);
    try {
      expect(ok(await keyfleet(['restore', at('b'), '--url', single.url]))).toContain(`restored default: 3,020 keys`);
      check(await all(single.url));
      const again = await keyfleet(['restore', at('b'), '--url', single.url]);
      expect([again.code, again.stderr]).toEqual([1, expect.stringContaining('KF_KEYSPACE_NOT_EMPTY')]);
      ok(await keyfleet(['restore', at('b'), '--keyspace', 'default', '--as', 'copy', '--shards', '5', '--url', single.url]));
      // What is served under another name is served after a restart too.
      await single.kill('SIGTERM');
      const after = await KeyfleetServer.start(at('single'));
      const { keyCount } = (await (await fetch(`${after.url}/v1/keyspaces/copy`)).json()) as { readonly keyCount: number };
      await after.kill('SIGTERM');
      expect(keyCount).toBe(KEYS + 20);
    } finally {
      await single.kill('SIGKILL');
    }

    const full = await keyfleet(['restore', at('b'), '--url', url]);
    expect([full.code, full.stderr]).toEqual([1, expect.stringContaining('KF_KEYSPACE_NOT_EMPTY')]);
    await cluster.startNode(2);
    const redis = new Redis(cluster.respPort(0));
    expect(await redis.flushall()).toBe('OK');
    redis.disconnect();
    // A restore that is killed leaves nobody with half of it.
    const killed = new KeyfleetProcess(['restore', at('b'), '--url', url, '--concurrency', '1']);
    await waitFor('a restore under way', async () => {
      const report = (await (await fetch(`${url}/v1/keyspaces/default/shards`)).json()) as ShardsReport;
      return killed.child.exitCode !== null || report.shards.some(({ status }) => status === 'loading');
    });
    await killed.kill('SIGKILL');
    const [, other] = cluster.urls as [string, string];
    // Where it was killed too late, all is there already.
    const again = await keyfleet(['restore', at('b'), '--url', other]);
    if (!again.stderr.includes('KF_KEYSPACE_NOT_EMPTY')) ok(again);
    check(await all(cluster.urls[2]!));
  });
});
