import { spawn } from 'node:child_process';
import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { connect } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { KeyfleetProcess, keyfleet } from '../cli/keyfleet-process.ts';
import { RespClient } from '../resp/resp-client.ts';
import { freePort, hasRedis, type RedisServer, startRedisServers } from './redis-servers.ts';

// `keyfleet pool` as a process of its own, and nutcracker beside it.

const hasNutcracker = (process.env['PATH'] ?? '').split(':').some((dir) => existsSync(join(dir, 'nutcracker')));

async function until<T>(look: () => Promise<T | undefined>, what: string): Promise<T> {
  for (const deadline = Date.now() + 20_000; Date.now() < deadline; ) {
    const found = await look().catch(() => undefined);
    if (found !== undefined) return found;
    await new Promise((resolve) => setTimeout(resolve, 50));
  }
  throw new Error(`${what} did not come about`);
}

function readAll(port: number, request = ''): Promise<string> {
  return new Promise((resolve, reject) => {
    let text = '';
    const socket = connect(port, '127.0.0.1', () => request !== '' && socket.write(request));
    socket.on('data', (chunk: Buffer) => (text += chunk.toString()));
    socket.on('end', () => resolve(text));
    socket.on('error', reject);
  });
}

describe.runIf(hasRedis)('keyfleet pool', () => {
  let servers: RedisServer[];
  let dir: string;
  beforeAll(async () => {
    servers = await startRedisServers(3);
    dir = mkdtempSync(join(tmpdir(), 'keyfleet-pool-'));
  }, 30_000);
  afterAll(async () => {
    for (const server of servers) await server.stop();
    rmSync(dir, { recursive: true, force: true });
  });

  function fileOf(name: string, port: number, more = ''): string {
    const path = join(dir, name);
    const lines = servers.map((server) => `   - 127.0.0.1:${server.port}:1`).join('\n');
    writeFileSync(
      path,
      `alpha:\n  listen: 127.0.0.1:${port}\n  hash: fnv1a_64\n  distribution: ketama\n  redis: true\n${more}  servers:\n${lines}\n`,
    );
    return path;
  }

  test('tests a file, and names the line of a mistake', async () => {
    const good = await keyfleet(['pool', '-t', '-c', fileOf('good.yml', 22_121)]);
    expect([good.code, good.stdout]).toEqual([0, expect.stringContaining('syntax is ok')]);
    const bad = await keyfleet(['pool', '-t', '-c', fileOf('bad.yml', 22_121, '  timeout: soon\n')]);
    expect(bad.code).not.toBe(0);
    expect(bad.stderr).toMatch(/KF_CONFIG: .*bad\.yml:6:\d+: pool alpha: timeout/);
    expect((await keyfleet(['pool', '-D'])).stdout).toContain('server_timedout');
    expect((await keyfleet(['pool', '--workers', 'many', '-c', join(dir, 'good.yml')])).stderr).toContain('KF_USAGE');
  });

  test('serves with two workers, reports what both did, takes SIGHUP, ends on SIGTERM', async () => {
    const port = await freePort();
    const statsPort = await freePort();
    const file = fileOf('two.yml', port);
    const pidFile = join(dir, 'pool.pid');
    const pool = new KeyfleetProcess([
      'pool',
      '-c',
      file,
      '-s',
      String(statsPort),
      '-i',
      '60000',
      '--workers',
      '2',
      '-p',
      pidFile,
      '-m',
      '16384',
    ]);
    try {
      await until(async () => (pool.stdout.includes('with 2 workers') ? true : undefined), 'two workers');
      expect(readFileSync(pidFile, 'utf8').trim()).toBe(String(pool.child.pid));
      const clients = await Promise.all(Array.from({ length: 8 }, () => RespClient.connect({ port })));
      for (const [i, client] of clients.entries()) expect(await client.call('SET', `w${i}`, String(i))).toBe('+OK');
      const workers = new Set(
        await Promise.all(clients.map((client) => client.call('INFO', 'server').then((info) => /process_id:(\d+)/.exec(String(info))![1]))),
      );
      expect(workers.size).toBe(2);
      const json = JSON.parse(await readAll(statsPort)) as Record<string, Record<string, Record<string, number>>>;
      const sent = servers.map((server) => json['alpha']![`127.0.0.1:${server.port}`]!['requests']!);
      expect(sent.reduce((sum, one) => sum + one, 0)).toBe(8);
      const metrics = await readAll(statsPort, 'GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n');
      expect(metrics).toContain('keyfleet_pool_commands_total{pool="alpha",command="set"} 8');
      expect(metrics).toMatch(/keyfleet_pool_latency_seconds_count\{pool="alpha",command="set"\} 8/);
      // Gathered every -i milliseconds, as by nutcracker: what came since is not in it yet.
      await clients[0]!.call('GET', 'w0');
      expect(JSON.parse(await readAll(statsPort))).toEqual(expect.objectContaining({ alpha: json['alpha'] }));
      fileOf('two.yml', port, '  timeout: 1234\n');
      pool.child.kill('SIGHUP');
      await until(async () => (pool.stderr.match(/reloaded/g)?.length === 2 ? true : undefined), 'a reload in both workers');
      expect(await clients[0]!.call('GET', 'w0')).toBe('0');
      // Other servers are not taken: keys would have to move.
      writeFileSync(file, readFileSync(file, 'utf8').replace(`   - ${servers[2]!.address}:1\n`, '   - 127.0.0.1:1:2 other\n'));
      pool.child.kill('SIGHUP');
      await until(async () => (pool.stderr.includes('KF_POOL_PLAN') ? true : undefined), 'a refusal');
      expect(pool.stderr).toContain("`keyfleet pool add '127.0.0.1:1:2 other'`");
      expect(pool.stderr).toContain(`\`keyfleet pool remove ${servers[2]!.address}\``);
      expect(await clients[0]!.call('GET', 'w0')).toBe('0');
      for (const client of clients) client.close();
    } finally {
      expect((await pool.kill('SIGTERM')).code).toBe(0);
    }
    expect(existsSync(pidFile)).toBe(false);
  }, 60_000);

  test.runIf(hasNutcracker)(
    'puts every key where nutcracker puts it, with the same file',
    async () => {
      const [port, nutcrackerPort, nutcrackerStats] = [await freePort(), await freePort(), await freePort()];
      const weights = (name: string, listen: number): string => {
        const path = fileOf(name, listen, '  hash_tag: "{}"\n');
        writeFileSync(path, readFileSync(path, 'utf8').replace(`:${servers[1]!.port}:1`, `:${servers[1]!.port}:3 second`));
        return path;
      };
      const nutcracker = spawn(
        'nutcracker',
        ['-c', weights('n.yml', nutcrackerPort), '-s', String(nutcrackerStats), '-o', join(dir, 'n.log')],
        { stdio: 'ignore' },
      );
      const pool = new KeyfleetProcess(['pool', '-c', weights('k.yml', port), '-s', '0']);
      try {
        const theirs = await until(() => RespClient.connect({ port: nutcrackerPort }), 'nutcracker');
        const ours = await until(() => RespClient.connect({ port }), 'keyfleet pool');
        const keys = Array.from({ length: 300 }, (_, i) => (i % 3 === 0 ? `{user${i % 7}}:${i}` : `key-${i}-${i * i}`));
        for (const key of keys) expect(await theirs.call('SET', key, `v${key}`)).toBe('+OK');
        for (const key of keys) expect(await ours.call('GET', key)).toBe(`v${key}`);
        expect(await ours.call('DEL', ...keys)).toBe(keys.length);
        theirs.close();
        ours.close();
      } finally {
        nutcracker.kill('SIGKILL');
        await pool.kill('SIGTERM');
      }
    },
    60_000,
  );
});
