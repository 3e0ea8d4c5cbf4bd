import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import chbl from '../../test/vectors/chbl_buraksezer.json' with { type: 'json' };
import keyspaceCrate from '../../test/vectors/keyspace_rust.json' with { type: 'json' };
import multiProbe from '../../test/vectors/multiprobe_dgryski.json' with { type: 'json' };
import groupcache from '../../test/vectors/ring_groupcache.json' with { type: 'json' };
import stathat from '../../test/vectors/ring_stathat.json' with { type: 'json' };
import { boundedPartitions } from './bounded-partitions.ts';
import { groupcacheRing, stathatRing } from './go-rings.ts';
import { hashHex } from './hash/own-hashers.ts';
import { siphash24, siphash24With } from './hash/siphash.ts';
import { keyspaceCrateShard, keyspaceCrateTable } from './keyspace-crate.ts';
import { MultiProbe } from './multi-probe.ts';
import type { PartitionNode } from './node.ts';

const named = (prefix: string, count: number): PartitionNode[] => Array.from({ length: count }, (_, i) => ({ id: `${prefix}${i}` }));

describe('agreement with Go rings', () => {
  test('groupcache', () => {
    for (const one of groupcache.cases) {
      const ring = groupcacheRing(named('peer', one.nodes), one.replicas);
      expect(groupcache.keys.map((key) => ring.owner(key).id)).toEqual(one.owner);
    }
  });

  test('stathat, the first three', () => {
    for (const one of stathat.cases) {
      const ring = stathatRing(named('cache', one.nodes));
      expect(stathat.keys.map((key) => ring.replicas(key, 3).map((node) => node.id))).toEqual(one.top3);
    }
  });

  test('go-mpchash', () => {
    for (const one of multiProbe.cases) {
      const placed = new MultiProbe(named('node', one.nodes), { hasher: siphash24 });
      expect(multiProbe.keys.map((key) => placed.owner(key).id)).toEqual(one.owner);
    }
  });

  test('buraksezer/consistent, before and after a member comes and goes', () => {
    const hasher = siphash24With(Uint8Array.of(1, 0, 0, 0, 0, 0, 0, 0, 2, 0, 0, 0, 0, 0, 0, 0));
    for (const one of chbl.cases) {
      const options = { partitionCount: one.partitions, pointsPerNode: one.replication, factor: one.load, hasher };
      const nodes = named('node', one.members);
      const ids = (list: readonly PartitionNode[]): string[] => boundedPartitions(list, options).map((node) => node.id);
      expect(ids(nodes)).toEqual(one.owners);
      const more = [...nodes, { id: 'extra' }];
      expect(ids(more)).toEqual(one.owners_after_add_extra);
      expect(ids(more.filter((node) => node.id !== 'node1'))).toEqual(one.owners_after_remove_node1);
    }
  });
});

describe('agreement with the Rust crate keyspace', () => {
  test.each(keyspaceCrate.cases)('$n nodes, capacities $capacities', (one) => {
    const nodes = one.capacities.map((weight, i): PartitionNode => ({ id: `node${i}`, weight }));
    const table = keyspaceCrateTable(nodes, one.rf);
    const replicas = (shard: number): number[] => Array.from(table.subarray(shard * one.rf, (shard + 1) * one.rf));
    expect(one.shards_head.map((_, shard) => replicas(shard))).toEqual(one.shards_head);
    expect(hashHex('fnv1a_64', Uint8Array.from(table))).toBe(one.all_shards_fnv1a64_of_node_index_bytes);
    expect(one.key_replicas.map((_, i) => replicas(keyspaceCrateShard(`key${i}`)))).toEqual(one.key_replicas);

    const grown = keyspaceCrateTable([...nodes, { id: one.add_node.id, weight: one.add_node.capacity }], one.rf);
    const pulls: [number, number, number[]][] = [];
    for (let i = 0; i < grown.length; i++)
      if (grown[i] === nodes.length) pulls.push([Math.floor(i / one.rf), nodes.length, replicas(Math.floor(i / one.rf))]);
    expect(pulls).toHaveLength(one.add_node.intervals);
    expect(pulls.slice(0, 200)).toEqual(one.add_node['first_200_[shard,target,old_replicas]']);
  });

  test('is refused fewer nodes than replicas: KF_NO_NODES', () => {
    expect(() => keyspaceCrateTable(named('n', 2), 3)).toThrow(expect.objectContaining({ code: 'KF_NO_NODES' }));
  });
});

describe('multi-probe hashing', () => {
  const keys = Array.from({ length: 1_500 }, (_, i) => `key:${i}`);

  test('moves keys only to a node that joins, and back when it leaves', () => {
    fc.assert(
      fc.property(fc.uniqueArray(fc.integer({ min: 0, max: 999 }), { minLength: 2, maxLength: 25 }), ([first, ...numbers]) => {
        const newcomer: PartitionNode = { id: `n${first}` };
        const placed = new MultiProbe(numbers.map((n): PartitionNode => ({ id: `n${n}` })));
        const before = keys.map((key) => placed.owner(key));
        placed.add(newcomer);
        keys.forEach((key, i) => {
          const owner = placed.owner(key);
          if (owner !== before[i]) expect(owner).toBe(newcomer);
        });
        placed.remove(newcomer.id);
        expect(keys.map((key) => placed.owner(key))).toEqual(before);
      }),
      { numRuns: 10 },
    );
  });

  test('is more even than a ring of one point a node could be', () => {
    const placed = new MultiProbe(named('node', 50));
    const counts = new Map<string, number>();
    for (let i = 0; i < 50_000; i++) counts.set(placed.owner(`u${i}`).id, (counts.get(placed.owner(`u${i}`).id) ?? 0) + 1);
    expect(counts.size).toBe(50);
    expect(Math.max(...counts.values())).toBeLessThan(1_250);
  });

  test('gives distinct replicas, the owner first', () => {
    const placed = new MultiProbe(named('node', 12));
    for (const key of keys.slice(0, 200)) {
      const replicas = placed.replicas(key, 5);
      expect(replicas[0]).toBe(placed.owner(key));
      expect(new Set(replicas).size).toBe(5);
    }
    expect(placed.replicas('x', 99)).toHaveLength(12);
  });

  test('is refused weights and impossible probes', () => {
    expect(() => new MultiProbe([{ id: 'a' }, { id: 'b', weight: 2 }])).toThrow(expect.objectContaining({ code: 'KF_BAD_WEIGHT' }));
    for (const probes of [0, 256, 1.5])
      expect(() => new MultiProbe([], { probes })).toThrow(expect.objectContaining({ code: 'KF_BAD_OPTION' }));
    expect(() => new MultiProbe().owner('x')).toThrow(expect.objectContaining({ code: 'KF_NO_NODES' }));
  });
});

test('bounded partitions are bounded', () => {
  fc.assert(
    fc.property(
      fc.integer({ min: 1, max: 20 }),
      fc.integer({ min: 1, max: 300 }),
      fc.constantFrom(1, 1.1, 1.25, 2),
      (count, partitionCount, factor) => {
        const owners = boundedPartitions(named('n', count), { partitionCount, factor });
        const held = new Map<string, number>();
        for (const { id } of owners) held.set(id, (held.get(id) ?? 0) + 1);
        expect(Math.max(...held.values())).toBeLessThanOrEqual(Math.ceil((partitionCount / count) * factor));
      },
    ),
    { numRuns: 50 },
  );
  expect(() => boundedPartitions(named('n', 2), { factor: 0.9 })).toThrow(expect.objectContaining({ code: 'KF_BAD_OPTION' }));
});
