import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import hashVectors from '../../test/vectors/hashes.json' with { type: 'json' };
import slotVectors from '../../test/vectors/redis_keyslot.json' with { type: 'json' };
import { fromHex, utf8 } from '../base/bytes.ts';
import { crc16 } from './hash/crc16.ts';
import { anyText, expectHasherPromises } from './hash/hash-keys.conformance.ts';
import { redis_slot, redisSlot, sameRedisSlot } from './redis-slot.ts';

describe('crc16', () => {
  test('is CRC-16/XMODEM', () => {
    for (const row of hashVectors.rows) expect(crc16(fromHex(row.hex)!)).toBe(Number.parseInt(row.crc16_xmodem, 16));
  });
});

describe('the Redis slot of a key', () => {
  test('is what a real redis-server says, for every key of the vectors', () => {
    for (const row of slotVectors.rows) {
      const key = fromHex(row.key_hex)!;
      expect([row.key_hex, redisSlot(key)]).toEqual([row.key_hex, row.slot]);
    }
  });

  test('is the same for a string and its bytes, braces anywhere', () => {
    const braces = fc.string({ unit: fc.constantFrom('{', '}', 'a', 'é', '\ud800'), maxLength: 20 });
    fc.assert(
      fc.property(fc.oneof(anyText, braces), (text) => {
        expect(redisSlot(text)).toBe(redisSlot(utf8(text)));
      }),
      { numRuns: 500 },
    );
  });

  test('depends on the hash tag alone', () => {
    fc.assert(
      fc.property(fc.string({ minLength: 1 }), fc.string(), fc.string(), (tag, before, after) => {
        fc.pre(!tag.includes('}') && !before.includes('{'));
        expect(redisSlot(`${before}{${tag}}${after}`)).toBe(redisSlot(`{${tag}}`));
        expect(sameRedisSlot(`${before}{${tag}}${after}`, `{${tag}}`)).toBe(true);
      }),
    );
  });
});

describe('the position of a key in a Redis-compatible keyspace', () => {
  test('keeps the promises of a hasher', () => expectHasherPromises(redis_slot));

  test('starts with the slot', () => {
    fc.assert(
      fc.property(anyText, (text) => {
        expect(redis_slot.position(text) >>> 18).toBe(redisSlot(text));
      }),
      { numRuns: 200 },
    );
  });

  test('still spreads the keys of one slot', () => {
    const positions = new Set(Array.from({ length: 1_000 }, (_, i) => redis_slot.position(`{tag}${i}`)));
    expect(positions.size).toBeGreaterThan(990);
  });
});
