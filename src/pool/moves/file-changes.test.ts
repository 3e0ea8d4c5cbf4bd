import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { type KeyRangeConfig, POOL_DEFAULTS, type PoolConfig, parseServer } from '../pool-config.ts';
import { PoolMap } from '../pool-map.ts';
import { changeCommands, checkAddresses, isThere, takeable, untaken, withChanges } from './file-changes.ts';
import { planChange } from './move-plan.ts';

const listed = (...texts: string[]) => texts.map((text) => parseServer(text)!);
const config = (settings: Partial<PoolConfig> = {}): PoolConfig => ({
  name: 'p',
  redis: true,
  ...POOL_DEFAULTS,
  servers: listed('a:1:1', 'b:1:1'),
  ...settings,
});

describe('what has changed among the servers of a file', () => {
  test('is brought to the pool as it runs, and nothing else is', () => {
    // Meanwhile c has joined by command, and b has been given another weight; the file knows of neither.
    const now = listed('a:1:1', 'b:1:5', 'c:1:1');
    const before = listed('a:1:1', 'b:1:1');
    expect(withChanges(now, before, listed('a:1:1', 'b:1:1', 'd:1:1'))).toEqual(listed('a:1:1', 'b:1:5', 'c:1:1', 'd:1:1'));
    expect(withChanges(now, before, listed('a:1:2'))).toEqual(listed('a:1:2', 'c:1:1'));
    expect(withChanges(now, before, listed('a:1:1', 'b:1:1', 'c:1:1'))).toEqual(now);
  });

  test('property: a pool that went by its file alone becomes what the file says', () => {
    const servers = fc
      .uniqueArray(fc.record({ name: fc.constantFrom('a', 'b', 'c', 'd', 'e'), weight: fc.integer({ min: 1, max: 3 }) }), {
        selector: ({ name }) => name,
        minLength: 1,
      })
      .map((some) => listed(...some.map(({ name, weight }) => `${name}:1:${weight}`)));
    fc.assert(
      fc.property(servers, servers, (before, after) => {
        const byName = (list: typeof before): string[] => list.map((server) => JSON.stringify(server)).sort();
        expect(byName(withChanges(before, before, after))).toEqual(byName(after));
        // Asked for a second time, by another process that reads the same file, it changes nothing more.
        expect(withChanges(withChanges(before, before, after), before, after)).toEqual(withChanges(before, before, after));
      }),
      { seed: 4_211, numRuns: 300 },
    );
  });

  test('is refused when a server is to have another address, with the command that brings it there', () => {
    expect(() => checkAddresses(listed('a:1:1 x'), listed('b:1:1 x'))).toThrow(/`keyfleet pool move x b:1`/);
    expect(() => checkAddresses(listed('a:1:1 x'), listed('a:1:3 x', 'b:1:1 y'))).not.toThrow();
  });

  test('can be said as commands', () => {
    expect(changeCommands(listed('a:1:1', 'b:1:1 x', 'c:1:1'), listed('a:1:2', 'd:1:1 x', 'e:1:1 y'))).toEqual([
      'keyfleet pool reweight a:1 2',
      'keyfleet pool move x d:1',
      "keyfleet pool add 'e:1:1 y'",
      'keyfleet pool remove c:1',
    ]);
  });
});

test('settings that say where keys lie, and those of the start, stay as they were', () => {
  const before = config({ timeoutMs: 100, listen: { host: 'x', port: 1 } });
  const { timeoutMs: _, ...rest } = config({
    hash: 'murmur',
    hashTag: '{}',
    listen: { host: 'x', port: 2 },
    auth: 'new',
    servers: listed('z:1:1'),
  });
  expect(untaken(before, rest)).toEqual({ placement: ['hash', 'hash_tag'], atStart: ['listen'] });
  expect(takeable(before, rest)).toEqual({ ...before, timeoutMs: undefined, auth: 'new' });
});

describe('ranges that go to other servers', () => {
  const ranges: KeyRangeConfig[] = [{ server: 'a:1' }, { from: 100, server: 'b:1' }];
  const pool = config({ distribution: 'ranges', rangeBy: 'number', ranges });
  const map = PoolMap.of(pool);
  const ownerOf = (one: PoolMap, key: string): string => one.serverOf(key).name;

  test('move what changes hands, in ranges as fine as both lists need', () => {
    const wanted: KeyRangeConfig[] = [{ server: 'a:1' }, { from: 50, server: 'c:1' }, { from: 150, server: 'b:1' }];
    const servers = listed('a:1:1', 'b:1:1', 'c:1:1');
    const plan = planChange(map, pool, servers, 'finer', wanted);
    expect(plan.moves.map(({ from, to }) => `${from} ${to}`)).toEqual(['a:1 c:1', 'b:1 c:1']);
    for (const [key, before, after] of [
      ['user:7', 'a:1', 'a:1'],
      ['user:50', 'a:1', 'c:1'],
      ['user:149', 'b:1', 'c:1'],
      ['user:150', 'b:1', 'b:1'],
    ] as const)
      expect([ownerOf(plan.start, key), ownerOf(plan.target, key)]).toEqual([before, after]);
    expect(isThere(plan.target.withServersByName(servers), pool, { servers, ranges: wanted })).toBe(true);
    expect(isThere(map, pool, { servers, ranges: wanted })).toBe(false);
    expect(isThere(map, pool, { servers: pool.servers, ranges })).toBe(true);
  });

  test('let a server leave that has none, and no other', () => {
    expect(() => planChange(map, pool, listed('a:1:1'), 'gone')).toThrow(/b:1 has ranges: .*`keyfleet pool apply FILE`/);
    const plan = planChange(map, pool, listed('a:1:1'), 'merged', [{ server: 'a:1' }]);
    expect(plan.moves).toMatchObject([{ from: 'b:1', to: 'a:1', slotCount: 1 }]);
    const idle = planChange(map, pool, listed('a:1:1', 'b:1:1', 'c:1:1'), 'joins');
    expect(idle.moves).toEqual([]);
    expect(planChange(idle.start, pool, pool.servers, 'leaves').moves).toEqual([]);
  });
});
