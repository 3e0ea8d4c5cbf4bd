import { mkdtempSync, readFileSync, rmSync, statSync } from 'node:fs';

import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { connect as connectTls } from 'node:tls';
import { Redis } from 'ioredis';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { Backend } from '../../src/pool/backend.ts';
import { parsePoolsFile } from '../../src/pool/pools-file.ts';
import { startProxy } from '../../src/pool/proxy/proxy.ts';
import { RespClient } from '../resp/resp-client.ts';
import { hasOpenssl, makeCertificates } from './certificates.ts';
import { freePort, hasRedis, RedisServer } from './redis-servers.ts';

const PASSWORD = 'a secret: with "signs"';

describe.runIf(hasRedis && hasOpenssl)('a pool over TLS and unix sockets, with a password and a database', () => {
  const dir = mkdtempSync(join(tmpdir(), 'keyfleet-tls-'));
  const file = (name: string): string => join(dir, name);
  const pem = (name: string): Buffer => readFileSync(file(name));
  const servers: RedisServer[] = [];
  const tlsPorts: number[] = [];
  const keys = Array.from({ length: 30 }, (_, i) => `key:${i}`);

  beforeAll(async () => {
    makeCertificates(dir, 'ca', ['server', 'client']);
    makeCertificates(dir, 'stranger', ['strange']);
    for (let i = 0; i < 2; i++) {
      tlsPorts.push(await freePort());
      const tls = ['--tls-port', String(tlsPorts[i]), '--tls-cert-file', file('server.pem'), '--tls-key-file', file('server.key')];
      const more = ['--tls-ca-cert-file', file('ca.pem'), '--tls-auth-clients', 'yes', '--unixsocket', file(`redis${i}.sock`)];
      servers.push(await RedisServer.start([...tls, ...more]));
      await servers[i]!.client.request('CONFIG', 'SET', 'requirepass', PASSWORD);
    }
  }, 60_000);
  afterAll(async () => {
    for (const server of servers) await server.stop();
    rmSync(dir, { recursive: true, force: true });
  });

  function pool(lines: readonly string[], addresses: readonly string[]) {
    const settings = [`redis: true`, `redis_auth: ${JSON.stringify(PASSWORD)}`, 'redis_db: 3', ...lines].map((line) => `  ${line}\n`);
    const listed = addresses.map((address, i) => `    - ${address}:1 server${i}\n`);
    return parsePoolsFile(`alpha:\n${settings.join('')}  servers:\n${listed.join('')}`, 'pools.yml').pools[0]!;
  }

  /** How many of the keys lie in the third database of each server, asked without TLS. */
  async function counts(): Promise<number[]> {
    return Promise.all(
      servers.map(async ({ port }) => {
        const straight = new Backend({ name: 'straight', address: { host: '127.0.0.1', port }, auth: PASSWORD, db: 3 });
        const size = Number(await straight.request('DBSIZE'));
        straight.close();
        return size;
      }),
    );
  }

  const listenTls = [
    `listen: 127.0.0.1:1`,
    `listen_tls: { cert: ${file('server.pem')}, key: ${file('server.key')}, ca: ${file('ca.pem')} }`,
  ];
  const backendTls = (ca: string): string => `tls: { ca: ${file(ca)}, cert: ${file('client.pem')}, key: ${file('client.key')} }`;
  const anyPort = { listen: { host: '127.0.0.1', port: 0 } };

  test('encrypts both sides, asks clients for certificates, and finds its database', async () => {
    const config = pool(
      [...listenTls, backendTls('ca.pem')],
      tlsPorts.map((port) => `127.0.0.1:${port}`),
    );
    const proxy = await startProxy({ pools: [{ ...config, ...anyPort }] });
    const { port } = proxy.addresses.get('alpha')!;
    const tls = { ca: pem('ca.pem'), cert: pem('client.pem'), key: pem('client.key') };
    const redis = new Redis({ host: '127.0.0.1', port, password: PASSWORD, tls });
    try {
      await redis.mset(...keys.flatMap((key) => [key, `v${key}`]));
      expect(await redis.mget(...keys)).toEqual(keys.map((key) => `v${key}`));
      const large = 'x'.repeat(3_000_000);
      await redis.set('large', large);
      expect(await redis.get('large')).toBe(large);
      expect(await redis.multi().incr('n').incr('n').exec()).toEqual([
        [null, 1],
        [null, 2],
      ]);
      const found = await counts();
      expect(found.every((count) => count > 0)).toBe(true);
      expect(found[0]! + found[1]!).toBe(keys.length + 2);
      // Nobody comes in without a certificate, or in plain text; the others go on.
      const refused = await new Promise<string>((resolve) => {
        const socket = connectTls({ host: '127.0.0.1', port, ca: tls.ca });
        socket.on('error', (error) => resolve(error.message));
        socket.on('close', () => resolve('closed'));
        socket.on('secureConnect', () => socket.write('PING\r\n'));
        socket.on('data', (chunk) => resolve(`answered ${String(chunk)}`));
      });
      expect(refused).not.toContain('answered');
      const plain = await RespClient.connect({ port });
      plain.raw('PING\r\n');
      expect(await plain.closed()).toBe(true);
      expect(await redis.get(keys[0]!)).toBe(`v${keys[0]}`);
    } finally {
      redis.disconnect();
      await proxy.close({ graceMs: 100 });
    }
  }, 30_000);

  test('trusts only servers whose certificate it can check, and says so', async () => {
    const addresses = tlsPorts.map((port) => `127.0.0.1:${port}`);
    const config = { ...pool(['listen: 127.0.0.1:1', backendTls('stranger.pem')], addresses), ...anyPort };
    const proxy = await startProxy({ pools: [config] });
    const client = await RespClient.connect({ port: proxy.addresses.get('alpha')!.port });
    await client.call('AUTH', PASSWORD);
    expect(await client.call('GET', 'a')).toMatch(/^-ERR server\d: .*certificate.*\(KF_BACKEND_REFUSED\)/);
    client.close();
    await proxy.close({ graceMs: 100 });
    const missing = { ...config, tls: { ...config.tls!, ca: file('nowhere.pem') } };
    const other = await startProxy({ pools: [missing] });
    const asking = await RespClient.connect({ port: other.addresses.get('alpha')!.port });
    await asking.call('AUTH', PASSWORD);
    expect(await asking.call('GET', 'a')).toMatch(/^-ERR server\d: .*ENOENT.*nowhere\.pem.*\(KF_BACKEND_REFUSED\)/);
    asking.close();
    await other.close({ graceMs: 100 });
  }, 30_000);

  test('speaks over unix sockets on both sides, with the mode that was asked for', async () => {
    const path = file('pool.sock');
    const config = pool(
      [`listen: ${path} 600`],
      servers.map((_, i) => file(`redis${i}.sock`)),
    );
    const proxy = await startProxy({ pools: [config] });
    try {
      expect(statSync(path).mode & 0o777).toBe(0o600);
      const client = await RespClient.connect({ path });
      expect(await client.call('GET', 'a')).toMatch(/^-NOAUTH/);
      expect(await client.call('AUTH', PASSWORD)).toBe('+OK');
      expect(await client.call('FLUSHALL')).toBe('+OK');
      expect(await client.call('MSET', ...keys.flatMap((key) => [key, 'v']))).toBe('+OK');
      expect((await counts()).reduce((sum, count) => sum + count, 0)).toBe(keys.length);
      expect(await client.call('DEL', ...keys)).toBe(keys.length);
      client.close();
    } finally {
      await proxy.close({ graceMs: 100 });
    }
  }, 30_000);
});
