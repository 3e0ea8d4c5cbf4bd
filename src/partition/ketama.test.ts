import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import npmHashring from '../../test/vectors/hashring_npm.json' with { type: 'json' };
import goKetama from '../../test/vectors/ketama_go.json' with { type: 'json' };
import libmemcached from '../../test/vectors/libmemcached_routing.json' with { type: 'json' };
import hashes from '../../test/vectors/twemproxy_hashkit.json' with { type: 'json' };
import routing from '../../test/vectors/twemproxy_routing.json' with { type: 'json' };
import { fromHex, utf8 } from '../base/bytes.ts';
import { type HashkitName, hashkit } from './hash/hashkit.ts';
import { sha1 } from './hash/noble.ts';
import { Ketama } from './ketama.ts';
import type { HashRingCompat, KetamaDialect, KetamaOptions } from './ketama-dialect.ts';
import { Modulo } from './modulo.ts';
import type { PartitionNode } from './node.ts';

describe("twemproxy's key hashes", () => {
  test.each(hashes.columns.slice(1).map((name, i) => ({ name, column: i + 1 })))('$name', ({ name, column }) => {
    const hash = hashkit(name as HashkitName);
    for (const row of hashes.rows) expect([row[0], hash(fromHex(row[0] as string)!)]).toEqual([row[0], row[column]]);
  });
});

describe('keys go where nutcracker 0.5.0 sends them', () => {
  test.each(routing.pools)('$pool', (pool) => {
    const nodes = pool.servers.map(({ name, weight }) => ({ id: name, weight }));
    const options = { dialect: 'twemproxy' as const, hash: pool.hash as HashkitName, ...(pool.hash_tag ? { hashTag: pool.hash_tag } : {}) };
    const placed = pool.distribution === 'ketama' ? new Ketama(nodes, options) : new Modulo(nodes, options);
    const got = routing.keys_hex.map((hex) => nodes.indexOf(placed.owner(fromHex(hex)!)));
    expect(got).toEqual(pool.server_index);
  });
});

describe('keys go where libmemcached 1.1.4 sends them', () => {
  const servers = ['10.0.0.1:11211', '10.0.0.2:11211', '10.0.0.3:11212', 'cache-d:11211', 'cache-e:22122'];
  const HASHES: Readonly<Record<string, HashkitName>> = { 'default(one_at_a_time)': 'one_at_a_time', crc: 'crc32' };
  const DIALECTS: Readonly<Record<string, KetamaDialect>> = {
    consistent: 'libmemcached',
    ketama: 'libmemcached',
    ketama_weighted: 'libmemcached-weighted',
    ketama_weighted_equal: 'libmemcached-weighted',
    ketama_spy: 'libmemcached-spy',
  };

  test.each(libmemcached.cases)('$distribution, $hash', (one) => {
    const nodes = servers.map((id, i) => ({ id, weight: one.distribution === 'ketama_weighted' ? i + 1 : 1 }));
    const hash = HASHES[one.hash] ?? (one.hash as HashkitName);
    const dialect = DIALECTS[one.distribution];
    const placed = dialect ? new Ketama(nodes, { dialect, hash }) : new Modulo(nodes, { dialect: 'libmemcached', hash });
    expect(libmemcached.keys.map((key) => nodes.indexOf(placed.owner(key)))).toEqual(one.server_index);
  });
});

describe('keys go where go-ketama sends them', () => {
  test.each(goKetama.cases)('$mode, $weights', ({ weights, owner }) => {
    const nodes = weights.map((weight, i) => ({ id: `server${i}`, weight }));
    const ring = new Ketama(nodes, { dialect: 'go-ketama' });
    expect(goKetama.keys.map((key) => ring.owner(key).id)).toEqual(owner);
  });
});

describe('keys go where npm hashring 3.2 sends them', () => {
  const plain = npmHashring.servers.map((id): PartitionNode => ({ id }));
  const weighted = npmHashring.servers.map((id, i): PartitionNode => ({ id, weight: i + 1 }));
  const build = (nodes: readonly PartitionNode[], hashring: HashRingCompat<PartitionNode> = {}) =>
    new Ketama(nodes, { dialect: 'hashring', hashring });
  const CASES: Readonly<Record<string, () => Ketama>> = {
    'md5 default': () => build(plain),
    sha1: () => build(plain, { hasher: sha1 }),
    weights: () => build(weighted),
    vnodes: () => build(plain, { virtualNodesOf: (node) => 50 * (plain.indexOf(node) + 1) }),
    'hash_ring compat': () => build(plain, { pointsPerDigest: 3 }),
    replicas1: () => build(plain, { virtualNodes: 100, pointsPerDigest: 1 }),
    'after add+remove': () => {
      const ring = build(plain);
      ring.add({ id: 'new:1' });
      ring.remove(plain[1]!.id);
      return ring;
    },
  };

  test.each(npmHashring.cases)('$name', ({ name, owner, range3 }) => {
    const ring = CASES[name]!();
    expect(npmHashring.keys.map((key) => ring.owner(key).id)).toEqual(owner);
    expect(range3.map((_, i) => ring.replicas(`key:${i}`, 3).map((node) => node.id))).toEqual(range3);
  });
});

describe('a hash tag', () => {
  test('decides alone, in twemproxy only with something in it', () => {
    const nodes = Array.from({ length: 7 }, (_, i) => ({ id: `s${i}` }));
    const ring = new Ketama(nodes, { hashTag: '{}' });
    expect(ring.hashOf('a{user}b')).toBe(ring.hashOf('user'));
    expect(ring.hashOf('a{}b')).not.toBe(ring.hashOf(''));
    expect(() => new Ketama(nodes, { hashTag: '{' })).toThrow(expect.objectContaining({ code: 'KF_BAD_OPTION' }));
  });
});

describe('changing a ketama ring', () => {
  const options: KetamaOptions<PartitionNode> = { dialect: 'twemproxy', hash: 'murmur' };
  const some = fc.uniqueArray(fc.integer({ min: 0, max: 999 }), { minLength: 2, maxLength: 12 });
  const keys = Array.from({ length: 2_000 }, (_, i) => `key:${i}`);

  test('moves about the share it says, and with equal weights only to the new server', () => {
    fc.assert(
      fc.property(some, (numbers) => {
        const nodes = numbers.map((n): PartitionNode => ({ id: `server-${n}` }));
        const ring = new Ketama(nodes.slice(1), options);
        const before = keys.map((key) => ring.owner(key).id);
        const { movedShare } = ring.add(nodes[0]!);
        const after = keys.map((key) => ring.owner(key).id);
        const moved = keys.filter((_, i) => before[i] !== after[i]).length;
        expect(after.filter((id, i) => id !== before[i] && id !== nodes[0]!.id)).toEqual([]);
        expect(Math.abs(moved / keys.length - movedShare)).toBeLessThan(0.06);
        expect(ring.remove(nodes[0]!.id).movedShare).toBeCloseTo(movedShare, 9);
        expect(keys.map((key) => ring.owner(key).id)).toEqual(before);
      }),
      { numRuns: 10 },
    );
  });

  test('is refused whole: nothing changes', () => {
    const ring = new Ketama<PartitionNode>([{ id: 'a' }], options);
    expect(() => ring.add({ id: 'a' })).toThrow(expect.objectContaining({ code: 'KF_DUPLICATE_NODE' }));
    expect(() => ring.add({ id: 'b', weight: -1 })).toThrow(expect.objectContaining({ code: 'KF_BAD_WEIGHT' }));
    expect(() => ring.remove('c')).toThrow(expect.objectContaining({ code: 'KF_UNKNOWN_NODE' }));
    expect(() => ring.remove('a')).toThrow(expect.objectContaining({ code: 'KF_NO_NODES' }));
    expect(() => ring.replicas('x', 0)).toThrow(expect.objectContaining({ code: 'KF_BAD_REPLICA_COUNT' }));
    expect(() => new Ketama().owner('x')).toThrow(expect.objectContaining({ code: 'KF_NO_NODES' }));
    expect(ring.nodes).toEqual([{ id: 'a' }]);
    expect(ring.owner('x').id).toBe('a');
  });

  test('gives a string and its bytes one owner, and distinct replicas', () => {
    const ring = new Ketama(
      Array.from({ length: 9 }, (_, i) => ({ id: `s${i}` })),
      options,
    );
    fc.assert(
      fc.property(fc.string({ unit: 'binary' }), (key) => {
        expect(ring.owner(utf8(key))).toBe(ring.owner(key));
        const replicas = ring.replicas(key, 4);
        expect(replicas[0]).toBe(ring.owner(key));
        expect(new Set(replicas).size).toBe(4);
      }),
    );
  });
});

describe('modulo', () => {
  test('moves nearly everything when the size changes, and says so', () => {
    const placed = new Modulo<PartitionNode>(Array.from({ length: 9 }, (_, i) => ({ id: `s${i}` })));
    expect(placed.add({ id: 's9' }).movedShare).toBeCloseTo(0.9, 9);
    expect(() => placed.add({ id: 'x', weight: 1.5 })).toThrow(expect.objectContaining({ code: 'KF_BAD_WEIGHT' }));
  });
});
