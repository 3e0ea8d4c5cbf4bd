import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { Prng } from '../base/prng.ts';
import { byCodeUnit, OrderedKeys } from './ordered-keys.ts';

function walk(keys: OrderedKeys, reverse: boolean, from?: string): string[] {
  const cursor = keys.cursor(reverse);
  const found: string[] = [];
  for (cursor.seek(reverse ? from : (from ?? '')); cursor.key !== undefined; cursor.advance()) found.push(cursor.key);
  return found;
}

describe('ordered keys', () => {
  test('come in order from any place in both directions, each once', () => {
    fc.assert(
      fc.property(fc.array(fc.string({ unit: 'binary-ascii', maxLength: 3 })), fc.string({ maxLength: 3 }), (added, from) => {
        const keys = new OrderedKeys();
        for (const key of added) keys.add(key);
        expect(keys.settle()).toBe(true);
        const sorted = [...new Set(added)].sort(byCodeUnit);
        expect(walk(keys, false, from)).toEqual(sorted.filter((key) => key >= from));
        expect(walk(keys, true, from)).toEqual(sorted.filter((key) => key < from).reverse());
        expect(keys.size).toBe(sorted.length);
      }),
    );
  });

  test.each(['ascending', 'descending', 'random'])('stay in order over many leaves, added %s', (how) => {
    const chance = new Prng(7);
    const all = Array.from({ length: 20_000 }, (_, i) => String(how === 'random' ? chance.below(1e9) : i).padStart(9, '0'));
    if (how === 'descending') all.reverse();
    const keys = new OrderedKeys();
    for (const key of all) keys.add(key);
    while (!keys.settle(700)) expect(keys.waiting).toBeGreaterThan(0);
    const sorted = [...new Set(all)].sort(byCodeUnit);
    expect(walk(keys, false)).toEqual(sorted);
    expect(walk(keys, true)).toEqual(sorted.reverse());
  });

  test('let a cursor go on where it is while others take their places', () => {
    fc.assert(
      fc.property(fc.uniqueArray(fc.nat(2_000), { minLength: 1 }), fc.array(fc.nat(2_000)), fc.boolean(), (first, later, reverse) => {
        const name = (n: number): string => String(n).padStart(4, '0');
        const keys = new OrderedKeys();
        for (const n of first) keys.add(name(n));
        keys.settle();
        const cursor = keys.cursor(reverse);
        cursor.seek(reverse ? undefined : '');
        const seen: string[] = [];
        let at = 0;
        while (cursor.key !== undefined) {
          seen.push(cursor.key);
          if (at < later.length) keys.add(name(later[at++]!));
          keys.settle();
          cursor.advance();
        }
        const ordered = [...seen].sort(byCodeUnit);
        expect(seen).toEqual(reverse ? ordered.reverse() : ordered);
        expect(new Set(seen).size).toBe(seen.length);
        for (const n of first) expect(seen).toContain(name(n));
      }),
    );
  });

  test('can be rebuilt under a cursor', () => {
    const keys = new OrderedKeys();
    for (const key of ['a', 'b', 'c', 'd']) keys.add(key);
    keys.settle();
    const cursor = keys.cursor(false);
    cursor.seek('b');
    keys.rebuild(['d', 'a']);
    cursor.advance();
    expect(cursor.key).toBe('d');
  });
});
