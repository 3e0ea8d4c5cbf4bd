import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { type Bytes, compareBytes, toHex, utf8 } from '../../src/base/bytes.ts';
import { KeyfleetError } from '../../src/base/errors.ts';
import { murmur3Position } from '../../src/partition/hash/murmur3-x86-128.ts';
import { ChainHash } from '../../src/shard/chain-hash.ts';
import { decodeEntry, type Entry, encodeEntry } from '../../src/shard/entry.ts';
import { KEY_LIMIT, stateKey } from '../../src/shard/key-layout.ts';
import { type PlainCommand, plain, plainBytes } from '../../src/shard/plain-bytes.ts';
import { ShardMachine } from '../../src/shard/shard-machine.ts';
import { decodeShardState, newShardState } from '../../src/shard/shard-state.ts';
import { SlotCounts } from '../../src/shard/slot-counts.ts';
import { MemoryStorage } from '../../src/storage/memory.ts';
import { bagMachine } from './bags.ts';
import { dump } from './dump.ts';

const WHOLE = { from: 0, to: 0x1_0000_0000 };
const FIRST = newShardState({ id: 1, range: WHOLE, table: 4, leader: 'n1' });

function plainMachine(storage: MemoryStorage, onEntry?: (entry: Entry<PlainCommand>, seq: number) => void, maxValueBytes = 1000) {
  return new ShardMachine({
    storage,
    module: plainBytes,
    positionOf: murmur3Position,
    state: FIRST,
    maxValueBytes,
    ...(onEntry ? { onEntry } : {}),
  });
}

const SLOT_SHIFT = 26;

function machineWithSlots() {
  const storage = new MemoryStorage();
  return new ShardMachine({
    storage,
    module: plainBytes,
    positionOf: murmur3Position,
    state: FIRST,
    maxValueBytes: 1_000,
    slotShift: SLOT_SHIFT,
  });
}

const run = (machine: ReturnType<typeof plainMachine>, key: Bytes, command: PlainCommand) =>
  machine.run(key, murmur3Position(key), command);
const get = (machine: ReturnType<typeof plainMachine>, key: Bytes, nowMs: number) =>
  machine.query(key, murmur3Position(key), plain.get(), nowMs);

describe('a shard that orders commands by running them', () => {
  const key = fc.constantFrom('', 'a', 'b', 'a\0', 'a\0b', 'x'.repeat(KEY_LIMIT), 'x'.repeat(KEY_LIMIT + 1), '\0'.repeat(300)).map(utf8);
  const value = fc.constantFrom('', 'v', 'w', 'y'.repeat(200), 'z'.repeat(1001)).map(utf8);
  const condition = fc.constantFrom('always', 'absent', 'present', { equals: utf8('v') });
  const ttlMs = fc.integer({ min: -5, max: 60 });
  const command = fc.oneof(
    { weight: 4, arbitrary: fc.record({ kind: fc.constant('set'), value, if: condition }) },
    { weight: 2, arbitrary: fc.record({ kind: fc.constant('set'), value, ttlMs, if: condition }) },
    fc.record({ kind: fc.constant('set'), value, keepTtl: fc.constant(true) }),
    { weight: 2, arbitrary: fc.record({ kind: fc.constant('delete'), if: condition }) },
    fc.record({ kind: fc.constant('expire'), ttlMs: fc.option(ttlMs) }),
  ) as fc.Arbitrary<PlainCommand>;
  const step = fc.oneof(
    { weight: 12, arbitrary: fc.record({ do: fc.constant('run' as const), key, command }) },
    { weight: 4, arbitrary: fc.record({ do: fc.constant('close' as const), laterMs: fc.integer({ min: -10, max: 20 }) }) },
    { weight: 1, arbitrary: fc.record({ do: fc.constant('sweep' as const) }) },
    { weight: 1, arbitrary: fc.record({ do: fc.constant('clear' as const) }) },
  );

  test('agrees with a map on every answer and count, and a replay of its entries gives the same bytes and the same hash', () => {
    fc.assert(
      fc.property(fc.array(step, { maxLength: 60 }), (steps) => {
        const storage = new MemoryStorage();
        const entries: Bytes[] = [];
        const machine = plainMachine(storage, (entry) => entries.push(encodeEntry(entry, plainBytes.commandCodec)));
        const oracle = new Map<string, { value: Bytes; expireAtMs: number | undefined }>();
        const keys = new Map<string, Bytes>();
        let clock = 1_000;
        let entryNow = 1_000;
        let table = 4;
        const live = (name: string) => {
          const record = oracle.get(name);
          return record && (record.expireAtMs === undefined || record.expireAtMs > entryNow) ? record : undefined;
        };
        machine.openEntry(clock);
        for (const one of steps) {
          if (one.do === 'close') {
            machine.closeEntry();
            clock += one.laterMs;
            machine.openEntry(clock);
            entryNow = Math.max(clock, machine.state.nowMs);
          } else if (one.do === 'sweep') {
            machine.expireKeys([...keys.values()]);
          } else if (one.do === 'clear') {
            machine.clear((table += 2));
            oracle.clear();
          } else {
            const name = toHex(one.key);
            keys.set(name, one.key);
            const before = live(name);
            const expected = plainTwin(before, one.command, entryNow);
            if (expected === 'too large') {
              expect(() => run(machine, one.key, one.command)).toThrow(expect.objectContaining({ code: 'KF_VALUE_TOO_LARGE' }));
              continue;
            }
            expect(run(machine, one.key, one.command)).toEqual({ done: expected.done, previous: before?.value });
            if (expected.after) oracle.set(name, expected.after);
            else oracle.delete(name);
          }
        }
        machine.closeEntry();
        machine.openEntry(clock);
        machine.expireKeys([...keys.values()]);
        machine.closeEntry();
        entryNow = Math.max(clock, machine.state.nowMs);
        for (const [name, one] of keys) {
          const record = live(name);
          expect(get(machine, one, entryNow)).toEqual({ present: !!record, value: record?.value, expireAtMs: record?.expireAtMs });
        }
        const left = [...oracle].filter(([name]) => live(name));
        expect(machine.state.keyCount).toBe(left.length);
        expect(machine.state.expiringCount).toBe(left.filter(([, { expireAtMs }]) => expireAtMs !== undefined).length);
        expect(machine.state.sizeBytes).toBe(left.reduce((sum, [name, { value: held }]) => sum + name.length / 2 + held.length, 0));
        expect(machine.state.applied).toBe(entries.length);
        if (entries.length > 0) expect(decodeShardState(storage.get(stateKey(1))!)).toEqual(machine.state);

        const twinStorage = new MemoryStorage();
        const twin = plainMachine(twinStorage);
        entries.forEach((bytes, index) => {
          expect(twin.applyEntry(decodeEntry(bytes, plainBytes.commandCodec), index + 1).kind).toBe('applied');
        });
        expect(twin.state).toEqual(machine.state);
        expect(dump(twinStorage)).toEqual(dump(storage));
      }),
      { numRuns: 200 },
    );
  });

  test('keeps nothing of a command that fails: storage, counts, hash and numbers are as if it had never come', () => {
    const storage = new MemoryStorage();
    const machine = bagMachine(storage);
    const bag = utf8('bag');
    machine.openEntry(1);
    machine.run(bag, murmur3Position(bag), { kind: 'put', cell: 'one', value: '1' });
    const before = dump(storage);
    const state = { ...machine.state };
    expect(() => machine.run(bag, murmur3Position(bag), { kind: 'put-then-fail' })).toThrow('as asked');
    expect(() => machine.run(utf8('new'), murmur3Position('new'), { kind: 'put-then-fail' })).toThrow('as asked');
    expect(() => machine.runMany(bag, { kind: 'move', from: 'bag', to: 'other', fail: true })).toThrow('as asked');
    expect(dump(storage)).toEqual(before);
    expect(machine.state).toEqual(state);
    machine.closeEntry();

    const twin = bagMachine(new MemoryStorage());
    twin.openEntry(1);
    twin.run(bag, murmur3Position(bag), { kind: 'put', cell: 'one', value: '1' });
    twin.closeEntry();
    expect(twin.state).toEqual(machine.state);
  });

  test('makes no entry of commands that change nothing', () => {
    const storage = new MemoryStorage();
    const machine = plainMachine(storage);
    machine.openEntry(5);
    expect(run(machine, utf8('k'), plain.delete())).toEqual({ done: false, previous: undefined });
    expect(machine.changed).toBe(false);
    expect(machine.closeEntry()).toBe(0);
    expect(dump(storage)).toEqual([]);
  });

  test('lets no time go back: an entry is never before the one ahead of it', () => {
    const machine = plainMachine(new MemoryStorage());
    machine.openEntry(1_000);
    run(machine, utf8('k'), plain.set(utf8('v'), { ttlMs: 100 }));
    machine.closeEntry();
    machine.openEntry(10);
    run(machine, utf8('l'), plain.set(utf8('v'), { ttlMs: 100 }));
    machine.closeEntry();
    expect(get(machine, utf8('l'), 0)).toMatchObject({ expireAtMs: 1_100 });
    expect(machine.state.nowMs).toBe(1_000);
  });
});

/** What `plainBytes` should do, said simply. */
function plainTwin(
  before: { value: Bytes; expireAtMs: number | undefined } | undefined,
  command: PlainCommand,
  nowMs: number,
): 'too large' | { done: boolean; after: { value: Bytes; expireAtMs: number | undefined } | undefined } {
  const condition = command.kind === 'expire' ? 'present' : (command.if ?? 'always');
  const met =
    condition === 'always' ||
    (condition === 'absent' && !before) ||
    (condition === 'present' && !!before) ||
    (typeof condition === 'object' && !!before && compareBytes(before.value, condition.equals) === 0);
  if (!met || (command.kind === 'delete' && !before)) return { done: false, after: before };
  if (command.kind === 'delete') return { done: true, after: undefined };
  const ttlMs = command.kind === 'set' && command.keepTtl ? undefined : (command.ttlMs ?? null);
  const expireAtMs = ttlMs === undefined ? before?.expireAtMs : ttlMs === null ? undefined : nowMs + ttlMs;
  const value = command.kind === 'set' ? command.value : before!.value;
  if (expireAtMs !== undefined && expireAtMs <= nowMs) return { done: true, after: undefined };
  if (value.length > 1000) return 'too large';
  return { done: true, after: { value, expireAtMs } };
}

describe('a shard fed from a log', () => {
  const entryAt = (prevHash: Bytes, epoch = 1): Entry<PlainCommand> => ({
    epoch,
    leader: 'n1',
    prevHash,
    nowMs: 10,
    commands: [{ kind: 'command', key: utf8('k'), command: plain.set(utf8('v')) }],
  });

  test('runs entries in order and reports a gap without touching anything', () => {
    const machine = plainMachine(new MemoryStorage());
    const first = entryAt(machine.state.hash);
    expect(machine.applyEntry(first, 1)).toEqual({ kind: 'applied', replies: [{ done: true, previous: undefined }], changed: [true] });
    expect(machine.applyEntry(first, 1)).toEqual({ kind: 'gap', expectedSeq: 2 });
    expect(machine.applyEntry(entryAt(machine.state.hash), 3)).toEqual({ kind: 'gap', expectedSeq: 2 });
    expect(machine.state.applied).toBe(1);
  });

  test('knows by slot what work its own entries were, not those of another leader', () => {
    const others = machineWithSlots();
    const own = machineWithSlots();
    const entry = entryAt(own.state.hash);
    const bytes = encodeEntry(entry, plainBytes.commandCodec);
    const chain = new ChainHash();
    chain.start(bytes);
    const hash = chain.finish();
    expect(others.applyEntry(entry, 1, bytes).kind).toBe('applied');
    expect(own.applyEntry(entry, 1, bytes, hash).kind).toBe('applied');
    expect(others.state).toEqual(own.state);
    const nothing = new SlotCounts({ range: WHOLE, shift: SLOT_SHIFT }).middle('load');
    expect(others.counts.middle('load')).toBe(nothing);
    expect(own.counts.middle('load')).not.toBe(nothing);
    expect([others.load, own.load]).toEqual([1, 1]);
  });

  test('counts an entry of an older epoch, and lets it have no effect', () => {
    const storage = new MemoryStorage();
    const machine = plainMachine(storage);
    machine.applyEntry({ ...entryAt(machine.state.hash, 2), kind: 'claim', leader: 'n2', commands: [] }, 1);
    expect(machine.applyEntry(entryAt(machine.state.hash, 1), 2)).toEqual({ kind: 'stale' });
    expect(machine.state).toMatchObject({ applied: 2, epoch: 2, leader: 'n2', leaderSeq: 1, keyCount: 0 });
    expect(machine.applyEntry({ ...entryAt(machine.state.hash, 2), leader: 'n2' }, 3).kind).toBe('applied');
    expect(machine.state).toMatchObject({ applied: 3, leaderSeq: 3, keyCount: 1 });
  });

  test('stops for good when an entry follows from another past', () => {
    const storage = new MemoryStorage();
    const machine = plainMachine(storage);
    machine.applyEntry(entryAt(machine.state.hash), 1);
    expect(machine.applyEntry(entryAt(new Uint8Array(16).fill(9)), 2)).toEqual({ kind: 'fault' });
    expect(() => get(machine, utf8('k'), 0)).toThrow(expect.objectContaining({ code: 'KF_SHARD_FAULTED' }));
    expect(() => machine.openEntry(0)).toThrow(expect.objectContaining({ code: 'KF_SHARD_FAULTED' }));
    expect(decodeShardState(storage.get(stateKey(1))!).status).toBe('faulted');
  });

  test('goes on after a command that fails for everyone, and answers that error', () => {
    const machine = plainMachine(new MemoryStorage());
    const commands = [
      { kind: 'command' as const, key: utf8('k'), command: plain.set(utf8('x'.repeat(1001))) },
      { kind: 'command' as const, key: utf8('k'), command: plain.set(utf8('v')) },
    ];
    const outcome = machine.applyEntry({ ...entryAt(machine.state.hash), commands }, 1);
    expect(outcome).toEqual({
      kind: 'applied',
      replies: [expect.any(KeyfleetError), { done: true, previous: undefined }],
      changed: [false, true],
    });
  });

  test('leaves no trace of an entry that its own storage could not take', () => {
    const storage = new MemoryStorage();
    const machine = plainMachine(storage);
    storage.refuse(new KeyfleetError('KF_DISK_FULL', 'full'));
    expect(() => machine.applyEntry(entryAt(machine.state.hash), 1)).toThrow('full');
    expect(machine.state).toEqual(FIRST);
    storage.refuse(undefined);
    expect(machine.applyEntry(entryAt(machine.state.hash), 1).kind).toBe('applied');
  });

  test('refuses bytes that are no entry, cut anywhere: KF_BAD_ENTRY', () => {
    const bytes = encodeEntry(entryAt(new Uint8Array(16)), plainBytes.commandCodec);
    expect(decodeEntry(bytes, plainBytes.commandCodec)).toEqual(entryAt(new Uint8Array(16)));
    const whole = 23 + 2 + 16;
    for (let length = 0; length < bytes.length; length++) {
      if (length === whole) continue;
      expect(() => decodeEntry(bytes.subarray(0, length), plainBytes.commandCodec)).toThrow(
        expect.objectContaining({ code: 'KF_BAD_ENTRY' }),
      );
    }
  });
});
