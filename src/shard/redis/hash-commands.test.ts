import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { ModuleStore } from '../../../test/redis-differential/module-store.ts';
import { type Bytes, fromUtf8, utf8 } from '../../base/bytes.ts';
import { Prng } from '../../base/prng.ts';
import type { CommandContext } from '../value-module.ts';
import { cellOf, fieldHash, fieldOf, placeOf } from './hash-fields.ts';
import { createRedisModule } from './redis-module.ts';
import type { Reply, TaggedReply } from './reply.ts';

function hashOf(fieldCount: number): ModuleStore {
  const store = new ModuleStore();
  store.nowMs = 1_700_000_000_000;
  const args = [utf8('HSET'), utf8('h')];
  for (let i = 0; i < fieldCount; i++) args.push(utf8(`f${i}`), utf8(`v${i}`));
  store.run(args);
  return store;
}

const run = (store: ModuleStore, line: string, seed?: number): Reply => store.run(line.split(' ').map(utf8), seed);
const texts = (reply: Reply): string[] => (reply as Bytes[]).map(fromUtf8);

/** One step of HSCAN: the cursor, and the fields. */
function step(store: ModuleStore, cursor: string, count: number): { cursor: string; fields: string[] } {
  const [next, items] = run(store, `HSCAN h ${cursor} COUNT ${count}`) as [Bytes, Bytes[]];
  return { cursor: fromUtf8(next), fields: items.filter((_, i) => i % 2 === 0).map(fromUtf8) };
}

describe('the cells of a hash', () => {
  test('lie in the order of a hash of the field that never changes', () => {
    expect([fieldHash(utf8('')), fieldHash(utf8('a')), fieldHash(utf8('field'))]).toEqual([0xab3e7c0b, 0x1a80b1b3, 0x493e4b00]);
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 200 }), (field) => {
        const cell = cellOf(field);
        expect(fieldOf(cell)).toEqual(field);
        expect(placeOf(cell)).toBe(fieldHash(field));
      }),
    );
  });

  test('are touched piecewise: a command reads and writes its own fields only, however many there are', () => {
    const module = createRedisModule();
    const calls: string[] = [];
    const called = <T>(name: string, answer: T): T => {
      calls.push(name);
      return answer;
    };
    const cells: CommandContext['cells'] = {
      get: () => called('get', utf8('1')),
      has: () => called('has', true),
      set: () => calls.push('set'),
      delete: () => calls.push('delete'),
      clear: () => calls.push('clear'),
      scan: () => called('scan', [].values()),
    };
    const ctx: CommandContext = { key: utf8('h'), nowMs: 0, expireAtMs: undefined, sizeBytes: 1e8, cells };
    const value = { kind: 'hash' as const, fieldCount: 1_000_000, isWide: true };
    for (const [line, wanted] of [
      ['HSET h f v', ['get', 'set']],
      ['HSET h f v g w', ['get', 'set', 'get', 'set']],
      ['HSETNX h f v', ['has']],
      ['HDEL h f', ['get', 'delete']],
      ['HINCRBY h f 1', ['get', 'get', 'set']],
    ] as const) {
      calls.length = 0;
      const result = module.command(ctx, value, line.split(' ').map(utf8));
      expect({ line, calls }).toEqual({ line, calls: wanted });
      if (!line.startsWith('HDEL')) expect(result.value).toBe(value);
    }
    for (const [line, wanted] of [
      ['HGET h f', ['get']],
      ['HEXISTS h f', ['has']],
      ['HLEN h', []],
      ['HSTRLEN h f', ['get']],
      ['HMGET h f g', ['get', 'get']],
    ] as const) {
      calls.length = 0;
      module.query(ctx, value, line.split(' ').map(utf8));
      expect({ line, calls }).toEqual({ line, calls: wanted });
    }
  });
});

describe('HSCAN', () => {
  test('answers a small hash whole, as Redis does', () => {
    const store = hashOf(400);
    expect(step(store, '0', 10).cursor).toBe('0');
    expect(step(store, '0', 10).fields.length).toBe(400);
  });

  test('answers each field that is there throughout exactly once, whatever comes and goes meanwhile', () => {
    const prng = new Prng(5);
    for (let round = 0; round < 20; round++) {
      const store = hashOf(600);
      const lasting = Array.from({ length: 600 }, (_, i) => `f${i}`).filter((_, i) => i % 3 !== 0);
      const seen = new Map<string, number>();
      let cursor = '0';
      let steps = 0;
      do {
        const next = step(store, cursor, 1 + prng.below(40));
        for (const field of next.fields) seen.set(field, (seen.get(field) ?? 0) + 1);
        cursor = next.cursor;
        for (let i = 0; i < 20; i++) {
          const field = `f${3 * prng.below(200)}`;
          run(store, prng.below(2) === 0 ? `HDEL h ${field}` : `HSET h ${field} again`);
          run(store, `HSET h new${prng.u32()} v`);
        }
        steps++;
      } while (cursor !== '0' && steps < 5_000);
      expect(cursor).toBe('0');
      expect(lasting.filter((field) => seen.get(field) !== 1)).toEqual([]);
    }
  });

  test('takes about as many as COUNT at a time from a large hash', () => {
    const store = hashOf(2_000);
    expect(step(store, '0', 10).fields.length).toBe(10);
    expect(step(store, '4294967296', 10)).toEqual({ cursor: '0', fields: [] });
  });
});

describe('HRANDFIELD', () => {
  test('answers the same for the same seed, and other fields for others', () => {
    const store = hashOf(1_000);
    const answers = Array.from({ length: 20 }, (_, seed) => texts(run(store, 'HRANDFIELD h 5', seed)).join());
    expect(new Set(answers).size).toBe(20);
    expect(texts(run(store, 'HRANDFIELD h 5', 7)).join()).toBe(answers[7]);
  });

  test.each([10, 1_000])('answers different fields of %i for a positive count, all of them when it is large enough', (size) => {
    const store = hashOf(size);
    for (const count of [0, 1, 3, size - 1, size, size + 5]) {
      const fields = texts(run(store, `HRANDFIELD h ${count}`, count));
      expect(fields.length).toBe(Math.min(count, size));
      expect(new Set(fields).size).toBe(fields.length);
      for (const field of fields) expect(run(store, `HEXISTS h ${field}`)).toBe(1);
    }
  });

  test('answers as many fields as a negative count says, again and again the same if need be', () => {
    const store = hashOf(3);
    const reply = run(store, 'HRANDFIELD h -50 WITHVALUES', 1) as Extract<TaggedReply, { kind: 'pairs' }>;
    expect(reply.pairs.length).toBe(50);
    for (const [field, value] of reply.pairs) expect(fromUtf8(value as Bytes)).toBe(fromUtf8(field as Bytes).replace('f', 'v'));
  });

  test.each([100, 1_000])('picks every field of %i about as often', (size) => {
    const store = hashOf(size);
    const counts = new Map<string, number>();
    const picks = 60 * size;
    const repeated = size <= 128 ? texts(run(store, `HRANDFIELD h -${picks}`, 3)) : [];
    if (size > 128) {
      for (let seed = 0; seed < picks / 100; seed++) repeated.push(...texts(run(store, 'HRANDFIELD h -100', seed)));
    }
    for (const field of repeated) counts.set(field, (counts.get(field) ?? 0) + 1);
    expect(counts.size).toBe(size);
    expect(Math.max(...counts.values())).toBeLessThan(3 * 60);
    expect(Math.min(...counts.values())).toBeGreaterThan(60 / 4);
  });
});
