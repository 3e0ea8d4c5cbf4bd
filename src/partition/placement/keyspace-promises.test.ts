import { describe, expect, test } from 'vitest';
import { murmur3_x86_128 } from '../hash/murmur3-x86-128.ts';
import { Keyspace } from '../keyspace.ts';
import type { PartitionNode } from '../node.ts';
import { rowsOf } from './placement-oracle.conformance.ts';
import type { PlanStep } from './plan.ts';
import { customRule } from './replica-rule.ts';
import { heldCounts, slotStart, tableChecksum } from './slot-table.ts';

// What one gets from a Keyspace where the Rust crate of that name falls short: one test for each point of the list.

interface Server extends PartitionNode {
  readonly address: string;
}
const server = (number: number, more: Partial<Server> = {}): Server => ({ id: `s${number}`, address: `10.0.0.${number}`, ...more });
const servers = (count: number, more: (number: number) => Partial<Server> = () => ({})): Server[] =>
  Array.from({ length: count }, (_, number) => server(number, more(number)));
const BOTH = ['sticky', 'fair'] as const;

describe('a change that fails leaves all as it was', () => {
  const breaks = new Error('a part of the user’s own fails');
  const trace = (keyspace: Keyspace<Server>) => [JSON.stringify(keyspace), keyspace.table, keyspace.nodes, keyspace.version] as const;

  test('also when it fails half-way, in a predicate or hasher of one’s own', () => {
    for (const placement of BOTH) {
      let calls = Infinity;
      const fragile = <T>(value: T): T => {
        if (--calls < 0) throw breaks;
        return value;
      };
      const keyspace = new Keyspace(servers(8), {
        slotCount: 256,
        placement,
        rule: customRule<Server>('fragile', () => fragile(true)),
        nodeHasher: { ...murmur3_x86_128, lanes: (key, seed, out) => fragile(murmur3_x86_128.lanes(key, seed, out)) },
      });
      const before = trace(keyspace);
      for (const after of [0, 1, 10, 100]) {
        calls = after;
        expect(() => keyspace.apply({ add: [server(20)], remove: ['s1', 's2'] })).toThrow(breaks);
      }
      calls = Infinity;
      const now = trace(keyspace);
      expect(now[0]).toBe(before[0]);
      for (const i of [1, 2, 3]) expect(now[i]).toBe(before[i]);
      keyspace.apply({ add: [server(20)], remove: ['s1', 's2'] });
      expect([keyspace.version, keyspace.nodes.length]).toEqual([2, 7]);
    }
  });

  test('and one that gives a list that breaks off', () => {
    const keyspace = new Keyspace(servers(5), { slotCount: 64 });
    const before = trace(keyspace);
    const list = [server(7), server(8)];
    Object.defineProperty(list, 1, {
      get: () => {
        throw breaks;
      },
    });
    expect(() => keyspace.apply({ remove: ['s0'], add: list })).toThrow(breaks);
    expect(trace(keyspace)[0]).toBe(before[0]);
    expect(trace(keyspace)[1]).toBe(before[1]);
  });
});

test('ranges are merged: no two steps of a node adjoin that could be one', () => {
  for (const placement of BOTH) {
    const keyspace = new Keyspace(servers(5), { slotCount: 1_024, placement });
    const { steps } = keyspace.apply({ add: [server(9)], remove: ['s1'] });
    expect(steps.some(({ slots }) => slots > 1)).toBe(true);
    const likeness = (step: PlanStep): string =>
      [step.kind, step.node, step.kind === 'pull' ? [...step.sources].sort() : step.kind === 'promote' ? step.previous : ''].join('|');
    const endings = new Set(steps.map((step) => `${likeness(step)}|${step.to}`));
    for (const step of steps) expect(endings.has(`${likeness(step)}|${step.from}`)).toBe(false);
    for (const { id } of keyspace.nodes) {
      const ranges = keyspace.intervalsOf(id);
      for (const [i, range] of ranges.entries()) if (i > 0) expect(range.from).toBeGreaterThan(ranges[i - 1]!.to);
    }
  }
});

test('a plan names every slot that gets another primary, with the old one and the new, and no other', () => {
  for (const placement of BOTH) {
    const keyspace = new Keyspace(servers(6), { slotCount: 512, placement });
    const before = rowsOf(keyspace.table);
    const plan = keyspace.apply({ add: [server(9)], remove: ['s2'], change: [{ id: 's3', weight: 2 }] });
    const after = rowsOf(keyspace.table);
    const told = new Map<number, string>();
    for (const step of plan.steps)
      if (step.kind === 'promote')
        for (let slot = 0; slot < 512; slot++) {
          const start = slotStart(slot, 512);
          if (start >= step.from && start < step.to) told.set(slot, `${step.previous} → ${step.node}`);
        }
    const changed = new Map<number, string>();
    for (const [slot, row] of after.entries()) if (row[0] !== before[slot]![0]) changed.set(slot, `${before[slot]![0]} → ${row[0]}`);
    expect(changed.size).toBeGreaterThan(0);
    expect(told).toEqual(changed);
    expect(plan.totals.primariesChanged).toBe(changed.size);
    // Of these some copy nothing: the new primary was a replica before.
    expect([...changed.keys()].some((slot) => before[slot]!.includes(after[slot]![0]!))).toBe(true);
  }
});

test('placement is by id (and weight, zone, rack) only: not by address, object or order', () => {
  for (const placement of BOTH) {
    const options = { slotCount: 512, placement };
    const one = new Keyspace(servers(7), options);
    const others = servers(7, (number) => ({ address: `other-${number * 31}:80` })).reverse();
    const other = new Keyspace(others, options);
    expect(tableChecksum(other.table)).toBe(tableChecksum(one.table));
    const { totals } = one.apply({ change: one.nodes.map(({ id }) => ({ id, address: `moved-${id}` })) });
    expect([totals.replicasMoved, totals.primariesChanged]).toEqual([0, 0]);
    expect(one.node('s3')?.address).toBe('moved-s3');
    one.apply({ add: [server(9)] });
    other.apply({ add: [server(9, { address: 'elsewhere' })] });
    expect(tableChecksum(other.table)).toBe(tableChecksum(one.table));
  }
});

test('shares are in proportion to weights for every number of replicas, not only for one', () => {
  const weights = [1, 2, 3, 4, 5, 1, 2, 3, 4, 5, 6, 2];
  const total = weights.reduce((sum, weight) => sum + weight, 0);
  for (const replicaCount of [1, 2, 3, 5])
    for (const placement of BOTH) {
      const keyspace = new Keyspace(
        servers(weights.length, (number) => ({ weight: weights[number]! })),
        { slotCount: 16_384, replicaCount, placement },
      );
      const held = heldCounts(keyspace.table);
      for (const [index, node] of keyspace.nodes.entries()) {
        const share = (16_384 * replicaCount * node.weight!) / total;
        if (placement === 'sticky') expect(Math.abs(held[index]! - share)).toBeLessThan(1);
        // Never more than a hundredth above; what that leaves to others is some hundredths.
        else expect(Math.abs(held[index]! / share - 1)).toBeLessThan(held[index]! > share ? 0.011 : 0.1);
      }
    }
});

describe('a look-up allocates nothing beyond its answer', () => {
  const LOOKUPS = 10_000;
  /** Batches measured before giving up: until the compiler is done with the code, numbers are boxed. */
  const MOST_BATCHES = 400;
  const keyspace = new Keyspace(servers(50), { slotCount: 4_096 });
  const keys = Array.from({ length: 1_000 }, (_, number) => `user:${number}`);
  const bytes = keys.map((key) => new TextEncoder().encode(`${key} ä`));
  const heapUsed = (): number => process.memoryUsage().heapUsed;

  /** Bytes a look-up, of each batch; those in which garbage was collected are left out. */
  function* bytesPerLookup(lookUp: (index: number) => unknown): Generator<number> {
    for (let batch = 0; batch < MOST_BATCHES; batch++) {
      const before = heapUsed();
      for (let i = 0; i < LOOKUPS; i++) lookUp(i % keys.length);
      const used = heapUsed() - before;
      if (used >= 0) yield used / LOOKUPS;
    }
  }

  /** Whether some five batches in a row take less than half a byte a look-up. */
  function comesToNothing(lookUp: (index: number) => unknown): boolean {
    let inARow = 0;
    for (const used of bytesPerLookup(lookUp)) {
      inARow = used < 0.5 ? inARow + 1 : 0;
      if (inARow === 5) return true;
    }
    return false;
  }

  test('owner and slotOf: nothing', () => {
    expect(comesToNothing((i) => keyspace.owner(keys[i]!))).toBe(true);
    expect(comesToNothing((i) => keyspace.owner(bytes[i]!))).toBe(true);
    expect(comesToNothing((i) => keyspace.slotOf(keys[i]!))).toBe(true);
  });

  test('replicas into a given array: nothing, and the array is the given one', () => {
    const out: Server[] = [];
    expect(comesToNothing((i) => keyspace.replicasInto(keys[i]!, out))).toBe(true);
    expect(comesToNothing((i) => keyspace.replicas(bytes[i]!, 2, out))).toBe(true);
    expect(keyspace.replicas(keys[0]!, 2, out)).toBe(out);
    expect(keyspace.replicasInto(keys[0]!, out)).toBe(out);
  });

  test('replicas: an array, which this way of measuring sees', () => {
    expect(comesToNothing((i) => keyspace.replicas(keys[i]!))).toBe(false);
  });
});
