import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { Plan, type PlanStep } from './plan.ts';
import { diffTables } from './plan-diff.ts';
import { type SlotTable, sampleTable, slotOfPosition, slotStart } from './slot-table.ts';

const table = (replicaCount: number, nodeIds: string[], rows: string[][]): SlotTable => ({
  slotCount: rows.length,
  replicaCount,
  nodeIds,
  cells: Uint16Array.from(rows.flat(), (id) => nodeIds.indexOf(id)),
});

/** Slot → ids, as sets would be after the given steps were done on `before`. The plain twin of a data mover. */
function carryOut(before: SlotTable, steps: Iterable<PlanStep>): { holders: Set<string>[]; primary: string[] } {
  const { slotCount, replicaCount, nodeIds, cells } = before;
  const holders = Array.from(
    { length: slotCount },
    (_, slot) => new Set([...cells.slice(slot * replicaCount, (slot + 1) * replicaCount)].map((n) => nodeIds[n]!)),
  );
  const primary = holders.map((ids) => [...ids][0]!);
  for (const step of steps) {
    for (let slot = 0; slot < slotCount; slot++) {
      const start = slotStart(slot, slotCount);
      if (start < step.from || start >= step.to) continue;
      if (step.kind === 'pull') {
        for (const source of step.sources) expect(holders[slot]!.has(source)).toBe(true);
        expect(holders[slot]!.has(step.node)).toBe(false);
        holders[slot]!.add(step.node);
      } else if (step.kind === 'promote') {
        expect(primary[slot]).toBe(step.previous);
        expect(holders[slot]!.has(step.node)).toBe(true);
        primary[slot] = step.node;
      } else expect(holders[slot]!.delete(step.node)).toBe(true);
    }
  }
  return { holders, primary };
}

const tables = fc
  .record({ slots: fc.integer({ min: 1, max: 24 }), before: fc.integer({ min: 1, max: 3 }), after: fc.integer({ min: 1, max: 3 }) })
  .chain(({ slots, before, after }) => {
    const one = (count: number) =>
      fc
        .array(fc.shuffledSubarray(['a', 'b', 'c', 'd', 'e'], { minLength: count, maxLength: count }), {
          minLength: slots,
          maxLength: slots,
        })
        .map((rows) => table(count, [...new Set(rows.flat())], rows));
    return fc.tuple(one(before), one(after));
  });

describe('the plan between two tables', () => {
  test('done on the first gives the second, primaries included, and never reads who does not hold', () => {
    fc.assert(
      fc.property(tables, ([before, after]) => {
        const done = carryOut(before, diffTables(before, after).steps);
        const wanted = carryOut(after, []);
        expect(done).toEqual(wanted);
      }),
      { numRuns: 150 },
    );
  });

  test('counts what it moves: totals are the sums of its steps, and at least the minimum', () => {
    fc.assert(
      fc.property(tables, ([before, after]) => {
        const { totals, steps } = diffTables(before, after);
        const sum = (kind: PlanStep['kind']) => steps.filter((step) => step.kind === kind).reduce((all, step) => all + step.slots, 0);
        expect([totals.replicasMoved, totals.replicasDropped, totals.primariesChanged]).toEqual([sum('pull'), sum('drop'), sum('promote')]);
        expect(totals.replicasMoved).toBeGreaterThanOrEqual(totals.minimumMoves);
      }),
      { numRuns: 100 },
    );
  });

  test('merges adjacent slots with the same node and sources into one range', () => {
    const before = table(1, ['a', 'b'], [['a'], ['a'], ['a'], ['b']]);
    const after = table(1, ['b', 'c'], [['c'], ['c'], ['c'], ['c']]);
    const { steps } = diffTables(before, after, { dead: ['a'] });
    expect(steps.filter((step) => step.kind === 'pull')).toEqual([
      { kind: 'pull', step: 0, node: 'c', from: 0, to: 0xc000_0000, slots: 3, sources: [] },
      { kind: 'pull', step: 1, node: 'c', from: 0xc000_0000, to: 2 ** 32, slots: 1, sources: ['b'] },
    ]);
  });

  test('keeps apart adjacent slots of which one has a source more', () => {
    const ids = ['a', 'b', 'gone', 'new'];
    for (const rows of [
      [
        ['a', 'b'],
        ['a', 'gone'],
      ],
      [
        ['a', 'gone'],
        ['a', 'b'],
      ],
    ]) {
      const { steps } = diffTables(table(2, ids, rows), table(1, ids, [['new'], ['new']]), { dead: ['gone'] });
      const pulls = steps.filter((step) => step.kind === 'pull').map(({ from, slots, sources }) => [from, slots, [...sources].sort()]);
      expect(pulls).toEqual(rows.map((row, slot) => [slot * 2 ** 31, 1, row.filter((id) => id !== 'gone')]));
    }
  });

  test('names sources best first: replicas that stay, that drop the range, that left; never a dead one', () => {
    const before = table(3, ['gone', 'stay', 'drop'], [['gone', 'stay', 'drop']]);
    const after = table(2, ['stay', 'new', 'drop'], [['stay', 'new']]);
    expect(diffTables(before, after).nodes.get('new')?.pulls[0]?.sources).toEqual(['stay', 'drop', 'gone']);
    expect(diffTables(before, after, { dead: ['gone'] }).nodes.get('new')?.pulls[0]?.sources).toEqual(['stay', 'drop']);
    expect(diffTables(before, after, { dead: ['gone', 'stay', 'drop'] }).totals.withoutSource).toBe(1);
  });

  test('spreads the sending over the replicas that stay', () => {
    const rows = Array.from({ length: 300 }, () => ['a', 'b', 'c']);
    const before = table(3, ['a', 'b', 'c'], rows);
    const after = table(
      3,
      ['a', 'b', 'd', 'e'],
      rows.map((_, slot) => (slot % 2 === 0 ? ['a', 'b', 'd'] : ['a', 'b', 'e'])),
    );
    const sent = new Map<string, number>();
    for (const step of diffTables(before, after).steps)
      if (step.kind === 'pull') sent.set(step.sources[0]!, (sent.get(step.sources[0]!) ?? 0) + step.slots);
    expect([...sent].sort()).toEqual([
      ['a', 150],
      ['b', 150],
    ]);
  });

  test('is refused for different slot counts: KF_TABLE_MISMATCH', () => {
    expect(() => diffTables(table(1, ['a'], [['a']]), table(1, ['a'], [['a'], ['a']]))).toThrow(
      expect.objectContaining({ code: 'KF_TABLE_MISMATCH' }),
    );
  });
});

describe('a plan half done', () => {
  test('goes on where it stopped, also after it was written down', () => {
    fc.assert(
      fc.property(tables, fc.array(fc.nat(200)), ([before, after], marks) => {
        const plan = diffTables(before, after, { versions: { before: 3, after: 4 } });
        for (const mark of marks) if (mark < plan.steps.length) plan.markDone(mark);
        const again = Plan.fromJSON(JSON.parse(JSON.stringify(plan)));
        expect(JSON.stringify(again)).toBe(JSON.stringify(plan));
        expect([...again.remaining()]).toEqual(plan.steps.filter((step) => !marks.includes(step.step)));
        for (const step of [...again.remaining()]) again.markDone(step.step);
        expect([again.isDone, again.doneCount]).toEqual([true, plan.steps.length]);
      }),
      { numRuns: 60 },
    );
  });

  test('refuses what is not a plan, and names the field: KF_PLAN_INVALID', () => {
    const json = JSON.stringify(diffTables(table(1, ['a'], [['a']]), table(1, ['b'], [['b']])));
    const broken = (
      change: (plan: Record<string, unknown> & { steps: Record<string, unknown>[]; totals: Record<string, unknown> }) => unknown,
    ) => {
      const plan = JSON.parse(json);
      const replaced = change(plan);
      return () => Plan.fromJSON(replaced ?? plan);
    };
    const cases: [string, () => unknown][] = [
      ['the plan', broken(() => 'text')],
      ['format', broken((plan) => void (plan['format'] = 'x'))],
      ['totals.replicas', broken((plan) => void delete plan.totals['replicas'])],
      ['steps[0].step', broken((plan) => void (plan.steps[0]!['step'] = 1))],
      ['steps[0].sources', broken((plan) => void (plan.steps[0]!['sources'] = 'a'))],
      ['steps[0] has', broken((plan) => void (plan.steps[0]!['to'] = 0))],
      ['steps[1].kind', broken((plan) => void (plan.steps[1]!['kind'] = 'copy'))],
      ['done[0]', broken((plan) => void (plan['done'] = [[0, 9]]))],
    ];
    for (const [field, parse] of cases)
      expect(parse).toThrow(expect.objectContaining({ code: 'KF_PLAN_INVALID', message: expect.stringContaining(field) }));
  });

  test('has no step outside its numbers: KF_PLAN_NO_SUCH_STEP', () => {
    const plan = diffTables(table(1, ['a'], [['a']]), table(1, ['a'], [['a']]));
    expect(plan.isDone).toBe(true);
    expect(() => plan.markDone(0)).toThrow(expect.objectContaining({ code: 'KF_PLAN_NO_SUCH_STEP' }));
  });
});

describe('slots and positions', () => {
  test('every position is in the slot whose range holds it, for any slot count', () => {
    fc.assert(
      fc.property(fc.integer({ min: 1, max: 1 << 20 }), fc.integer({ min: 0, max: 2 ** 32 - 1 }), (slotCount, position) => {
        const slot = slotOfPosition(position, slotCount);
        expect(slotStart(slot, slotCount)).toBeLessThanOrEqual(position);
        expect(slotStart(slot + 1, slotCount)).toBeGreaterThan(position);
      }),
    );
  });

  test('a table can be drawn from any algorithm, and an answer outside its nodes is refused', () => {
    const drawn = sampleTable({
      slotCount: 4,
      replicaCount: 2,
      nodeIds: ['a', 'b', 'c'],
      replicas: (key) => (String(key).endsWith('3') ? ['c', 'a'] : ['a', 'b']),
    });
    expect([...drawn.cells]).toEqual([0, 1, 0, 1, 0, 1, 2, 0]);
    expect(() => sampleTable({ slotCount: 1, replicaCount: 1, nodeIds: ['a'], replicas: () => ['x'] })).toThrow(
      expect.objectContaining({ code: 'KF_TABLE_INVALID' }),
    );
  });
});
