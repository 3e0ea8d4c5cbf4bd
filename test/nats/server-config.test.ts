import { type ChildProcess, spawn } from 'node:child_process';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { jetstreamManager } from '@nats-io/jetstream';
import { connect } from '@nats-io/transport-node';
import { afterAll, beforeEach, describe, expect, test } from 'vitest';
import { freePorts } from '../../src/cli/up/free-port.ts';
import { checkNatsConfig, findNatsServer, type NatsBinary } from '../../src/nats/find-server.ts';
import { isOlder, natsRisks, OLDEST_SYNCING_SERVER } from '../../src/nats/server-check.ts';
import {
  canSpread,
  monitorUrls,
  NATS_USER,
  type NatsClusterPlan,
  type NatsServerPlace,
  natsServerConfig,
  natsUrls,
} from '../../src/nats/server-config.ts';
import { canTakeStreams } from '../../src/nats/server-health.ts';
import { streamConfig } from '../../src/nats/stream-config.ts';
import { NATS_SERVERS, waitFor } from './nats-servers.ts';

const dir = mkdtempSync(join(tmpdir(), 'keyfleet-nats-config-'));
afterAll(() => rmSync(dir, { recursive: true, force: true }));

const place = (number: number, change: Partial<NatsServerPlace> = {}): NatsServerPlace => ({
  name: `s${number}`,
  host: `10.0.0.${number}`,
  clientPort: 4222,
  routePort: 6222,
  monitorPort: 8222,
  zone: `z${number}`,
  storeDir: join(dir, 'stores', `s${number}`),
  ...change,
});
const places = (count: number, change?: Partial<NatsServerPlace>): NatsServerPlace[] =>
  Array.from({ length: count }, (_, i) => place(i + 1, change));

/** Everything but the addresses that differs between plans. */
const PLANS: readonly [string, Partial<NatsClusterPlan>][] = [
  ['without a password', {}],
  ['with a password of all kinds of characters', { password: `a"b\\c'$d#{}[]:,;/@%20~` }],
  ['with sizes', { maxPayloadBytes: 8 * 1024 * 1024, maxStoreBytes: 200 * 1024 ** 3, password: 'long enough'.replace(' ', '-') }],
];

for (const { name, binary: path, isHere } of NATS_SERVERS)
  describe.runIf(isHere)(`configuration for ${name}`, () => {
    let binary: NatsBinary;
    beforeEach(async () => {
      binary = await findNatsServer({ path });
    });

    test.each(PLANS)(
      'every file of 1, 3 and 5 servers is one that it takes: %s',
      async (_, change) => {
        for (const servers of [
          places(1),
          places(3),
          places(5),
          places(3, { zone: 'one' }),
          places(3).map((one) => ({ ...one, host: `${one.name}.example` })),
          places(3).map((one) => ({ ...one, host: `fd00::${one.name.slice(1)}` })),
        ]) {
          const plan: NatsClusterPlan = { name: 'logs', servers, version: binary.version, ...change };
          for (const [index, server] of servers.entries()) {
            const file = join(dir, `${server.name}.conf`);
            writeFileSync(file, natsServerConfig(plan, index));
            await checkNatsConfig(binary, file);
          }
        }
      },
      60_000,
    );

    test('three servers run by it: a log of three copies, nobody in without the password', async () => {
      const ports = await freePorts(9);
      const servers = places(3).map((one, i) => ({
        ...one,
        host: '127.0.0.1',
        clientPort: ports[i]!,
        routePort: ports[3 + i]!,
        monitorPort: ports[6 + i]!,
        // Of its own: one version cannot take over from another so.
        storeDir: join(dir, binary.version, one.name),
      }));
      const plan: NatsClusterPlan = { name: 'logs', servers, password: 'p@ss/word:1', version: binary.version };
      const children: ChildProcess[] = [];
      try {
        for (const [index, server] of servers.entries()) {
          const file = join(dir, `${server.name}.conf`);
          writeFileSync(file, natsServerConfig(plan, index));
          children.push(spawn(path, ['-c', file], { stdio: 'ignore' }));
        }
        const login = { servers: natsUrls(plan), user: NATS_USER, pass: plan.password! };
        await waitFor('servers that can take streams', async () =>
          (await Promise.all(monitorUrls(plan).map((url) => canTakeStreams(url)))).every(Boolean),
        );
        await expect(connect({ ...login, pass: 'another' })).rejects.toThrow();
        await expect(connect({ servers: natsUrls(plan) })).rejects.toThrow();
        const connection = await connect(login);
        const manager = await jetstreamManager(connection);
        await waitFor('a stream of three copies', async () => {
          const { cluster } = await manager.streams.add(streamConfig({ name: 'log', replicas: 3 }));
          return cluster?.replicas?.length === 2;
        });
        const risks = await natsRisks(connection, { monitors: monitorUrls(plan) });
        if (isOlder(binary.version, OLDEST_SYNCING_SERVER)) expect(risks.join()).toContain('cannot sync every write');
        else expect(risks).toEqual([]);
        await connection.close();
      } finally {
        await Promise.all(
          children.map((child) => {
            const ended = new Promise((resolve) => child.once('exit', resolve));
            child.kill('SIGKILL');
            return ended;
          }),
        );
      }
    }, 60_000);
  });

describe('a configuration of nats-servers', () => {
  const plan = (change: Partial<NatsClusterPlan>): NatsClusterPlan => ({ name: 'logs', servers: places(3), ...change });

  test('syncs every write where the server can, and says what is at risk where it cannot', () => {
    expect(natsServerConfig(plan({}), 0)).toMatch(/^ {2}sync_interval: always$/m);
    expect(natsServerConfig(plan({ version: '2.10.0' }), 0)).toMatch(/^ {2}sync_interval: always$/m);
    expect(natsServerConfig(plan({ version: '2.9.10' }), 0)).not.toMatch(/^ {2}sync_interval/m);
    expect(natsServerConfig(plan({ version: '2.9.10' }), 0)).toContain('cannot sync every write');
  });

  test('asks for different zones when there are enough of them, since otherwise no log could be made', () => {
    const two = plan({ servers: [place(1, { zone: 'a' }), place(2, { zone: 'a' }), place(3, { zone: 'b' })] });
    expect(canSpread(plan({}))).toBe(true);
    expect(canSpread(two)).toBe(false);
    expect(natsServerConfig(plan({}), 0)).toMatch(/^ {2}unique_tag: "zone:"$/m);
    expect(natsServerConfig(two, 0)).not.toMatch(/^ {2}unique_tag/m);
  });

  test('names each server all as routes, itself too: it expects so many when it comes back without its data', () => {
    const text = natsServerConfig(plan({}), 1);
    for (const host of ['10.0.0.1', '10.0.0.2', '10.0.0.3']) expect(text).toContain(`nats://${host}:6222`);
  });

  test('tells the routes another password than the clients', () => {
    const password = 'secret-of-clients';
    const routes = natsServerConfig(plan({ password }), 0)
      .split('\n')
      .filter((line) => line.includes('nats://') || line.includes('authorization'));
    expect(routes).toHaveLength(4);
    expect(routes.join()).not.toContain(password);
  });

  test.each<[string, Partial<NatsClusterPlan>]>([
    ['no server', { servers: [] }],
    ['two of one name', { servers: [place(1), place(2, { name: 's1' })] }],
    ['two at one address', { servers: [place(1), place(2, { host: '10.0.0.1' })] }],
    ['a name with a space', { servers: [place(1, { name: 'a b' })] }],
    ['a zone with a quote', { servers: [place(1, { zone: 'a"' })] }],
    ['a host with a path', { servers: [place(1, { host: 'a/b' })] }],
    ['a port beyond the last', { servers: [place(1, { monitorPort: 66_000 })] }],
    ['a cluster without a name', { name: '' }],
    ['a short password', { password: 'short' }],
    ['a password that is a hash', { password: '$2a$10$abcdefghijkl' }],
    ['a password of two lines', { password: 'long enough\nor not' }],
    ['messages of a gigabyte', { maxPayloadBytes: 1024 ** 3 }],
    ['hardly any store', { maxStoreBytes: 1024 }],
  ])('is refused with %s: KF_BAD_OPTION', (_, change) => {
    expect(() => natsServerConfig(plan(change), 0)).toThrow(expect.objectContaining({ code: 'KF_BAD_OPTION' }));
  });
});

describe('finding a nats-server', () => {
  const here = NATS_SERVERS.filter(({ isHere }) => isHere);

  test('takes the one that is named, by option or environment, and no other', async () => {
    for (const { binary } of here) {
      expect(await findNatsServer({ path: binary, env: {} })).toMatchObject({ path: binary });
      expect(await findNatsServer({ env: { KEYFLEET_NATS_SERVER: binary } })).toMatchObject({ path: binary });
    }
    await expect(findNatsServer({ path: join(dir, 'nothing') })).rejects.toMatchObject({ code: 'KF_USAGE' });
  });

  test('refuses a program that is something else', async () => {
    await expect(findNatsServer({ path: process.execPath })).rejects.toMatchObject({ code: 'KF_USAGE' });
  });

  test.runIf(here.length === 2)('prefers one that is safe to one that stands first on the path', async () => {
    const [recent, old] = here;
    const PATH = [join(old!.binary, '..'), join(recent!.binary, '..')].join(':');
    expect(await findNatsServer({ env: { PATH } })).toMatchObject({ path: recent!.binary });
  });
});
