import { describe, expect, test } from 'vitest';
import { ZERO_HASH } from './chain-hash.ts';
import { type Standing, standingOf } from './leadership.ts';
import { newShardState } from './shard-state.ts';

const state = { ...newShardState({ id: 1, range: { from: 0, to: 1 }, table: 4, leader: 'n1' }), epoch: 3, applied: 20, leaderSeq: 17 };
const OTHER = new Uint8Array(16).fill(9);
const standing = (entry: Partial<Parameters<typeof standingOf>[0]>, now = state): Standing =>
  standingOf({ epoch: 3, leader: 'n1', prevHash: ZERO_HASH, nowMs: 0, ...entry }, now);

describe('an entry counts', () => {
  test('when it is of the leader, in its epoch', () => {
    expect(standing({})).toBe('effective');
    expect(standing({ epoch: 2 })).toBe('void');
    expect(standing({ epoch: 4 })).toBe('void');
    expect(standing({ leader: 'n2' })).toBe('void');
  });

  test('for nothing when it was sent off behind an entry that went elsewhere', () => {
    expect(standing({ kind: 'predicted' })).toBe('effective');
    expect(standing({ kind: 'predicted', prevHash: OTHER })).toBe('void');
  });

  test('against this replica when its leader had run another entry before it', () => {
    expect(standing({ prevHash: OTHER })).toBe('fault');
    expect(standing({ kind: 'claim', epoch: 4, basis: 17, prevHash: OTHER })).toBe('fault');
    expect(standing({ epoch: 2, prevHash: OTHER })).toBe('fault');
  });

  test('as a claim when it is the next epoch and its claimant has seen the last entry of the leader', () => {
    const claim = (epoch: number, basis: number): Standing => standing({ kind: 'claim', leader: 'n2', epoch, basis });
    expect(claim(4, 17)).toBe('effective');
    expect(claim(4, 19)).toBe('effective');
    expect(claim(4, 16)).toBe('void');
    expect(claim(3, 17)).toBe('void');
    expect(claim(5, 17)).toBe('void');
  });

  test('never, without a claim, when nobody leads', () => {
    expect(standing({}, { ...state, leader: '' })).toBe('void');
    expect(standing({ kind: 'claim', leader: 'n1', epoch: 4, basis: 17 }, { ...state, leader: '' })).toBe('effective');
  });
});
