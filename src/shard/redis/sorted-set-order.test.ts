import { describe, expect, test } from 'vitest';
import { ModuleStore } from '../../../test/redis-differential/module-store.ts';
import { fromUtf8, utf8 } from '../../base/bytes.ts';
import { Prng } from '../../base/prng.ts';
import type { Reply } from './reply.ts';

// The counted order of a sorted set against a plain sorted array: every rank, in sets with several levels of counts.

function run(store: ModuleStore, line: string): Reply {
  return store.run(line.split(' ').map(utf8));
}

function names(reply: Reply): string[] {
  return (reply as Uint8Array[]).map(fromUtf8);
}

describe('a sorted set of thousands', () => {
  const store = new ModuleStore();
  const prng = new Prng(11);
  const scores = new Map<string, number>();
  for (let step = 0; step < 60; step++) {
    const pairs: string[] = [];
    for (let i = 0; i < 80; i++) {
      const member = `m${prng.below(3_000)}`;
      const score = prng.below(500) - 250;
      pairs.push(String(score), member);
      scores.set(member, score);
    }
    run(store, `ZADD z ${pairs.join(' ')}`);
    const gone = Array.from({ length: 20 }, () => `m${prng.below(3_000)}`);
    for (const member of gone) scores.delete(member);
    run(store, `ZREM z ${gone.join(' ')}`);
  }
  const sorted = [...scores].sort(([a, x], [b, y]) => x - y || (a < b ? -1 : 1)).map(([member]) => member);

  test('has its members in order, first to last and last to first', () => {
    expect(run(store, 'ZCARD z')).toBe(sorted.length);
    expect(sorted.length).toBeGreaterThan(1_500);
    expect(names(run(store, 'ZRANGE z 0 -1'))).toEqual(sorted);
    expect(names(run(store, 'ZREVRANGE z 0 -1'))).toEqual([...sorted].reverse());
  });

  test('knows the rank of every member, and the member of every rank', () => {
    sorted.forEach((member, rank) => {
      expect(run(store, `ZRANK z ${member}`)).toBe(rank);
      if (rank % 7 === 0) expect(names(run(store, `ZRANGE z ${rank} ${rank + 2}`))).toEqual(sorted.slice(rank, rank + 3));
      if (rank % 11 === 0) expect(names(run(store, `ZREVRANGE z ${rank} ${rank}`))).toEqual([sorted.at(-1 - rank)]);
    });
  });

  test('counts any range of scores', () => {
    for (let i = 0; i < 200; i++) {
      const [min, max] = [prng.below(520) - 260, prng.below(520) - 260];
      const wanted = [...scores.values()].filter((score) => score >= min && score < max).length;
      expect(run(store, `ZCOUNT z ${min} (${max}`)).toBe(wanted);
    }
  });

  test('answers LIMIT by rank, without reading what it passes over', () => {
    const positive = sorted.filter((member) => scores.get(member)! >= 0);
    expect(names(run(store, 'ZRANGE z 0 +inf BYSCORE LIMIT 300 5'))).toEqual(positive.slice(300, 305));
    expect(names(run(store, 'ZRANGE z +inf 0 BYSCORE REV LIMIT 300 5'))).toEqual([...positive].reverse().slice(300, 305));
  });

  test('is laid out the same, whichever way it came about', () => {
    const other = new ModuleStore();
    for (const member of [...sorted].sort()) run(other, `ZADD z ${scores.get(member)} ${member}`);
    expect(names(run(other, 'ZRANGE z 0 -1'))).toEqual(sorted);
    // Levels that members of the past brought may stay, with a count of all each.
    expect(store.sizeOf(utf8('z')) - other.sizeOf(utf8('z'))).toBeLessThanOrEqual(6 * 8);
  });

  test('is gone when its last member goes', () => {
    run(store, 'ZREMRANGEBYRANK z 1 -1');
    expect(run(store, 'ZCARD z')).toBe(1);
    run(store, `ZREM z ${sorted[0]}`);
    expect(run(store, 'EXISTS z')).toBe(0);
    expect(store.sizeOf(utf8('z'))).toBe(0);
  });
});
