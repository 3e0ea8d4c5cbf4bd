import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { createPool, type PoolAdmin, startPoolAdmin } from '../../src/pool/index.ts';
import { POOL_DEFAULTS } from '../../src/pool/pool-config.ts';
import { parsePoolsFile } from '../../src/pool/pools-file.ts';
import { hasOpenssl, makeCertificates } from './certificates.ts';
import { freePort, hasRedis, RedisServer } from './redis-servers.ts';

// How the mover and the library are let in: TLS with certificates, a user with no more rights than docs/pool-rebalancing.md says, unix sockets, another database.

const PASSWORD = 'a secret: with "signs"';
const RIGHTS =
  '~* &* +@read +@write +@connection +@scripting -@dangerous +restore +info +time +client|list +client|kill +memory|usage +config|get +config|set +replicaof +psync +replconf'.split(
    ' ',
  );
const KEYS = 600;

describe.runIf(hasRedis && hasOpenssl)('moves over doors that are locked', () => {
  const dir = mkdtempSync(join(tmpdir(), 'keyfleet-access-'));
  const file = (name: string): string => join(dir, name);
  const servers: RedisServer[] = [];
  const tlsPorts: number[] = [];
  let admin: PoolAdmin | undefined;

  beforeAll(async () => {
    makeCertificates(dir, 'ca', ['server', 'client']);
    for (let i = 0; i < 4; i++) {
      tlsPorts.push(await freePort());
      const tls = ['--tls-port', String(tlsPorts[i]), '--tls-cert-file', file('server.pem'), '--tls-key-file', file('server.key')];
      const more = ['--tls-ca-cert-file', file('ca.pem'), '--unixsocket', file(`redis${i}.sock`), '--repl-diskless-sync-delay', '0'];
      const server = await RedisServer.start([...tls, ...more]);
      servers.push(server);
      // This connection stays who it is; nobody else comes in without the password.
      await server.client.request('ACL', 'SETUSER', 'mover', 'on', `>${PASSWORD}`, ...RIGHTS);
      await server.client.request('CONFIG', 'SET', 'requirepass', 'of nobody here');
    }
  }, 60_000);
  afterAll(async () => {
    await admin?.close();
    for (const server of servers) await server.stop();
    rmSync(dir, { recursive: true, force: true });
  });

  test.each(['TLS', 'unix sockets'] as const)(
    'servers join and leave over %s, as a user of few rights, in database 3',
    async (door) => {
      const tls = `  tls: { ca: ${file('ca.pem')}, cert: ${file('client.pem')}, key: ${file('client.key')} }\n`;
      const at = (i: number): string => (door === 'TLS' ? `127.0.0.1:${tlsPorts[i]}` : file(`redis${i}.sock`));
      const listed = [0, 1].map((i) => `    - ${at(i)}:1 s${i}\n`).join('');
      const text = `p:\n  redis: true\n  distribution: slots\n  username: mover\n  redis_auth: ${JSON.stringify(PASSWORD)}\n  redis_db: 3\n${door === 'TLS' ? tls : ''}  servers:\n${listed}`;
      const config = parsePoolsFile(text, 'pools.yml').pools[0]!;
      admin = await startPoolAdmin({ config, dir: file(door) });
      const ask = async <T>(path: string, body: object): Promise<T> =>
        (await (await fetch(`${admin!.url}/v1/${path}`, { method: 'POST', body: JSON.stringify(body) })).json()) as T;
      const pool = createPool({ ...config, control: { url: admin.url } });
      const verified = async (): Promise<object> => (await ask<{ report: object }>('verify', { waitMs: 60_000 })).report;
      try {
        await pool.mset(Array.from({ length: KEYS }, (_, i) => [`key:${i}`, `value ${i}`]));
        expect(await ask('change', { action: 'add', server: `${at(2)}:1 s2` })).toHaveProperty('moves');
        await admin.engine.settled();
        expect(await ask('change', { action: 'remove', server: 's0' })).toHaveProperty('moves');
        await admin.engine.settled();
        expect(await verified()).toMatchObject({ keys: KEYS, misplacedCount: 0 });
        const whole = await ask<{ error?: { message: string } }>('servers/move', { server: 's1', address: at(3) });
        if (door === 'TLS') {
          await admin.whole.settled();
          expect(admin.whole.status).toMatchObject({ step: 'done', error: undefined });
        } else expect(whole.error?.message).toContain('is a unix socket, which no server can follow');
        expect(await verified()).toMatchObject({ keys: KEYS, misplacedCount: 0 });
        const values = await pool.mget(Array.from({ length: KEYS }, (_, i) => `key:${i}`));
        expect(values.findIndex((value, i) => value !== `value ${i}`)).toBe(-1);
        // All of it in database 3, which INFO counts.
        expect(String(await servers[2]!.client.request('INFO', 'keyspace'))).toMatch(/# Keyspace\s+db3:/);
        // Empty again for the other door.
        for (const server of servers) await server.client.request('FLUSHALL').catch(() => undefined);
        await servers[1]!.client.request('CONFIG', 'SET', 'min-replicas-to-write', '0');
        for (const server of servers) await server.client.request('FLUSHALL');
      } finally {
        pool.close();
        await admin.close();
        admin = undefined;
      }
    },
    60_000,
  );

  test('a library that the owner does not take hears why at once, and not after its patience', async () => {
    const servers = [{ name: 's0', address: { host: '127.0.0.1', port: 1 }, weight: 1 }];
    const config = { name: 'p', redis: true, ...POOL_DEFAULTS, servers };
    admin = await startPoolAdmin({ config, dir: file('owner'), password: 'of the owner' });
    for (const [pool, code] of [
      [createPool({ ...config, control: { url: admin.url, password: 'another' } }), 'KF_UNAUTHORIZED'],
      [createPool({ ...config, name: 'q', control: { url: admin.url, password: 'of the owner' } }), 'KF_POOL_MAP'],
    ] as const) {
      await expect(pool.get('key')).rejects.toMatchObject({ code });
      pool.close();
    }
    await admin.close();
    admin = undefined;
  });

  test("a wrong password is said in the server's words", async () => {
    const text = `p:\n  redis: true\n  username: mover\n  redis_auth: wrong\n  servers:\n    - 127.0.0.1:${servers[0]!.port}:1 s0\n`;
    admin = await startPoolAdmin({ config: parsePoolsFile(text, 'pools.yml').pools[0]!, dir: file('wrong') });
    const response = await fetch(`${admin.url}/v1/change`, {
      method: 'POST',
      body: JSON.stringify({ action: 'add', server: `127.0.0.1:${servers[1]!.port}:1 s1` }),
    });
    expect(await response.json()).toMatchObject({ error: { code: 'KF_POOL_SERVER_LOST', message: expect.stringContaining('WRONGPASS') } });
  });
});
