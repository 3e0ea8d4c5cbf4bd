import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { fair } from './fair.ts';
import { aRule, fewestMoves, obeys, possible, rowsOf, someNodes } from './placement-oracle.conformance.ts';
import { diffTables } from './plan-diff.ts';
import { heldCounts, primaryCounts } from './slot-table.ts';
import { sticky } from './sticky.ts';
import { shares } from './targets.ts';

describe('sticky placement', () => {
  test('small clusters: no table with its counts copies less (all tables tried)', () => {
    fc.assert(
      fc.property(
        someNodes(6),
        someNodes(6),
        aRule,
        fc.integer({ min: 1, max: 7 }),
        fc.integer({ min: 1, max: 3 }),
        fc.integer({ min: 1, max: 3 }),
        (old, now, rule, slotCount, oldCount, count) => {
          fc.pre(possible(old, oldCount, rule) !== undefined);
          const topology = possible(now, count, rule);
          if (topology === undefined) return;
          const before = fair(old, { slotCount, replicaCount: oldCount, rule });
          const after = sticky(before, now, { replicaCount: count, rule });
          expect(diffTables(before, after).totals.replicasMoved).toBe(fewestMoves(topology, rowsOf(before), [...heldCounts(after)]));
        },
      ),
      { numRuns: 1500 },
    );
  });

  test('every node ends within one slot of its share and of its part of the primaries, and every slot obeys the rule', () => {
    fc.assert(
      fc.property(
        someNodes(12),
        someNodes(12),
        aRule,
        fc.integer({ min: 1, max: 300 }),
        fc.integer({ min: 1, max: 4 }),
        (old, now, rule, slotCount, count) => {
          const topology = possible(now, count, rule);
          fc.pre(possible(old, count, rule) !== undefined && topology !== undefined);
          if (topology === undefined) return;
          const after = sticky(fair(old, { slotCount, replicaCount: count, rule }), now, { rule });
          const held = heldCounts(after);
          const led = primaryCounts(after);
          for (const [node, share] of shares(topology, slotCount).entries()) {
            expect(Math.abs(held[node]! - share)).toBeLessThan(1);
            expect(Math.abs(led[node]! - held[node]! / count)).toBeLessThan(1);
          }
          for (const row of rowsOf(after)) expect(obeys(topology, row)).toBe(true);
        },
      ),
      { numRuns: 150 },
    );
  });
});
