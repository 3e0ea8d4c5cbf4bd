import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { Prng } from '../../src/base/prng.ts';
import { KeyfleetProcess } from '../cli/keyfleet-process.ts';
import { RespClient, request } from '../resp/resp-client.ts';
import { freePort, hasRedis, type RedisServer, startRedisServers } from './redis-servers.ts';

const SEED = Number(process.env['KEYFLEET_FUZZ_SEED'] ?? 4211);
const CASES = Number(process.env['KEYFLEET_FUZZ_CASES'] ?? 400);
const CLIENTS = 5_000;

/** Soft and hard limit of open files of this process, which a child has too. */
function mostFiles(): number {
  const line = /^Max open files\s+\d+\s+(\S+)/m.exec(readFileSync('/proc/self/limits', 'utf8'));
  return line?.[1] === 'unlimited' ? Number.POSITIVE_INFINITY : Number(line?.[1] ?? 0);
}

describe.runIf(hasRedis && process.platform === 'linux')('a proxy and those who come to it', () => {
  let servers: RedisServer[];
  let pool: KeyfleetProcess;
  let port: number;
  let dir: string;
  beforeAll(async () => {
    servers = await startRedisServers(2);
    dir = mkdtempSync(join(tmpdir(), 'keyfleet-crowd-'));
    port = await freePort();
    const lines = servers.map(({ address }) => `   - ${address}:1\n`).join('');
    const file = join(dir, 'pools.yml');
    writeFileSync(file, `alpha:\n  listen: 127.0.0.1:${port}\n  backlog: 4096\n  redis: true\n  servers:\n${lines}`);
    pool = new KeyfleetProcess(['pool', '-c', file, '-s', '0']);
    for (let i = 0; i < 400 && !pool.stdout.includes('serving'); i++) await sleep(50);
  }, 60_000);
  afterAll(async () => {
    await pool.kill('SIGTERM');
    for (const server of servers) await server.stop();
    rmSync(dir, { recursive: true, force: true });
  }, 30_000);

  const connect = (): Promise<RespClient> => RespClient.connect({ port });

  /** Memory of the proxy that is not shared, in MiB. */
  function memoryMib(): number {
    return Number(/VmRSS:\s+(\d+)/.exec(readFileSync(`/proc/${pool.child.pid}/status`, 'utf8'))![1]) / 1_024;
  }

  test.runIf(mostFiles() > CLIENTS + 500)(
    `serves ${CLIENTS} clients at once, each its own answers, with bounded memory`,
    async () => {
      const clients: RespClient[] = [];
      try {
        for (let i = 0; i < CLIENTS; i += 250) clients.push(...(await Promise.all(Array.from({ length: 250 }, connect))));
        for (let round = 0; round < 2; round++) {
          for (const [i, client] of clients.entries()) {
            client.send('SET', `crowd:${i}`, `${round}:${i}`);
            client.send('GET', `crowd:${i}`);
          }
          for (const [i, client] of clients.entries()) {
            expect(await client.shown()).toBe('+OK');
            expect(await client.shown()).toBe(`${round}:${i}`);
          }
        }
        expect(await clients[0]!.call('INFO', 'clients')).toContain(`connected_clients:${CLIENTS}`);
        expect(memoryMib()).toBeLessThan(512);
      } finally {
        for (const client of clients) client.close();
      }
      const after = await connect();
      let left = '';
      for (let i = 0; i < 200 && !left.includes('connected_clients:1\r'); i++) {
        await sleep(50);
        left = String(await after.call('INFO', 'clients'));
      }
      expect(left).toContain('connected_clients:1\r');
      after.close();
    },
    60_000,
  );

  test(`answers whatever ${CASES} strangers say, and goes on (seed ${SEED})`, async () => {
    const prng = new Prng(SEED);
    const below = (count: number): number => prng.u32() % count;
    const good = await connect();
    await good.call('SET', 'known', 'value');
    const words = ['GET', 'SET', 'MGET', 'EVAL', 'MULTI', 'EXEC', 'XREAD', 'HELLO', 'CLIENT', 'SCAN', 'WATCH', 'known', '0', '-1', '3'];
    const sizes = ['0', '-1', '-2', '1', '007', '65', '1048577', '999999999', '4294967297', '99999999999999999999', '', 'x', '1e3', ' 1'];
    const pick = (list: readonly string[]): string => list[below(list.length)]!;
    const noise = (length: number): Buffer => Buffer.from(Array.from({ length }, () => below(256)));
    const whole = (): Buffer => Buffer.from(request(...Array.from({ length: 1 + below(5) }, () => pick(words))));
    const kinds: readonly (() => Buffer)[] = [
      () => noise(1 + below(300)),
      () => Buffer.from(`*${pick(sizes)}\r\n$${pick(sizes)}\r\n${pick(words)}\r\n`),
      () => Buffer.from(`*2\r\n$3\r\nGET\r\n$${pick(sizes)}\r\n${'y'.repeat(below(200))}`),
      () => whole().subarray(0, -1 - below(4)),
      () => {
        const bytes = Buffer.concat([whole(), whole()]);
        bytes[below(bytes.length)] = below(256);
        return bytes;
      },
      () => Buffer.from(`${pick(words)} "${pick(words)}\r\n${'z'.repeat(below(70_000))}`),
      () => Buffer.concat([whole(), noise(below(20)), whole()]),
    ];
    for (let turn = 0; turn < CASES; turn++) {
      const stranger = await connect();
      const bytes = kinds[below(kinds.length)]!();
      const shown = `case ${turn}: ${JSON.stringify(bytes.toString('latin1').slice(0, 100))}`;
      // What comes before the nonsense is answered, in pieces or at once.
      stranger.raw(request('GET', 'known'));
      const cut = below(bytes.length + 1);
      stranger.raw(bytes.subarray(0, cut));
      if (below(2) === 0) await sleep(0);
      stranger.raw(bytes.subarray(cut));
      expect(await stranger.shown(), shown).toBe('value');
      if (below(3) === 0) stranger.socket.end();
      if (turn % 10 === 0) expect(await good.call('GET', 'known'), shown).toBe('value');
      if (stranger.waiting > 0) {
        const said = await stranger.shown();
        if (typeof said === 'string' && said.startsWith('-')) expect(said, shown).toMatch(/^-[A-Z]+ ./);
      }
      stranger.close();
    }
    expect(pool.child.exitCode).toBe(null);
    expect(await good.call('GET', 'known')).toBe('value');
    expect(pool.stderr).not.toMatch(/TypeError|RangeError|assert/i);
    expect(memoryMib()).toBeLessThan(512);
    good.close();
  }, 60_000);

  test('promises of huge requests cost nothing before they are kept', async () => {
    const before = memoryMib();
    const strangers = await Promise.all(Array.from({ length: 50 }, connect));
    for (const stranger of strangers) stranger.raw('*1048576\r\n$536870912\r\nabc');
    const over = await connect();
    over.raw('*2\r\n$3\r\nGET\r\n$536870913\r\n');
    expect(await over.shown()).toBe('-ERR Protocol error: invalid bulk length');
    expect(await over.closed()).toBe(true);
    const good = await connect();
    expect(await good.call('PING')).toBe('+PONG');
    expect(memoryMib() - before).toBeLessThan(200);
    for (const one of [...strangers, good]) one.close();
  });
});
