import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import redisSlots from '../../test/vectors/redis_keyslot.json' with { type: 'json' };
import routing from '../../test/vectors/twemproxy_routing.json' with { type: 'json' };
import { fromHex } from '../base/bytes.ts';
import { DISTRIBUTIONS, POOL_DEFAULTS, type PoolConfig, parseServer } from './pool-config.ts';
import { PoolMap } from './pool-map.ts';

function pool(servers: readonly string[], settings: Partial<PoolConfig> = {}): PoolConfig {
  return { ...POOL_DEFAULTS, name: 'p', redis: true, servers: servers.map((text) => parseServer(text)!), ...settings };
}

const four = ['a:1:1', 'b:1:1', 'c:1:1', 'd:1:1'];
const keys = Array.from({ length: 2_000 }, (_, i) => `user:${i}`);

describe('keys go where nutcracker 0.5.0 sends them', () => {
  test.each(routing.pools)('$pool', (one) => {
    const servers = one.servers.map(({ name, weight }) => ({ name, weight, address: { host: 'x', port: 1 } }));
    const map = PoolMap.of(
      pool([], {
        servers,
        hash: one.hash,
        distribution: one.distribution as 'ketama' | 'modula',
        ...(one.hash_tag ? { hashTag: one.hash_tag } : {}),
      }),
    );
    expect(routing.keys_hex.map((hex) => map.ownerOf(map.slotOf(fromHex(hex)!)))).toEqual(one.server_index);
    const stored = PoolMap.fromJson(
      JSON.parse(JSON.stringify(map.toJson())),
      pool([], { servers, hash: one.hash, ...(one.hash_tag ? { hashTag: one.hash_tag } : {}) }),
    );
    expect(routing.keys_hex.map((hex) => stored.ownerOf(stored.slotOf(fromHex(hex)!)))).toEqual(one.server_index);
  });
});

test('modula numbers servers as nutcracker does: by length of name, then by name, not as they are listed', () => {
  const map = PoolMap.of(pool(['a:1:1 longer', 'b:1:1 z', 'c:1:2 a'], { distribution: 'modula' }));
  expect([0, 1, 2, 3].map((slot) => map.servers[map.ownerOf(slot)]!.name)).toEqual(['a', 'a', 'z', 'longer']);
});

describe('the slots of Redis Cluster', () => {
  test('are those of CLUSTER KEYSLOT, in equal runs', () => {
    const map = PoolMap.of(pool(four, { distribution: 'slots' }));
    for (const { key_hex, slot } of redisSlots.rows) expect(map.slotOf(fromHex(key_hex)!)).toBe(slot);
    expect([0, 1, 2, 3].map((server) => map.slotsOf(server).length)).toEqual([4096, 4096, 4096, 4096]);
    expect(map.slotsOf(1)[0]).toBe(4096);
  });
});

describe('every distribution', () => {
  const settings = (distribution: (typeof DISTRIBUTIONS)[number]): Partial<PoolConfig> => ({
    distribution,
    ...(distribution === 'ranges' && {
      rangeBy: 'number' as const,
      ranges: [{ server: 'a:1' }, { from: 500, server: 'b:1' }, { from: 1_000, server: 'c:1' }, { from: 1_500, server: 'd:1' }],
    }),
  });

  test.each(DISTRIBUTIONS.filter((name) => name !== 'random'))('%s uses all servers and survives being stored', (distribution) => {
    const config = pool(four, settings(distribution));
    const map = PoolMap.of(config);
    const owners = keys.map((key) => map.ownerOf(map.slotOf(key)));
    for (const server of [0, 1, 2, 3]) expect(owners.filter((owner) => owner === server).length).toBeGreaterThan(200);
    const stored = PoolMap.fromJson(JSON.parse(JSON.stringify(map.toJson())), config);
    expect(keys.map((key) => stored.ownerOf(stored.slotOf(key)))).toEqual(owners);
    expect(keys.map((key) => map.serverOf(Buffer.from(key)).name)).toEqual(owners.map((owner) => config.servers[owner]!.name));
  });

  test('ranges of numbers send users 0 to 9999 to one server', () => {
    const map = PoolMap.of(
      pool(['a:1:1 R0', 'b:1:1 R1'], {
        distribution: 'ranges',
        rangeBy: 'number',
        ranges: [{ server: 'R0' }, { from: 10_000, server: 'R1' }],
      }),
    );
    expect(['user:0', 'user:9999:name', 'user:10000', 'x', '70000:y'].map((key) => map.serverOf(key).name)).toEqual([
      'R0',
      'R0',
      'R1',
      'R0',
      'R1',
    ]);
  });

  test.each(['ketama', 'modula', 'slots', 'rendezvous'] as const)(
    '%s: refined for a further server, nothing has moved yet',
    (distribution) => {
      const before = PoolMap.of(pool(four, settings(distribution)));
      const after = PoolMap.of(pool([...four, 'e:1:2'], settings(distribution)));
      const refined = before.refinedFor(after);
      const goal = after.refinedFor(before);
      expect(refined.slotCount).toBe(goal.slotCount);
      for (const key of keys) {
        expect(refined.slotOf(key)).toBe(goal.slotOf(key));
        expect(refined.serverOf(key)).toBe(before.serverOf(key));
        expect(goal.serverOf(key)).toBe(after.serverOf(key));
      }
    },
  );
});

describe('a slot on the move', () => {
  const map = PoolMap.of(pool(four, { distribution: 'slots' }));
  const move = { id: 'm1', from: 0, to: 3, mode: 'guarded' as const };

  test('is marked, stays with its owner, and then is the other one’s', () => {
    const moving = map.withMove(move, [5, 6, 9]);
    expect([moving.epoch, moving.moveOf(5), moving.moveOf(7), moving.ownerOf(5)]).toEqual([2, move, undefined, 0]);
    expect(moving.slotsOfMove('m1')).toEqual([5, 6, 9]);
    const done = moving.withoutMove('m1', true);
    expect([done.ownerOf(5), done.ownerOf(7), done.hasMoves, done.epoch]).toEqual([3, 0, false, 3]);
    expect(moving.withoutMove('m1', false).ownerOf(5)).toBe(0);
    expect(map.moveOf(5)).toBeUndefined();
  });

  test('is refused when another move has it, or it is elsewhere: KF_POOL_MAP', () => {
    const moving = map.withMove(move, [5]);
    expect(() => moving.withMove({ ...move, id: 'm2' }, [5])).toThrow(expect.objectContaining({ code: 'KF_POOL_MAP' }));
    expect(() => map.withMove(move, [5_000])).toThrow(expect.objectContaining({ code: 'KF_POOL_MAP' }));
  });

  test('any moves survive being stored, with the others still theirs when one ends', () => {
    fc.assert(
      fc.property(fc.uniqueArray(fc.integer({ min: 0, max: 4_095 }), { minLength: 2, maxLength: 50 }), (slots) => {
        const half = slots.length >> 1;
        const moving = map
          .withMove(move, slots.slice(0, half))
          .withMove({ ...move, id: 'm2', to: 2, mode: 'planned' as const }, slots.slice(half));
        const stored = PoolMap.fromJson(JSON.parse(JSON.stringify(moving.toJson())), pool(four, { distribution: 'slots' }));
        expect(stored.toJson()).toEqual(moving.toJson());
        const rest = stored.withoutMove('m1', true);
        expect(rest.slotsOfMove('m2')).toEqual(slots.slice(half).sort((a, b) => a - b));
        expect(rest.moveOf(slots[half]!)?.to).toBe(2);
      }),
      { numRuns: 50 },
    );
  });
});
