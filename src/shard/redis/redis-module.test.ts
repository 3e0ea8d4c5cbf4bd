import { describe, expect, test } from 'vitest';
import { show } from '../../../test/redis-differential/compare.ts';
import { ModuleStore } from '../../../test/redis-differential/module-store.ts';
import { InvariantError } from '../../base/assert.ts';
import { utf8 } from '../../base/bytes.ts';
import type { QueryContext } from '../value-module.ts';
import { everySpec } from './command-table.ts';
import { createRedisModule, HANDLED } from './redis-module.ts';

const NOW = 1_700_000_000_000;

/** A store at a time that the test sets, spoken to in lines. */
function open(settings: { maxStringBytes?: number } = {}) {
  const store = new ModuleStore(settings);
  store.nowMs = NOW;
  const run = (line: string, seed?: number): string => show(store.run(line.split(' ').map(utf8), seed));
  return { store, run, pass: (ms: number) => (store.nowMs += ms) };
}

describe('the Redis module', () => {
  test('carries out every command of the table that has keys, in each form that its route may want', () => {
    const named = (kinds: readonly string[], access: string) =>
      everySpec()
        .filter((spec) => spec.access === access && spec.subcommands.size === 0 && kinds.includes(spec.route.kind))
        .map((spec) => spec.name);
    expect(HANDLED.reads).toEqual(expect.arrayContaining(named(['one-key', 'split-and-join'], 'read')));
    expect(HANDLED.writes).toEqual(expect.arrayContaining(named(['one-key', 'split-and-join'], 'write')));
    expect(HANDLED.readsMany).toEqual(expect.arrayContaining(named(['many-keys-one-slot', 'split-and-join'], 'read')));
    expect(HANDLED.writesMany).toEqual(expect.arrayContaining(named(['many-keys-one-slot', 'split-and-join'], 'write')));
    for (const name of Object.values(HANDLED).flat()) expect(everySpec().map((spec) => spec.name)).toContain(name);
  });

  test('takes a write for a query as the mistake of its caller', () => {
    const ctx: QueryContext = {
      key: utf8('k'),
      nowMs: NOW,
      expireAtMs: undefined,
      sizeBytes: 0,
      cells: { get: () => undefined, has: () => false, scan: () => [].values() },
    };
    expect(() => createRedisModule().query(ctx, undefined, [utf8('SET'), utf8('k'), utf8('v')])).toThrow(InvariantError);
  });

  test('refuses what is malformed and changes nothing', () => {
    const { run } = open();
    run('SET k v');
    expect(run('SET k w EX')).toBe('-ERR syntax error');
    expect(run('SET k')).toBe("-ERR wrong number of arguments for 'set' command");
    expect(run('MSET a 1 b')).toBe("-ERR wrong number of arguments for 'mset' command");
    expect(run('HSET k f v')).toBe('-WRONGTYPE Operation against a key holding the wrong kind of value');
    expect(run('GET k')).toBe('"v"');
  });

  test('keeps strings below the limit it was made with', () => {
    const { run } = open({ maxStringBytes: 10 });
    expect(run('SETRANGE k 9 ab')).toBe('-ERR string exceeds maximum allowed size (proto-max-bulk-len)');
    expect(run('SETBIT k 80 1')).toBe('-ERR bit offset is not an integer or out of range');
    expect(run('SETRANGE k 8 ab')).toBe(':10');
    expect(run('APPEND k c')).toBe('-ERR string exceeds maximum allowed size (proto-max-bulk-len)');
  });

  test('says how much work a command was', () => {
    const module = createRedisModule();
    const ctx = {
      key: utf8('k'),
      nowMs: NOW,
      expireAtMs: undefined,
      sizeBytes: 0,
      cells: { get: () => undefined, has: () => false, set: () => {}, delete: () => {}, clear: () => {}, scan: () => [].values() },
    };
    const wide = Array.from({ length: 160 }, (_, i) => utf8(`f${i}`));
    expect(module.command(ctx, undefined, [utf8('SET'), utf8('k'), utf8('v')]).load ?? 1).toBe(1);
    expect(module.command(ctx, undefined, [utf8('SET'), utf8('k'), new Uint8Array(64 * 1024)]).load).toBe(5);
    expect(module.command(ctx, undefined, [utf8('HSET'), utf8('k'), ...wide]).load).toBe(11);
    expect(module.query(ctx, new Uint8Array(64 * 1024), [utf8('GET'), utf8('k')]).load).toBe(5);
  });
});

describe('an expiry', () => {
  test('holds to the millisecond', () => {
    const { run, pass } = open();
    run('SET k v PX 1500');
    expect([run('PTTL k'), run('TTL k'), run('PEXPIRETIME k')]).toEqual([':1500', ':2', `:${NOW + 1500}`]);
    pass(1_499);
    expect([run('GET k'), run('PTTL k'), run('TTL k')]).toEqual(['"v"', ':1', ':0']);
    pass(1);
    expect([run('GET k'), run('PTTL k'), run('EXISTS k')]).toEqual(['nil', ':-2', ':0']);
  });

  test('stays when a string is changed in place, and goes when it is replaced', () => {
    const { run } = open();
    for (const [before, command, ttl] of [
      ['1', 'INCR k', ':10000'],
      ['1', 'INCRBYFLOAT k 0.5', ':10000'],
      ['a', 'APPEND k b', ':10000'],
      ['a', 'SETRANGE k 1 b', ':10000'],
      ['a', 'SETBIT k 1 1', ':10000'],
      ['a', 'BITFIELD k SET u8 0 1', ':10000'],
      ['a', 'SET k b KEEPTTL', ':10000'],
      ['a', 'GETEX k', ':10000'],
      ['a', 'SET k b', ':-1'],
      ['a', 'GETSET k b', ':-1'],
      ['a', 'MSET k b', ':-1'],
      ['a', 'MSET k b j c', ':-1'],
      ['a', 'GETEX k PERSIST', ':-1'],
      ['a', 'PERSIST k', ':-1'],
      ['a', 'BITOP NOT k k', ':-1'],
    ] as const) {
      run(`SET k ${before} PX 10000`);
      run(command);
      expect({ command, ttl: run('PTTL k') }).toEqual({ command, ttl });
    }
  });

  test('moves with a key that is renamed, and is copied with one that is copied', () => {
    const { run } = open();
    run('SET a 1 PX 500');
    run('SET b 2');
    run('RENAME a b');
    expect([run('EXISTS a'), run('PTTL b')]).toEqual([':0', ':500']);
    run('COPY b c');
    expect([run('PTTL b'), run('PTTL c')]).toEqual([':500', ':500']);
  });

  test('that is not in the future removes the key', () => {
    const { run } = open();
    for (const command of [
      'EXPIRE k 0',
      'PEXPIRE k -1',
      `PEXPIREAT k ${NOW}`,
      'EXPIREAT k 1',
      `GETEX k PXAT ${NOW}`,
      `SET k v PXAT ${NOW}`,
    ]) {
      run('SET k v');
      run(command);
      expect({ command, exists: run('EXISTS k') }).toEqual({ command, exists: ':0' });
    }
    run('SET k v');
    expect(run(`PEXPIREAT k ${NOW + 1}`)).toBe(':1');
    expect(run('EXISTS k')).toBe(':1');
  });

  test('has no end for GT and LT when there is none', () => {
    const { run } = open();
    run('SET k v');
    expect([run('PEXPIRE k 500 GT'), run('PEXPIRE k 500 XX'), run('PEXPIRE k 500 LT')]).toEqual([':0', ':0', ':1']);
    expect([run('PEXPIRE k 500 GT'), run('PEXPIRE k 501 GT'), run('PEXPIRE k 501 LT'), run('PEXPIRE k 500 NX')]).toEqual([
      ':0',
      ':1',
      ':0',
      ':0',
    ]);
  });

  test('beyond the year 287,396 is kept as that', () => {
    const { run } = open();
    expect(run('SET k v PXAT 9223372036854775807')).toBe('+OK');
    expect(run('PEXPIRETIME k')).toBe(`:${Number.MAX_SAFE_INTEGER}`);
    expect(run('SET k v EXAT 9223372036854776')).toBe("-ERR invalid expire time in 'set' command");
    expect(run('EXPIRE k 9223372036854775')).toBe("-ERR invalid expire time in 'expire' command");
  });
});

describe('a key of another type', () => {
  test('leaves nothing of its hash behind when a string replaces it', () => {
    for (const command of [
      'SET k v',
      'MSET k v',
      'MSET k v j w',
      'SETEX k 10 v',
      'SET k v EX 10',
      'BITOP OR k src',
      'RENAME src k',
      'COPY src k REPLACE',
    ]) {
      const { run, store } = open();
      run('SET src v');
      run('HSET k f 1 g 2');
      expect({ command, reply: run(command).slice(0, 1) }).not.toEqual({ command, reply: '-' });
      expect({ command, size: store.sizeOf(utf8('k')) }).toEqual({ command, size: 2 });
      run('DEL k');
      run('HSET k h 3');
      expect(run('HGETALL k')).toBe('{"h": "3"}');
    }
  });
});

describe('OBJECT ENCODING', () => {
  test('names how Redis lays out what is set as a whole', () => {
    const { run } = open();
    run('SET k 123');
    expect(run('OBJECT ENCODING k')).toBe('"int"');
    run(`SET k ${'v'.repeat(44)}`);
    expect(run('OBJECT ENCODING k')).toBe('"embstr"');
    run(`SET k ${'v'.repeat(45)}`);
    expect(run('OBJECT ENCODING k')).toBe('"raw"');
    run('HSET h f v');
    expect(run('OBJECT ENCODING h')).toBe('"listpack"');
    run(`HSET h f ${'v'.repeat(65)}`);
    expect(run('OBJECT ENCODING h')).toBe('"hashtable"');
  });
});
