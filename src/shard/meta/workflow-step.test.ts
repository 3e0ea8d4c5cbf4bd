import { describe, expect, test } from 'vitest';
import { type ClusterSight, leavesNobodyCurrent, nextStep, type ReplicaReport } from './workflow-step.ts';

// A merge whose right shard must first come to the nodes of the left one: on `a` and `b` is the left shard, on `a` and `d` the right one.

const OP = 9;
const [LEFT, RIGHT] = [1, 2];
const merge = { kind: 'merge', op: OP, sinceMs: 0, left: LEFT, right: RIGHT, gathers: ['b'] } as const;

function gathered(reports: Readonly<Record<string, ReplicaReport>>, down: readonly string[] = []): readonly string[] | undefined {
  const sight: ClusterSight = {
    report: (shard, node) => (shard === RIGHT ? reports[node] : undefined),
    isLive: (node) => !down.includes(node),
    replicas: (shard) => (shard === LEFT ? ['a', 'b'] : ['a', 'd']),
    neededSeq: () => 20,
  };
  const step = nextStep(merge, () => undefined, sight);
  return step?.kind === 'meta' && step.change.kind === 'gathered' ? step.change.nodes : undefined;
}

describe('the right shard of a merge is where the left one is', () => {
  const whole = { isCaughtUp: true, durableSeq: 25 };
  const lagging = { isCaughtUp: true, durableSeq: 7 };

  test('when those that are brought it have it', () => {
    expect(gathered({ a: whole, d: whole })).toBeUndefined();
    expect(gathered({ a: whole, b: { ...whole, joins: OP - 1 }, d: whole })).toBeUndefined();
    expect(gathered({ a: whole, b: { ...whole, joins: OP }, d: whole })).toEqual(['a', 'b']);
    expect(gathered({ a: lagging, b: { ...whole, joins: OP }, d: whole })).toEqual(['a', 'b']);
  });

  test('without those that are down', () => {
    expect(gathered({ a: whole, d: whole }, ['b'])).toEqual(['a']);
    expect(gathered({ b: { ...whole, joins: OP }, d: whole }, ['a'])).toEqual(['a', 'b']);
  });

  test('never with replicas alone that are behind what the log may have forgotten: who is up to date would be none any more', () => {
    expect(gathered({ a: lagging, d: whole }, ['b'])).toBeUndefined();
    expect(gathered({ a: { ...whole, isCaughtUp: false }, d: whole }, ['b'])).toBeUndefined();
    expect(gathered({ d: whole }, ['b'])).toBeUndefined();
    expect(gathered({ a: whole, d: whole }, ['a', 'b'])).toBeUndefined();
  });
});

describe('a replica is taken away', () => {
  const current = { isCaughtUp: true, durableSeq: 25 };
  const behind = { isCaughtUp: true, durableSeq: 19 };
  const leaves = (
    reports: Readonly<Record<string, ReplicaReport>>,
    change: Parameters<typeof leavesNobodyCurrent>[0],
    down: readonly string[] = [],
  ) =>
    leavesNobodyCurrent(change, {
      report: (_, node) => reports[node],
      isLive: (node) => !down.includes(node),
      replicas: () => ['a', 'b', 'c'],
      neededSeq: () => 20,
    });
  const away = { kind: 'move', shard: RIGHT, remove: 'a' } as const;

  test('when one that stays has what the log may have forgotten', () => {
    expect(leaves({ a: current, b: behind, c: current }, away)).toBe(false);
    expect(leaves({ a: current, b: behind, c: behind }, away)).toBe(true);
    expect(leaves({ a: current, b: behind, c: { ...current, isCaughtUp: false } }, away)).toBe(true);
    expect(leaves({ a: current, b: behind, c: current }, away, ['c'])).toBe(true);
    expect(leaves({ a: current, c: behind }, away)).toBe(true);
  });

  test('for another, which is ready before it goes', () => {
    expect(leaves({ a: current, b: behind, c: behind }, { ...away, add: 'd' })).toBe(false);
    expect(leaves({}, { kind: 'prefer', shard: RIGHT, node: 'b' })).toBe(false);
  });
});
