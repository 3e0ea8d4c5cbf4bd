import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import hash4j from '../../test/vectors/hash4j_consistent.json' with { type: 'json' };
import javaEngines from '../../test/vectors/java_engines.json' with { type: 'json' };
import jumpVectors from '../../test/vectors/jump.json' with { type: 'json' };
import { concatBytes, toHex, utf8 } from '../base/bytes.ts';
import { AnchorHash } from './anchor-hash.ts';
import { murmur3_x64_128 } from './hash/murmur.ts';
import type { KeyInput } from './hasher.ts';
import { JumpBackAnchorHash } from './jump-back-anchor-hash.ts';
import { JumpBackHash, jumpBackHash } from './jump-back-hash.ts';
import { JumpHash, jumpHash } from './jump-hash.ts';

const hiOf = (hex: string): number => Number.parseInt(hex.slice(0, 8), 16);
const loOf = (hex: string): number => Number.parseInt(hex.slice(8), 16);
const keys = Array.from({ length: 3_000 }, (_, i) => `key:${i}`);

describe('agreement with other implementations', () => {
  test('jumpHash, with go-jump and the C++ of the paper', () => {
    for (const [key, buckets, bucket] of jumpVectors.rows as [string, number, number][]) {
      const hash = BigInt(key);
      expect([key, buckets, jumpHash(Number(hash >> 32n), Number(hash & 0xffffffffn), buckets)]).toEqual([key, buckets, bucket]);
    }
  });

  test("jumpHash, with Guava's consistentHash; jumpBackHash, with hash4j", () => {
    for (const [hex, buckets, guava, , jumpBack] of hash4j.rows as [string, number, number, number, number][]) {
      expect([hex, jumpHash(hiOf(hex), loOf(hex), buckets)]).toEqual([hex, guava]);
      expect([hex, jumpBackHash(hiOf(hex), loOf(hex), buckets)]).toEqual([hex, jumpBack]);
    }
  });

  test('JumpBackAnchorHash, with hash4j, through additions and removals, serialized state included', () => {
    const { hashes_hex: hashes, steps } = hash4j.set_hasher;
    let anchor: JumpBackAnchorHash | undefined;
    for (const step of steps) {
      if (!anchor) anchor = new JumpBackAnchorHash(1);
      else expect((step.op === 'add' ? anchor.add() : anchor.remove(step.bucket)).bucket).toBe(step.bucket);
      expect(toHex(anchor.state)).toBe(step.state_hex);
      expect(hashes.map((hex) => anchor!.bucketOf(hiOf(hex), loOf(hex)))).toEqual(step.buckets);
      const copy = JumpBackAnchorHash.fromState(anchor.state);
      expect(hashes.map((hex) => copy.bucketOf(hiOf(hex), loOf(hex)))).toEqual(step.buckets);
    }
  });

  test('AnchorHash, with the Java engine of its comparison library', () => {
    const bigEndian = (value: number): Uint8Array => Uint8Array.of(value >>> 24, value >>> 16, value >>> 8, value);
    const guava = (data: Uint8Array): bigint => {
      const lanes = new Uint32Array(2);
      murmur3_x64_128.lanes(data, 0, lanes);
      return ((BigInt(lanes[0]!) << 32n) | BigInt(lanes[1]!)) & 0x7fffffffffffffffn;
    };
    const SEED = 0xdeadbeef;
    let last = 0n;
    const draw = (key: KeyInput, bucket: number | undefined, bound: number): number => {
      const lastBytes = concatBytes(bigEndian(Number(last >> 32n)), bigEndian(Number(last & 0xffffffffn)));
      last = guava(
        bucket === undefined
          ? concatBytes(utf8(key as string), bigEndian(SEED))
          : concatBytes(lastBytes, bigEndian(bucket), bigEndian(SEED)),
      );
      return Number(last % BigInt(bound));
    };
    const cases = javaEngines.cases.filter((one) => one.alg === 'anchor');
    expect(cases.length).toBe(8);
    for (const { size, capacity, steps } of cases) {
      const anchor = new AnchorHash(size, { capacity, draw });
      for (const step of steps as { op: string; bucket?: number; buckets: number[] }[]) {
        if (step.op === 'remove') anchor.remove(step.bucket!);
        if (step.op === 'add') expect(anchor.add().bucket).toBe(step.bucket);
        expect(step.buckets.map((_, i) => anchor.owner(`key:${i}`))).toEqual(step.buckets);
      }
    }
  });
});

describe.each([
  ['JumpHash', (buckets: number) => new JumpHash(buckets)],
  ['JumpBackHash', (buckets: number) => new JumpBackHash(buckets)],
] as const)('%s', (_name, make) => {
  test('one bucket more moves keys only to it, about its share, and one less brings them back', () => {
    fc.assert(
      fc.property(fc.integer({ min: 1, max: 300 }), (buckets) => {
        const placed = make(buckets);
        const before = keys.map((key) => placed.owner(key));
        expect(placed.add()).toEqual({ bucket: buckets, movedShare: 1 / (buckets + 1) });
        const after = keys.map((key) => placed.owner(key));
        const moved = after.filter((bucket, i) => bucket !== before[i]);
        expect(moved.every((bucket) => bucket === buckets)).toBe(true);
        expect(Math.abs(moved.length - keys.length / (buckets + 1))).toBeLessThan(6 * Math.sqrt(keys.length / (buckets + 1)) + 1);
        placed.remove();
        expect(keys.map((key) => placed.owner(key))).toEqual(before);
      }),
      { numRuns: 15 },
    );
  });

  test('spreads keys evenly', () => {
    const counts = new Array<number>(10).fill(0);
    const placed = make(10);
    for (let i = 0; i < 20_000; i++) counts[placed.owner(`user:${i}`)]!++;
    for (const count of counts) expect(Math.abs(count - 2_000)).toBeLessThan(250);
  });

  test('gives distinct replicas, the owner first, as many as there are buckets', () => {
    fc.assert(
      fc.property(fc.string(), fc.integer({ min: 1, max: 12 }), fc.integer({ min: 1, max: 14 }), (key, buckets, count) => {
        const placed = make(buckets);
        const replicas = placed.replicas(key, count);
        expect(replicas[0]).toBe(placed.owner(key));
        expect(replicas).toHaveLength(Math.min(count, buckets));
        expect(new Set(replicas).size).toBe(replicas.length);
        expect(replicas.every((bucket) => bucket < buckets)).toBe(true);
        expect(placed.owner(utf8(key))).toBe(placed.owner(key));
      }),
    );
  });

  test('is refused impossible sizes: KF_BAD_OPTION, and the removal of the only bucket: KF_NO_NODES', () => {
    for (const wrong of [0, -1, 1.5, Number.NaN, 2 ** 31])
      expect(() => make(wrong)).toThrow(expect.objectContaining({ code: 'KF_BAD_OPTION' }));
    expect(() => make(1).remove()).toThrow(expect.objectContaining({ code: 'KF_NO_NODES' }));
  });
});

describe('the replicas of AnchorHash', () => {
  test('are distinct, in use, the owner first', () => {
    fc.assert(
      fc.property(
        fc.array(fc.integer({ min: 0, max: 11 }), { maxLength: 8 }),
        fc.string(),
        fc.integer({ min: 1, max: 14 }),
        (gone, key, count) => {
          const placed = new AnchorHash(12, { capacity: 20 });
          for (const bucket of new Set(gone)) placed.remove(bucket);
          const replicas = placed.replicas(key, count);
          expect(replicas[0]).toBe(placed.owner(key));
          expect(new Set(replicas).size).toBe(Math.min(count, placed.bucketCount));
          expect(replicas.every((bucket) => placed.has(bucket))).toBe(true);
        },
      ),
      { numRuns: 60 },
    );
  });

  test('spread evenly, and a bucket more or less moves little but its share of them', () => {
    const placed = new AnchorHash(10, { capacity: 16 });
    const rows = (): number[][] => Array.from({ length: 10_000 }, (_, i) => placed.replicas(`user:${i}`, 3));
    const held = new Array<number>(10).fill(0);
    const before = rows();
    for (const bucket of before.flat()) held[bucket]!++;
    for (const count of held) expect(Math.abs(count - 3_000)).toBeLessThan(300);
    const moved = (from: number[][], to: number[][]): number =>
      to.reduce((sum, row, i) => sum + row.filter((bucket) => !from[i]!.includes(bucket)).length, 0);
    placed.add();
    const more = rows();
    placed.remove(3);
    for (const one of [moved(before, more), moved(more, rows())]) expect(one / (30_000 / 11)).toBeLessThan(1.15);
    expect(() => placed.replicas('key', 0)).toThrow(expect.objectContaining({ code: 'KF_BAD_REPLICA_COUNT' }));
  });
});

describe.each([
  ['JumpBackAnchorHash', () => new JumpBackAnchorHash(12)],
  ['AnchorHash', () => new AnchorHash(12, { capacity: 40 })],
] as const)('%s', (_name, make) => {
  test('any removal moves the keys of that bucket alone, any addition only to the bucket that comes', () => {
    fc.assert(
      fc.property(fc.array(fc.integer({ min: -4, max: 15 }), { maxLength: 20 }), (changes) => {
        const placed = make();
        let before = keys.slice(0, 500).map((key) => placed.owner(key));
        for (const change of changes) {
          const adds = change < 0;
          if (!adds && (!placed.has(change) || placed.bucketCount === 1)) continue;
          const { bucket } = adds ? placed.add() : placed.remove(change);
          const after = keys.slice(0, 500).map((key) => placed.owner(key));
          after.forEach((owner, i) => {
            expect(placed.has(owner)).toBe(true);
            if (owner !== before[i]) expect(adds ? owner : before[i]).toBe(bucket);
          });
          before = after;
        }
      }),
      { numRuns: 30 },
    );
  });

  test('stays even after removals', () => {
    const placed = make();
    for (const bucket of [3, 0, 11, 7]) placed.remove(bucket);
    const counts = new Map<number, number>();
    for (let i = 0; i < 16_000; i++) counts.set(placed.owner(`user:${i}`), (counts.get(placed.owner(`user:${i}`)) ?? 0) + 1);
    expect(counts.size).toBe(8);
    for (const count of counts.values()) expect(Math.abs(count - 2_000)).toBeLessThan(250);
  });

  test('is refused a bucket that is not in use, and the last one, and is as it was', () => {
    const placed = make();
    placed.remove(5);
    for (const wrong of [5, 12, -1, 0.5])
      expect(() => placed.remove(wrong)).toThrow(expect.objectContaining({ code: 'KF_UNKNOWN_BUCKET' }));
    for (const bucket of [0, 1, 2, 3, 4, 6, 7, 8, 9, 10]) placed.remove(bucket);
    expect(() => placed.remove(11)).toThrow(expect.objectContaining({ code: 'KF_NO_NODES' }));
    expect(placed.owner('x')).toBe(11);
  });
});

describe('JumpBackAnchorHash', () => {
  test('gives distinct replicas among the buckets in use', () => {
    const placed = new JumpBackAnchorHash(9);
    placed.remove(2);
    placed.remove(6);
    for (const key of keys.slice(0, 300)) {
      const replicas = placed.replicas(key, 5);
      expect(replicas[0]).toBe(placed.owner(key));
      expect(new Set(replicas).size).toBe(5);
      expect(replicas.every((bucket) => placed.has(bucket))).toBe(true);
    }
    expect(placed.replicas('x', 20).sort()).toEqual(placed.buckets);
  });

  test('is refused a damaged state: KF_BAD_OPTION', () => {
    const damaged = [[], [1, 2, 3], [0, 0, 0, 0], [2, 0, 0, 0, 5, 0, 0, 0], [3, 0, 0, 0, 1, 0, 0, 0, 1, 0, 0, 0], [1, 0, 0, 0, 0, 0, 0, 0]];
    for (const bytes of damaged)
      expect(() => JumpBackAnchorHash.fromState(Uint8Array.from(bytes))).toThrow(expect.objectContaining({ code: 'KF_BAD_OPTION' }));
  });
});

test('an AnchorHash that is full says so: KF_ANCHOR_FULL', () => {
  const placed = new AnchorHash(2, { capacity: 3 });
  expect(placed.add().bucket).toBe(2);
  expect(() => placed.add()).toThrow(expect.objectContaining({ code: 'KF_ANCHOR_FULL' }));
});
