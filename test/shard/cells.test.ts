import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { utf8 } from '../../src/base/bytes.ts';
import { murmur3Position } from '../../src/partition/hash/murmur3-x86-128.ts';
import type { Entry } from '../../src/shard/entry.ts';
import { MAX_CELL_BYTES } from '../../src/shard/key-layout.ts';
import { MemoryStorage } from '../../src/storage/memory.ts';
import { type BagCommand, bagMachine } from './bags.ts';
import { dump } from './dump.ts';

describe('cells', () => {
  const command = fc.oneof(
    {
      weight: 6,
      arbitrary: fc.record({
        kind: fc.constant('put' as const),
        cell: fc.constantFrom('', 'a', 'b', 'c', `${'L'.repeat(MAX_CELL_BYTES)}1`, `${'L'.repeat(MAX_CELL_BYTES)}2`),
        value: fc.constantFrom('', '1', '2'),
      }),
    },
    {
      weight: 2,
      arbitrary: fc.record({ kind: fc.constant('take' as const), cell: fc.constantFrom('a', 'b', `${'L'.repeat(MAX_CELL_BYTES)}1`) }),
    },
    fc.record({ kind: fc.constantFrom('empty' as const, 'drop' as const, 'put-then-drop' as const) }),
    fc.record({ kind: fc.constant('move' as const), from: fc.constantFrom('p', 'q'), to: fc.constantFrom('p', 'q') }),
  );

  test('agree with a map of maps, whatever is put, taken, emptied, moved and dropped, and replay to the same bytes', () => {
    fc.assert(
      fc.property(fc.array(fc.record({ key: fc.constantFrom('p', 'q'), command }), { maxLength: 50 }), (steps) => {
        const storage = new MemoryStorage();
        const entries: Entry<BagCommand>[] = [];
        const machine = bagMachine(storage, { onEntry: (entry) => entries.push(entry) });
        const oracle = new Map<string, Map<string, string>>();
        for (const { key, command: one } of steps) {
          machine.openEntry(1);
          if (one.kind === 'move') machine.runMany(utf8(one.from), one);
          else machine.run(utf8(key), murmur3Position(key), one);
          machine.closeEntry();
          bagTwin(oracle, key, one);
        }
        for (const key of ['p', 'q']) {
          const cells = [...(oracle.get(key) ?? [])].map(([cell, value]) => `${cell}=${value}`);
          const list = machine.query(utf8(key), murmur3Position(key), 'list', 1);
          expect([...list].sort()).toEqual(cells.sort());
          expect(machine.query(utf8(key), murmur3Position(key), 'backwards', 1)).toEqual([...list].reverse());
        }
        expect(machine.state.keyCount).toBe(oracle.size);
        if (oracle.size === 0) expect(dump(storage).length).toBeLessThanOrEqual(1);
        const twinStorage = new MemoryStorage();
        const twin = bagMachine(twinStorage);
        entries.forEach((entry, index) => {
          twin.applyEntry(entry, index + 1);
        });
        expect(twin.state).toEqual(machine.state);
        expect(dump(twinStorage)).toEqual(dump(storage));
      }),
      { numRuns: 200 },
    );
  });

  test('of a large value go in one step, out of sight at once, and are noted as garbage', () => {
    const storage = new MemoryStorage();
    let garbage = 0;
    const machine = bagMachine(storage, { onGarbage: () => garbage++ });
    const bag = utf8('bag');
    const at = murmur3Position(bag);
    machine.openEntry(1);
    for (let i = 0; i < 500; i++) machine.run(bag, at, { kind: 'put', cell: `c${i}`, value: 'v' });
    machine.run(bag, at, { kind: 'empty' });
    machine.run(bag, at, { kind: 'put', cell: 'after', value: 'v' });
    expect([machine.query(bag, at, 'list', 1), garbage]).toEqual([['after=v'], 1]);
    for (let i = 0; i < 500; i++) machine.run(bag, at, { kind: 'put', cell: `c${i}`, value: 'v' });
    const before = dump(storage).length;
    machine.run(bag, at, { kind: 'drop' });
    expect(garbage).toBe(2);
    // One note more, one record less.
    expect(dump(storage).length).toBe(before);
    expect(machine.query(bag, at, 'list', 1)).toEqual([]);
    machine.run(bag, at, { kind: 'put', cell: 'c1', value: 'new' });
    expect(machine.query(bag, at, 'list', 1)).toEqual(['c1=new']);
    expect(machine.state.keyCount).toBe(1);
  });
});

function bagTwin(oracle: Map<string, Map<string, string>>, key: string, command: BagCommand): void {
  const bag = oracle.get(key);
  switch (command.kind) {
    case 'put':
      if (bag) bag.set(command.cell, command.value);
      else oracle.set(key, new Map([[command.cell, command.value]]));
      return;
    case 'take':
      if (bag?.delete(command.cell) && bag.size === 0) oracle.delete(key);
      return;
    case 'empty':
      bag?.clear();
      return;
    case 'move': {
      const from = oracle.get(command.from);
      if (!from || command.from === command.to) return;
      oracle.set(command.to, new Map(from));
      oracle.delete(command.from);
      return;
    }
    default:
      oracle.delete(key);
  }
}
