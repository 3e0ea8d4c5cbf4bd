import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import goMaglev from '../../test/vectors/maglev_dgryski.json' with { type: 'json' };
import katran from '../../test/vectors/maglev_katran.json' with { type: 'json' };
import { hashHex } from './hash/own-hashers.ts';
import { Maglev } from './maglev.ts';
import { goMaglevTable, katranTable } from './maglev-table.ts';
import type { PartitionNode } from './node.ts';

describe('agreement with other implementations', () => {
  test('go-maglev, dead nodes included', () => {
    for (const one of goMaglev.tables) {
      const table = goMaglevTable(one.names, one.table_size, (one.dead ?? []) as number[]);
      const head = one.table ?? one.table_head!;
      expect(Array.from(table.subarray(0, head.length))).toEqual(head);
      expect(one.names.map((_, node) => table.filter((entry) => entry === node).length)).toEqual(one.counts);
      if (one.table_fnv1a64_of_u16le)
        expect(hashHex('fnv1a_64', new Uint8Array(Uint16Array.from(table).buffer))).toBe(one.table_fnv1a64_of_u16le);
    }
  });

  test('katran, both versions, weighted, by head, counts and checksum of the whole table', () => {
    for (const one of katran.cases) {
      const endpoints = one.weights.map((weight, i) => ({
        hash: [Number.parseInt(one.hash_hex[i]!.slice(0, 8), 16), Number.parseInt(one.hash_hex[i]!.slice(8), 16)] as const,
        weight,
      }));
      const table = katranTable(endpoints, one.M, one.version as 1 | 2);
      expect(Array.from(table.subarray(0, one.table_head.length))).toEqual(one.table_head);
      const counts = one.weights.map((_, node) => table.filter((entry) => entry === node).length);
      expect(counts).toEqual(one.counts);
      expect(hashHex('fnv1a_64', new Uint8Array(Uint16Array.from(table).buffer))).toBe(one.table_fnv1a64_of_u16le);
    }
  });
});

describe('maglev', () => {
  const someNodes = fc
    .uniqueArray(fc.tuple(fc.integer({ min: 0, max: 500 }), fc.constantFrom(1, 1, 2, 0.5, 3.25)), {
      selector: ([n]) => n,
      minLength: 2,
      maxLength: 12,
    })
    .map((list): PartitionNode[] => list.map(([n, weight]) => ({ id: `node-${n}`, weight })));
  const options = { tableSize: 2_503 };

  test('gives every node entries in proportion to its weight', () => {
    fc.assert(
      fc.property(someNodes, (nodes) => {
        const placed = new Maglev(nodes, options);
        const total = nodes.reduce((sum, node) => sum + node.weight!, 0);
        const table = placed.table;
        placed.nodes.forEach((node, index) => {
          const expected = (options.tableSize * node.weight!) / total;
          expect(Math.abs(table.filter((entry) => entry === index).length - expected)).toBeLessThan(1 + 1e-6);
        });
      }),
      { numRuns: 30 },
    );
    // One heavy node among many light ones: rounds of whole claims alone would leave it several entries above its share.
    const heavy = new Maglev(
      [{ id: 'big', weight: 3.25 }, ...Array.from({ length: 11 }, (_, i) => ({ id: `n${i}`, weight: 0.5 }))],
      options,
    );
    const entries = heavy.table.filter((entry) => heavy.nodes[entry]!.id === 'big').length;
    expect(Math.abs(entries - (options.tableSize * 3.25) / 8.75)).toBeLessThan(1);
  });

  test('fills the table at once whatever the weights', () => {
    const weights = [1e-300, 1e-9, 1, 1e300];
    const placed = new Maglev(
      weights.map((weight, i) => ({ id: `n${i}`, weight })),
      options,
    );
    expect(weights.map((_, i) => placed.table.filter((entry) => entry === i).length)).toEqual([0, 0, 0, options.tableSize]);
    expect(placed.replicas('key', 3).map(({ id }) => id)).toEqual(['n3', 'n0', 'n1']);
  });

  test('spreads replicas as evenly as owners', () => {
    const placed = new Maglev(Array.from({ length: 10 }, (_, i) => ({ id: `node-${i}` })));
    const held = new Map<string, number>();
    for (let key = 0; key < 30_000; key++) for (const { id } of placed.replicas(`user:${key}`, 3)) held.set(id, (held.get(id) ?? 0) + 1);
    // 9,000 each; chance alone spreads them by about 80.
    expect(Math.min(...held.values())).toBeGreaterThan(8_600);
    expect(Math.max(...held.values())).toBeLessThan(9_400);
  });

  test('does not depend on the order of nodes, and counts exactly what a change moves', () => {
    fc.assert(
      fc.property(someNodes, ([first, ...nodes]) => {
        const placed = new Maglev(nodes, options);
        const before = Array.from(placed.table, (entry) => placed.nodes[entry]!.id);
        const { movedShare } = placed.add(first!);
        const after = Array.from(placed.table, (entry) => placed.nodes[entry]!.id);
        expect(after.filter((id, i) => id !== before[i]).length / options.tableSize).toBe(movedShare);
        expect(placed.table).toEqual(new Maglev([first!, ...nodes].reverse(), options).table);
        placed.remove(first!.id);
        expect(Array.from(placed.table, (entry) => placed.nodes[entry]!.id)).toEqual(before);
      }),
      { numRuns: 20 },
    );
  });

  test('moves few keys between the nodes that stay', () => {
    const nodes = Array.from({ length: 20 }, (_, i) => ({ id: `n${i}` }));
    const placed = new Maglev(nodes);
    const { movedShare } = placed.remove('n7');
    expect(movedShare).toBeGreaterThanOrEqual(0.05 - 1e-4);
    expect(movedShare).toBeLessThan(0.08);
  });

  test('gives distinct replicas, the owner first', () => {
    const placed = new Maglev(
      Array.from({ length: 6 }, (_, i) => ({ id: `n${i}` })),
      options,
    );
    fc.assert(
      fc.property(fc.string(), fc.integer({ min: 1, max: 9 }), (key, count) => {
        const replicas = placed.replicas(key, count);
        expect(replicas[0]).toBe(placed.owner(key));
        expect(new Set(replicas).size).toBe(Math.min(count, 6));
        expect(replicas).toHaveLength(Math.min(count, 6));
      }),
    );
  });

  test('is as it was after a refused change', () => {
    for (const tableSize of [0, 1, 4, 65_536, 2.5, 16_777_259])
      expect(() => new Maglev([], { tableSize })).toThrow(expect.objectContaining({ code: 'KF_BAD_OPTION' }));
    const placed = new Maglev<PartitionNode>([{ id: 'a' }, { id: 'b' }], { tableSize: 2 });
    expect(() => placed.add({ id: 'c' })).toThrow(expect.objectContaining({ code: 'KF_BAD_OPTION' }));
    expect(() => placed.add({ id: 'a' })).toThrow(expect.objectContaining({ code: 'KF_DUPLICATE_NODE' }));
    expect(() => placed.remove('c')).toThrow(expect.objectContaining({ code: 'KF_UNKNOWN_NODE' }));
    expect(placed.nodes.map((node) => node.id)).toEqual(['a', 'b']);
    expect(() => new Maglev().owner('x')).toThrow(expect.objectContaining({ code: 'KF_NO_NODES' }));
  });
});
