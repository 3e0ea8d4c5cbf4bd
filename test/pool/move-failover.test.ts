import { setTimeout as sleep } from 'node:timers/promises';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { COMMIT_SCRIPT, PUT_SCRIPT } from '../../src/pool/moves/guard-scripts.ts';
import { textOf } from '../../src/pool/moves/move-link.ts';
import { asked, KEYS, keysAt, keysOn, OneMove, SLOW } from './one-move.ts';
import { hasRedis, type RedisServer } from './redis-servers.ts';
import type { TestRouter } from './test-router.ts';

// Servers that fail over to a replica inside a move, at the moments that matter and with replicas that have missed what matters.

let pool: OneMove;
beforeEach(async () => {
  if (hasRedis) pool = await OneMove.open();
});
afterEach(async () => {
  await pool?.close();
});

describe.runIf(hasRedis)('a server that fails over to its replica inside a move', () => {
  async function replicate(place: number): Promise<RedisServer> {
    const replica = pool.servers[2]!;
    await replica.client.request('REPLICAOF', '127.0.0.1', pool.servers[place]!.port);
    await pool.until(
      async () => /slave0:.*state=online/.test(String(await pool.servers[place]!.client.request('INFO', 'replication'))),
      'a replica',
    );
    return replica;
  }

  /** A slow walk over keys of which some have moved; the server at `place` has a replica. */
  async function walking(place: number): Promise<{ readonly router: TestRouter; readonly replica: RedisServer }> {
    const [router] = await pool.start(SLOW);
    const replica = await replicate(place);
    await pool.move();
    await pool.until(() => pool.engine.status().keysMoved > 30, 'a walk');
    return { router: router!, replica };
  }

  /** The walk goes on, and the replica hears nothing of what leaves the source from here on. */
  async function goesOnUnheard(replica: RedisServer): Promise<void> {
    await replica.client.request('REPLICAOF', 'NO', 'ONE');
    const known = pool.engine.status().keysMoved;
    await pool.until(() => pool.engine.status().keysMoved > known + 60, 'a walk that goes on');
  }

  /** The move runs to its end, as fast as it can. */
  async function ended(): Promise<void> {
    pool.engine.pace.limits = {};
    await pool.engine.settled();
  }

  async function failOver(place: number): Promise<void> {
    await pool.servers[place]!.kill();
    await pool.servers[2]!.client.request('REPLICAOF', 'NO', 'ONE');
    pool.proxies[place]!.failOver(pool.servers[2]!.port);
    pool.servers = pool.servers.with(place, pool.servers[2]!).with(2, pool.servers[place]!);
  }

  test('as the target: nothing leaves the source before the replica has it', async () => {
    const { router, replica } = await walking(1);
    // A replica that confirms nothing: keys stay where they are, and their writers go on.
    replica.signal('SIGSTOP');
    await pool.until(() => pool.engine.status().trouble !== undefined, 'trouble');
    expect(pool.engine.status().trouble).toMatch(/KF_POOL_SERVER_LOST: 0 of 1 replicas of .* confirm/);
    const before = await keysOn(pool.servers[0]!);
    const [stays] = await keysAt(pool.servers[0]!);
    expect(textOf(await router.call('SET', [stays!], [`value ${stays!.slice(6)}`]))).toBe('OK');
    expect(await keysOn(pool.servers[0]!)).toBeGreaterThan(before - 10);
    replica.signal('SIGCONT');
    await pool.until(() => pool.engine.status().trouble === undefined, 'a replica that is back');
    await pool.until(async () => (await keysOn(pool.servers[0]!)) < before - 30, 'a walk that goes on');
    expect(pool.engine.status().state).toBe('running');
    await failOver(1);
    await ended();
    await pool.expectArrived(router);
  }, 90_000);

  test('as the source: what had left it does not come back', async () => {
    const { router, replica } = await walking(0);
    await goesOnUnheard(replica);
    const moved = await keysAt(pool.servers[1]!);
    await Promise.all(moved.map((key) => router.call('SET', [key], [`value ${key.slice(6)}`])));
    const gone = moved.slice(0, 20);
    await Promise.all(gone.map((key) => router.call('DEL', [key])));
    expect(pool.engine.status().state).toBe('running');
    expect(await replica.client.request('EXISTS', ...moved)).toBeGreaterThan(20);
    await failOver(0);
    await ended();
    expect(await asked(router, 'EXISTS', gone, 'read')).toEqual(gone.map(() => '0'));
    await Promise.all(gone.map((key) => router.call('SET', [key], [`value ${key.slice(6)}`])));
    await pool.expectArrived(router);
  }, 90_000);

  test('as the source, while nothing is on the wire: the walk does not go on there as if it were the same server', async () => {
    const { router, replica } = await walking(0);
    await goesOnUnheard(replica);
    await pool.engine.pause();
    // Batches that were under way end.
    for (let before = -1; before !== pool.engine.status().keysMoved; await sleep(100)) before = pool.engine.status().keysMoved;
    const moved = await keysAt(pool.servers[1]!);
    expect(moved.length).toBeLessThan(KEYS);
    await Promise.all(moved.map((key) => router.call('SET', [key], ['written since'])));
    pool.engine.pace.limits = {};
    // Right after the mover has seen that the source is still the one it knows.
    await new Promise<void>((resolve) => {
      pool.proxies[0]!.plan = {
        change: (chunk) => {
          if (chunk.includes('SCRIPT')) setTimeout(resolve, 50);
          return chunk;
        },
      };
    });
    pool.proxies[0]!.failOver(replica.port);
    await pool.engine.resume();
    await pool.engine.settled();
    expect(await asked(router, 'GET', moved, 'read')).toEqual(moved.map(() => 'written since'));
    expect(await replica.client.request('KEYS', '*')).toEqual([]);
  }, 90_000);

  test('as the source, with a replica that has not heard of a deletion: what was written at the target since is what counts', async () => {
    const { router, replica } = await walking(0);
    await pool.engine.pause();
    await replica.client.request('REPLICAOF', 'NO', 'ONE');
    const keys = await keysAt(pool.servers[0]!);
    await Promise.all(keys.map((key) => router.call('DEL', [key])));
    await Promise.all(keys.map((key) => router.call('SET', [key], ['written since'])));
    await failOver(0);
    expect(await asked(router, 'GET', keys, 'read')).toEqual(keys.map(() => 'written since'));
    await pool.engine.resume();
    await ended();
    expect(await asked(router, 'GET', keys, 'read')).toEqual(keys.map(() => 'written since'));
  }, 90_000);

  test('as the source, before keys that were copied had left it: the copies are not found again when the keys are deleted', async () => {
    const { router, replica } = await walking(0);
    await replica.client.request('REPLICAOF', 'NO', 'ONE');
    // The target gets a batch, but the mover never hears so.
    await new Promise<void>((resolve) => {
      pool.proxies[1]!.plan = {
        cuts: (chunk) => {
          if (!chunk.includes(PUT_SCRIPT.sha)) return false;
          pool.proxies[1]!.plan = {};
          resolve();
          return true;
        },
      };
    });
    const paused = pool.engine.pause();
    await failOver(0);
    await paused;
    const keys = Array.from({ length: KEYS }, (_, i) => `still:${i}`);
    await asked(router, 'DEL', keys, 'write');
    expect(await asked(router, 'EXISTS', keys, 'read')).toEqual(keys.map(() => '0'));
    await pool.engine.resume();
    await pool.engine.settled();
  }, 90_000);

  test('as the source, after keys that were on their way had to stay: what was written to them there is kept', async () => {
    const { router, replica } = await walking(0);
    let fenced: () => void = () => {};
    const late = new Promise<void>((resolve) => {
      fenced = resolve;
    });
    // A batch is written down as leaving, and stays: its last step comes after a new token, and the target has no room when it is done again.
    let isCut = false;
    pool.proxies[0]!.plan = {
      cuts: (chunk) => {
        if (isCut || !chunk.includes(COMMIT_SCRIPT.sha)) return false;
        isCut = true;
        return true;
      },
      late: () => late,
    };
    await pool.until(() => isCut, 'a batch that is cut');
    await pool.servers[1]!.client.request('CONFIG', 'SET', 'maxmemory', '1');
    await expect(pool.engine.settled()).rejects.toMatchObject({ code: 'KF_POOL_PUT_REFUSED' });
    fenced();
    const keys = await keysAt(pool.servers[0]!);
    // Nobody waits for keys that do not move.
    expect(await pool.servers[0]!.client.request('KEYS', '__kf:busy:*')).toEqual([]);
    await Promise.all(keys.map((key) => router.call('SET', [key], ['written since'])));
    await pool.servers[0]!.client.request('WAIT', 1, 5_000);
    await failOver(0);
    await pool.servers[1]!.client.request('CONFIG', 'SET', 'maxmemory', '0');
    await pool.engine.resume();
    await ended();
    expect(await asked(router, 'GET', keys, 'read')).toEqual(keys.map(() => 'written since'));
    expect(replica.port).toBe(pool.servers[0]!.port);
  }, 90_000);

  test('as the source, of a move that is being cancelled: it turns round when the replica knows what has left', async () => {
    const { router, replica } = await walking(0);
    replica.signal('SIGSTOP');
    const gone = (await keysAt(pool.servers[1]!)).slice(0, 20);
    await Promise.all(gone.map((key) => router.call('DEL', [key])));
    await pool.engine.cancel();
    await pool.until(() => pool.engine.status().trouble !== undefined, 'trouble');
    expect(pool.engine.status().trouble).toMatch(/KF_POOL_SERVER_LOST: 0 of 1 replicas of .* confirm what has left it/);
    expect(pool.engine.map.moves.map(({ mode }) => mode)).toEqual(['guarded']);
    replica.signal('SIGCONT');
    await pool.until(() => pool.engine.map.moves.some(({ mode }) => mode === 'returning'), 'a move that returns');
    await failOver(0);
    await pool.engine.settled();
    expect(pool.engine.map.servers.map(({ name }) => name)).toEqual(['s0']);
    expect(await asked(router, 'EXISTS', gone, 'read')).toEqual(gone.map(() => '0'));
    expect(await keysOn(pool.servers[0]!)).toBe(KEYS - gone.length);
    expect(await keysOn(pool.servers[1]!)).toBe(0);
  }, 90_000);

  test('as the source, when all has moved: nothing is left on what took over', async () => {
    let takeOver: (() => void) | undefined;
    const [router] = await pool.start({
      onEvent: (event) => {
        if (event.kind === 'step' && event.step === 'after published') takeOver?.();
      },
    });
    const replica = await replicate(0);
    await replica.client.request('REPLICAOF', 'NO', 'ONE');
    expect(await keysOn(replica)).toBe(KEYS);
    takeOver = () => {
      pool.servers[0]!.signal('SIGKILL');
      pool.proxies[0]!.failOver(replica.port);
    };
    await pool.move();
    await pool.engine.settled();
    expect(await keysOn(replica)).toBe(0);
    await pool.expectArrived(router!);
  }, 90_000);
});
