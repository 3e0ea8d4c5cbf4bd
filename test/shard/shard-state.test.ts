import { expect, test } from 'vitest';
import { decodeShardState, encodeShardState, newShardState } from '../../src/shard/shard-state.ts';

test('the state of a shard is read as it was written, with the generation of its log', () => {
  const first = newShardState({ id: 3, range: { from: 8, to: 4096 }, table: 6, leader: 'node-1' });
  for (const logGeneration of [1, 2, 70_000]) {
    const state = { ...first, logGeneration, applied: 12 };
    expect(decodeShardState(encodeShardState(state))).toEqual(state);
  }
  // One whose log was never lost is written as releases before generations read it.
  expect(encodeShardState(first)[0]).toBe(3);
});
