import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { type Bytes, fromUtf8, toHex, utf8 } from '../../src/base/bytes.ts';
import { KeyfleetError } from '../../src/base/errors.ts';
import { Prng } from '../../src/base/prng.ts';
import { murmur3Position } from '../../src/partition/hash/murmur3-x86-128.ts';
import { type CounterCommand, counter, counterModule } from '../../src/shard/counter.ts';
import { decodeEntry, encodeEntry } from '../../src/shard/entry.ts';
import { sessionKeyOf, sessionRange, stateKey } from '../../src/shard/key-layout.ts';
import type { RequestId } from '../../src/shard/request-id.ts';
import { decodeSession, encodeSession, type StoredResult } from '../../src/shard/session-record.ts';
import { MAX_UNACKNOWLEDGED, PLACE_SHIFT } from '../../src/shard/sessions.ts';
import { ShardMachine } from '../../src/shard/shard-machine.ts';
import { decodeShardState, newShardState } from '../../src/shard/shard-state.ts';
import type { ValueModule } from '../../src/shard/value-module.ts';
import { MemoryStorage } from '../../src/storage/memory.ts';
import { dump } from './dump.ts';

const WHOLE = { from: 0, to: 0x1_0000_0000 };
const FIRST = newShardState({ id: 1, range: WHOLE, table: 4, leader: 'n1' });
const ANNA = utf8('anna');

/** A shard of counters over `storage`, which may hold one already. */
function counters(storage: MemoryStorage, entries: Bytes[] = []) {
  const stored = storage.get(stateKey(1));
  const machine = new ShardMachine({
    storage,
    module: counterModule,
    positionOf: murmur3Position,
    state: stored ? decodeShardState(stored) : FIRST,
    maxValueBytes: 1_000,
    keyspaceId: 7,
    onEntry: (entry) => entries.push(encodeEntry(entry, counterModule.commandCodec)),
  });
  let nowMs = 1_000;
  const once = (request: Partial<RequestId> & { requestSeq: number }, command: CounterCommand, key = 'k'): number | string => {
    try {
      return machine.runOnce({ clientId: ANNA, ackedBelow: 0, ...request }, utf8(key), murmur3Position(key), command);
    } catch (error) {
      return error instanceof KeyfleetError ? error.code : String(error);
    }
  };
  return {
    machine,
    once,
    open: (laterMs = 0) => machine.openEntry((nowMs += laterMs)),
    close: () => machine.closeEntry(),
    value: (key = 'k') => machine.query(utf8(key), murmur3Position(key), null, 0),
  };
}

function sessionPairs(storage: MemoryStorage, range = WHOLE): string[] {
  return [...storage.scan(sessionRange(7, range))].map(({ key }) => toHex(key));
}

describe('a request with an id', () => {
  test('is run once: when it comes again, it hears what it came to then', () => {
    const { machine, once, open, close, value } = counters(new MemoryStorage());
    open();
    expect([once({ requestSeq: 1 }, counter.add()), machine.changed]).toEqual([1, true]);
    expect([once({ requestSeq: 1 }, counter.add()), machine.changed]).toEqual([1, false]);
    close();
    open();
    expect(once({ requestSeq: 2 }, counter.add())).toBe(2);
    expect([once({ requestSeq: 1 }, counter.add()), once({ requestSeq: 2 }, counter.add())]).toEqual([1, 2]);
    expect(value()).toBe(2);
    expect(close()).toBe(2);
  });

  test('is its client`s alone: the same number of another client, keyspace or place is another request', () => {
    const { once, open, value } = counters(new MemoryStorage());
    open();
    once({ requestSeq: 1 }, counter.add());
    expect(once({ requestSeq: 1, clientId: utf8('ann') }, counter.add())).toBe(2);
    expect(once({ requestSeq: 1, clientId: utf8('anna\0') }, counter.add())).toBe(3);
    expect(once({ requestSeq: 1 }, counter.add(), 'elsewhere')).toBe(1);
    expect([value(), value('elsewhere')]).toEqual([3, 1]);
  });

  test('is remembered also when it changed nothing, and when it failed', () => {
    const { machine, once, open } = counters(new MemoryStorage());
    open();
    expect(once({ requestSeq: 1 }, counter.remove())).toBe(0);
    expect(once({ requestSeq: 2 }, counter.add(0.5))).toBe('KF_BAD_COMMAND');
    machine.run(utf8('k'), murmur3Position('k'), counter.set(9));
    expect(once({ requestSeq: 1 }, counter.remove())).toBe(0);
    expect(once({ requestSeq: 2 }, counter.add(0.5))).toBe('KF_BAD_COMMAND');
    expect(machine.state.keyCount).toBe(1);
  });

  test('is refused when its number was another request`s: KF_REQUEST_MISMATCH', () => {
    const { once, open, value } = counters(new MemoryStorage());
    open();
    once({ requestSeq: 1 }, counter.add(5));
    expect(once({ requestSeq: 1 }, counter.add(6))).toBe('KF_REQUEST_MISMATCH');
    expect(value()).toBe(5);
  });

  test('is refused when the id is none: KF_BAD_REQUEST_ID', () => {
    const { once, open, value } = counters(new MemoryStorage());
    open();
    const bad: readonly (Partial<RequestId> & { requestSeq: number })[] = [
      { requestSeq: -1 },
      { requestSeq: 0.5 },
      { requestSeq: 1, ackedBelow: 2 },
      { requestSeq: 1, ackedBelow: -1 },
      { requestSeq: 1, clientId: new Uint8Array(0) },
      { requestSeq: 1, clientId: new Uint8Array(256) },
      { requestSeq: 1, issuedMs: Number.NaN },
      { requestSeq: 1, issuedMs: 1_001 + 24 * 3_600_000 },
    ];
    for (const request of bad) expect(once(request, counter.add())).toBe('KF_BAD_REQUEST_ID');
    expect(once({ requestSeq: 2 ** 53 - 1, clientId: new Uint8Array(255), issuedMs: 1_000 + 24 * 3_600_000 }, counter.add())).toBe(1);
    expect(value()).toBe(1);
  });

  test('leaves no trace when the storage cannot take it, at whichever write, and can be sent again', () => {
    const storage = new MemoryStorage();
    const { machine, once, open } = counters(storage);
    open();
    once({ requestSeq: 1 }, counter.add());
    const before = dump(storage);
    const state = { ...machine.state };
    for (const allowed of [0, 1]) {
      const put = storage.put.bind(storage);
      let puts = 0;
      storage.put = (key, bytes) => {
        if (puts++ === allowed) throw new KeyfleetError('KF_DISK_FULL', 'full');
        put(key, bytes);
      };
      expect(once({ requestSeq: 2 }, counter.add())).toBe('KF_DISK_FULL');
      storage.put = put;
      expect(dump(storage)).toEqual(before);
      expect(machine.state).toEqual(state);
    }
    expect(once({ requestSeq: 2 }, counter.add())).toBe(2);
  });

  test('costs a command without one nothing: no session is looked for or kept', () => {
    const storage = new MemoryStorage();
    const { machine, open, close } = counters(storage);
    open();
    machine.run(utf8('k'), murmur3Position('k'), counter.add());
    close();
    expect(sessionPairs(storage)).toEqual([]);
  });
});

describe('what a session keeps', () => {
  test('goes when the client says that it has heard it, long results and short ones', () => {
    const storage = new MemoryStorage();
    const lines: ValueModule<string, string, string, null, null> = {
      name: 'lines',
      codec: { encode: utf8, decode: fromUtf8 },
      commandCodec: { encode: utf8, decode: fromUtf8 },
      replyCodec: { encode: utf8, decode: fromUtf8 },
      command: (_ctx, value = '', command) => ({ reply: value + command, value: value + command }),
      query: () => ({ answer: null }),
    };
    const machine = new ShardMachine({
      storage,
      module: lines,
      positionOf: () => 5,
      state: FIRST,
      maxValueBytes: 1e6,
      keyspaceId: 7,
    });
    machine.openEntry(0);
    const heard: string[] = [];
    const say = (requestSeq: number, ackedBelow: number): string =>
      machine.runOnce({ clientId: ANNA, requestSeq, ackedBelow }, utf8('k'), 5, `${requestSeq}`.repeat(3));
    for (let seq = 0; seq < 60; seq++) heard.push(say(seq, 0));
    expect(sessionPairs(storage).length).toBeGreaterThan(20);
    expect(storage.scan(sessionRange(7, WHOLE)).next().value.value.length).toBeLessThan(16 * 75 + 60 * 6 + 19);
    for (let seq = 0; seq < 60; seq++) expect(say(seq, 0)).toBe(heard[seq]);
    say(60, 59);
    expect(sessionPairs(storage)).toHaveLength(3);
    expect(say(59, 59)).toBe(heard[59]);
    expect(() => say(58, 0)).toThrow(expect.objectContaining({ code: 'KF_SESSION_EXPIRED' }));
    say(61, 61);
    expect(sessionPairs(storage)).toHaveLength(2);
  });

  test('is bounded: a client that never says what it has heard is refused in the end: KF_SESSION_FULL', () => {
    const storage = new MemoryStorage();
    const { once, open, value } = counters(storage);
    open();
    const key = sessionRange(7, { from: murmur3Position('k') - (murmur3Position('k') % (1 << PLACE_SHIFT)), to: WHOLE.to }).from;
    const results: StoredResult[] = Array.from({ length: MAX_UNACKNOWLEDGED }, (_, requestSeq) => ({
      requestSeq,
      kind: 'reply',
      fingerprint: 0,
      body: undefined,
    }));
    storage.put(Uint8Array.of(...key, ANNA.length, ...ANNA), encodeSession({ usedMs: 1_000, floor: 0, results }));
    expect(once({ requestSeq: MAX_UNACKNOWLEDGED }, counter.add())).toBe('KF_SESSION_FULL');
    expect(value()).toBe(undefined);
    expect(once({ requestSeq: MAX_UNACKNOWLEDGED, ackedBelow: 1 }, counter.add())).toBe(1);
  });

  test('lies within the range of its keys, so that a shard`s range of positions has the sessions of its keys', () => {
    const storage = new MemoryStorage();
    const { once, open } = counters(storage);
    open();
    for (let i = 0; i < 200; i++) once({ requestSeq: i }, counter.add(), `key ${i}`);
    const cut = 0x8000_0000;
    const left = sessionPairs(storage, { from: 0, to: cut });
    const right = sessionPairs(storage, { from: cut, to: WHOLE.to });
    expect([...left, ...right]).toEqual(sessionPairs(storage));
    const positions = Array.from({ length: 200 }, (_, i) => murmur3Position(`key ${i}`));
    expect(left).toHaveLength(positions.filter((position) => position < cut).length);
    expect(sessionPairs(storage, WHOLE)).toHaveLength(200);
    expect([...storage.scan(sessionRange(6, WHOLE)), ...storage.scan(sessionRange(8, WHOLE))]).toEqual([]);
  });

  test('is written down and read back the same', () => {
    const result = fc.record({
      kind: fc.constantFrom('reply' as const, 'error' as const),
      fingerprint: fc.nat(0xffff_ffff),
      body: fc.option(fc.uint8Array({ maxLength: 200 }), { nil: undefined }),
    });
    fc.assert(
      fc.property(fc.nat(2 ** 31), fc.array(fc.tuple(fc.maxSafeNat(), result), { maxLength: 20 }), (usedMs, pairs) => {
        const bySeq = new Map(pairs.map(([seq, one]) => [seq, { requestSeq: seq, ...one }]));
        const results = [...bySeq.values()].sort((a, b) => a.requestSeq - b.requestSeq);
        const record = { usedMs, floor: results[0]?.requestSeq ?? 3, results };
        expect(decodeSession(encodeSession(record))).toEqual(record);
      }),
    );
  });
});

describe('a session that has expired', () => {
  test('is absent for everyone from the entry on; what may have been run and forgotten is refused: KF_SESSION_EXPIRED', () => {
    const { machine, once, open, close, value } = counters(new MemoryStorage());
    open();
    once({ requestSeq: 1, issuedMs: 900 }, counter.add());
    close();
    open(5_000);
    machine.expireSessions(1_001);
    expect(once({ requestSeq: 1, issuedMs: 900 }, counter.add())).toBe('KF_SESSION_EXPIRED');
    expect(once({ requestSeq: 2, issuedMs: 1_000 }, counter.add())).toBe('KF_SESSION_EXPIRED');
    expect(once({ requestSeq: 3, issuedMs: 1_001 }, counter.add())).toBe(2);
    machine.expireSessions(500);
    expect(machine.state.sessionsExpiredBeforeMs).toBe(1_001);
    expect(value()).toBe(2);
  });

  test('stays while it is used, by the clock of the log or of the client, whichever is later', () => {
    const { machine, once, open, close } = counters(new MemoryStorage());
    open();
    once({ requestSeq: 1, issuedMs: 50_000 }, counter.add());
    close();
    open(10_000);
    machine.expireSessions(50_000);
    expect(once({ requestSeq: 1, issuedMs: 50_000 }, counter.add())).toBe(1);
    machine.expireSessions(50_001);
    expect(once({ requestSeq: 1, issuedMs: 50_000 }, counter.add())).toBe('KF_SESSION_EXPIRED');
  });

  test('leaves nothing behind when its client comes again', () => {
    const storage = new MemoryStorage();
    const { machine, once, open, close } = counters(storage);
    open();
    for (let seq = 0; seq < 100; seq++) once({ requestSeq: seq }, counter.add());
    close();
    expect(sessionPairs(storage).length).toBeGreaterThan(80);
    open(1_000);
    machine.expireSessions(1_500);
    once({ requestSeq: 200, ackedBelow: 100 }, counter.add());
    const pairs = [...storage.scan(sessionRange(7, WHOLE))];
    expect(pairs).toHaveLength(1);
    expect(sessionKeyOf(pairs[0]!.key)).toBe(pairs[0]!.key);
    expect(decodeSession(pairs[0]!.value).results.map(({ requestSeq }) => requestSeq)).toEqual([200]);
  });
});

describe('replicas', () => {
  const request = fc.record({
    client: fc.constantFrom('a', 'b', 'cc'),
    requestSeq: fc.nat(12),
    ackedBelow: fc.nat(6),
    issuedMs: fc.option(fc.integer({ min: 800, max: 1_200 }), { nil: undefined }),
    key: fc.constantFrom('x', 'y', 'z'),
    by: fc.constantFrom(1, 2, 0.5),
  });
  const step = fc.oneof(
    { weight: 10, arbitrary: fc.record({ do: fc.constant('once' as const), request }) },
    { weight: 2, arbitrary: fc.record({ do: fc.constant('plain' as const), key: fc.constantFrom('x', 'y') }) },
    { weight: 3, arbitrary: fc.record({ do: fc.constant('close' as const) }) },
    { weight: 1, arbitrary: fc.record({ do: fc.constant('expire' as const), beforeMs: fc.integer({ min: 900, max: 1_100 }) }) },
  );

  test('that run the same entries have the same sessions, to the byte, and never run a request twice', () => {
    fc.assert(
      fc.property(fc.array(step, { maxLength: 80 }), (steps) => {
        const storage = new MemoryStorage();
        const entries: Bytes[] = [];
        const { machine, once, open, close, value } = counters(storage, entries);
        const ran = new Map<string, number | string>();
        let forgotten = false;
        const sums = new Map<string, number>();
        open();
        for (const one of steps) {
          if (one.do === 'close') {
            close();
            open(20);
          } else if (one.do === 'expire') {
            machine.expireSessions(one.beforeMs);
            forgotten = true;
          } else if (one.do === 'plain') {
            sums.set(one.key, machine.run(utf8(one.key), murmur3Position(one.key), counter.add()));
          } else {
            const { client, key, by, requestSeq, issuedMs } = one.request;
            const ackedBelow = Math.min(one.request.ackedBelow, requestSeq);
            const id = { clientId: utf8(client), requestSeq, ackedBelow, ...(issuedMs === undefined ? {} : { issuedMs }) };
            const name = `${client} ${requestSeq} ${key} ${by}`;
            const before = sums.get(key) ?? 0;
            const outcome = once(id, counter.add(by), key);
            const after = value(key) ?? 0;
            if (after !== before) {
              expect([outcome, after]).toEqual([before + by, before + by]);
              if (!forgotten) expect(ran.has(name)).toBe(false);
              ran.set(name, outcome);
              sums.set(key, after);
            } else if (typeof outcome === 'number') {
              expect(outcome).toBe(ran.get(name));
            } else {
              expect(['KF_BAD_COMMAND', 'KF_REQUEST_MISMATCH', 'KF_SESSION_EXPIRED']).toContain(outcome);
            }
          }
        }
        close();

        const twinStorage = new MemoryStorage();
        const twin = counters(twinStorage).machine;
        entries.forEach((bytes, index) => {
          expect(twin.applyEntry(decodeEntry(bytes, counterModule.commandCodec), index + 1).kind).toBe('applied');
        });
        expect(twin.state).toEqual(machine.state);
        expect(dump(twinStorage)).toEqual(dump(storage));
      }),
      { numRuns: 200 },
    );
  });

  test('that find one request twice in the log, as after an append of unknown outcome, run it once and answer it twice', () => {
    const { machine, value } = counters(new MemoryStorage());
    const command = {
      kind: 'command' as const,
      key: utf8('k'),
      command: counter.add(),
      request: { clientId: ANNA, requestSeq: 1, ackedBelow: 0 },
    };
    const entry = () => ({ epoch: 1, leader: 'n1', prevHash: machine.state.hash, nowMs: 10, commands: [command, command] });
    expect(machine.applyEntry(entry(), 1)).toEqual({ kind: 'applied', replies: [1, 1], changed: [true, false] });
    expect(machine.applyEntry(entry(), 2)).toEqual({ kind: 'applied', replies: [1, 1], changed: [false, false] });
    expect(value()).toBe(1);
  });
});

describe('a client whose replies get lost', () => {
  /** Increments `keys` counters; each reply is lost by chance, and the storage may crash, losing what was not durable. Retries until heard. */
  function incrementAll(options: { readonly withSession: boolean; readonly seed: number }): number[] {
    const chance = new Prng(options.seed);
    let storage = new MemoryStorage({ holdDurability: true });
    let shard = counters(storage);
    const keys = Array.from({ length: 20 }, (_, i) => `key ${i}`);
    let requestSeq = 0;
    for (const key of keys) {
      const seq = requestSeq++;
      for (let heard = false; !heard; ) {
        shard.open(1);
        if (options.withSession) shard.once({ requestSeq: seq, ackedBelow: seq }, counter.add(), key);
        else shard.machine.run(utf8(key), murmur3Position(key), counter.add());
        shard.close();
        storage.commit();
        const durable = chance.below(2) === 0;
        if (durable) storage.release();
        if (chance.below(3) === 0) {
          storage = storage.crash();
          shard = counters(storage);
        } else {
          storage.release();
          heard = chance.below(2) === 0;
        }
      }
    }
    return keys.map((key) => shard.value(key) ?? 0);
  }

  test('increments each counter exactly once, and more than once without a session', () => {
    for (let seed = 1; seed <= 50; seed++) expect(incrementAll({ withSession: true, seed })).toEqual(new Array(20).fill(1));
    expect(incrementAll({ withSession: false, seed: 1 }).some((count) => count > 1)).toBe(true);
  });
});
