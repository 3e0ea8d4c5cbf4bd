import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { MoveCoordinator, routerName } from '../../src/pool/moves/move-coordinator.ts';
import { ServerLink, textOf } from '../../src/pool/moves/move-link.ts';
import { POOL_DEFAULTS, type PoolConfig } from '../../src/pool/pool-config.ts';
import { PoolMap } from '../../src/pool/pool-map.ts';
import { hasRedis, RedisServer } from './redis-servers.ts';

describe.runIf(hasRedis)('a router that is fenced out', () => {
  let server: RedisServer;
  let map: PoolMap;
  beforeAll(async () => {
    server = await RedisServer.start();
    const listed = [{ name: 'a', address: { host: '127.0.0.1', port: server.port }, weight: 1 }];
    const config: PoolConfig = { name: 'p', redis: true, ...POOL_DEFAULTS, distribution: 'slots', servers: listed };
    map = PoolMap.of(config);
  });
  afterAll(() => server.stop());

  const address = (): { host: string; port: number } => ({ host: '127.0.0.1', port: server.port });

  test('has its connections ended before the next barrier passes, however long their server stalls', async () => {
    const coordinator = new MoveCoordinator(map, { addressOf: address, leaseMs: 100, serverPatienceMs: 300 });
    const old = new ServerLink(address(), { name: routerName('old') });
    const other = new ServerLink(address());
    const isThere = async (): Promise<boolean> => textOf(await other.call(['CLIENT', 'LIST'])).includes(routerName('old'));
    await old.call(['PING']);
    expect(await isThere()).toBe(true);
    coordinator.renew('old', 0);
    server.signal('SIGSTOP');
    await expect(coordinator.publish(map.atEpoch(2))).rejects.toMatchObject({ code: 'KF_POOL_SERVER_LOST', retryable: true });
    // It is no member any more, and is not forgotten for that.
    expect(coordinator.routers).toEqual([]);
    server.signal('SIGCONT');
    expect(await isThere()).toBe(true);
    await coordinator.publish(map.atEpoch(3));
    expect(await isThere()).toBe(false);
    old.close();
    other.close();
  });

  test('does not hold up a barrier for a server that is dead', async () => {
    const coordinator = new MoveCoordinator(map, { addressOf: address, leaseMs: 100 });
    coordinator.renew('gone', 0);
    await server.kill();
    await coordinator.publish(map.atEpoch(2));
    expect(coordinator.routers).toEqual([]);
    await server.start();
  });
});
