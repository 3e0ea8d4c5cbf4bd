import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { type Bytes, fromUtf8, utf8 } from '../../src/base/bytes.ts';
import { murmur3Position } from '../../src/partition/hash/murmur3-x86-128.ts';
import { decodeEntry } from '../../src/shard/entry.ts';
import { stateKey } from '../../src/shard/key-layout.ts';
import { plain, plainBytes } from '../../src/shard/plain-bytes.ts';
import { SnapshotReader } from '../../src/shard/replica/snapshot.ts';
import { decodeShardState, encodeShardState, newShardState } from '../../src/shard/shard-state.ts';
import { SlotCounts } from '../../src/shard/slot-counts.ts';
import { recountSlots } from '../../src/shard/slot-recount.ts';
import { MemoryStorage } from '../../src/storage/memory.ts';
import { dump } from './dump.ts';
import { type Machine, machineOf, SHIFT, Shards, TABLE, WHOLE } from './joined-shards.ts';

const numbers = (counts: SlotCounts): string[] => {
  const found: string[] = [];
  for (let slot = counts.firstSlot; slot < counts.endSlot; slot++) {
    const { keys, bytes, expiring } = counts.sum(slot, slot + 1);
    if (keys || bytes || expiring) found.push(`${slot}: ${keys} ${bytes} ${expiring}`);
  }
  return found;
};

describe('shards that are cut and joined while they are written to', () => {
  const key = fc.nat(400).map((n) => `key ${n}`);
  const step = fc.oneof(
    { weight: 12, arbitrary: fc.record({ do: fc.constant('set' as const), key, bytes: fc.nat(300), ttl: fc.boolean() }) },
    { weight: 4, arbitrary: fc.record({ do: fc.constant('delete' as const), key }) },
    { weight: 4, arbitrary: fc.record({ do: fc.constantFrom('close' as const, 'abandon' as const, 'reopen' as const) }) },
    { weight: 2, arbitrary: fc.record({ do: fc.constant('split' as const), unit: fc.nat(4_095) }) },
    { weight: 1, arbitrary: fc.record({ do: fc.constant('merge' as const), index: fc.nat(20) }) },
    { weight: 1, arbitrary: fc.record({ do: fc.constant('clear' as const) }) },
  );

  test('lose nothing, count every slot exactly, and are told the same by their logs', () => {
    let cuts = 0;
    let joins = 0;
    fc.assert(
      fc.property(fc.array(step, { maxLength: 120, size: 'max' }), (steps) => {
        const shards = new Shards();
        let settled = new Map<string, number>();
        let oracle = new Map<string, number>();
        let savepoint = shards.storage.savepoint();
        let logged = 0;
        let table = TABLE;
        const settle = (): void => {
          shards.closeAll();
          settled = new Map(oracle);
          savepoint = shards.storage.savepoint();
          logged = shards.entries.length;
        };
        settle();
        for (const one of steps) {
          switch (one.do) {
            case 'set':
              expect(shards.run(one.key, plain.set(new Uint8Array(one.bytes), one.ttl ? { ttlMs: 5_000 } : {}))).toBe(true);
              oracle.set(one.key, one.bytes);
              break;
            case 'delete':
              expect(shards.run(one.key, plain.delete())).toBe(oracle.delete(one.key));
              break;
            case 'close':
              settle();
              break;
            case 'abandon':
              shards.storage.rollback(savepoint);
              for (const machine of shards.machines.values()) machine.abandonEntry();
              shards.entries.length = logged;
              oracle = new Map(settled);
              break;
            case 'reopen':
              settle();
              shards.reopen();
              break;
            case 'split': {
              const at = one.unit * 2 ** SHIFT;
              const parent = shards.at(at);
              if (parent.state.range.from === at || shards.machines.size > 8) break;
              settle();
              shards.split(parent, at);
              settle();
              cuts++;
              break;
            }
            case 'merge': {
              settle();
              const row = shards.inOrder();
              const left = row[one.index % row.length]!;
              const right = row[(one.index % row.length) + 1];
              if (!right) break;
              shards.merge(left, right);
              settle();
              joins++;
              break;
            }
            case 'clear':
              table += 2;
              for (const machine of shards.machines.values()) {
                if (!machine.entryIsOpen) machine.openEntry(1_000);
                machine.clear(table);
              }
              oracle.clear();
          }
        }
        settle();
        const row = shards.inOrder();
        expect(row.map(({ state }) => state.range.from)).toEqual([0, ...row.slice(0, -1).map(({ state }) => state.range.to)]);
        expect(row.reduce((sum, { state }) => sum + state.keyCount, 0)).toBe(oracle.size);
        for (const [name, bytes] of oracle) {
          const position = murmur3Position(utf8(name));
          expect(shards.at(position).query(utf8(name), position, plain.get(), 1_000).value?.length).toBe(bytes);
        }
        for (const { state, counts } of row) {
          const recounted = numbers(recountSlots(shards.storage, { table: state.table, range: state.range, shift: SHIFT }));
          expect(numbers(counts)).toEqual(recounted);
          expect(numbers(machineOf(shards.storage, state.id).counts)).toEqual(recounted);
          expect(counts.sum()).toEqual({ keys: state.keyCount, bytes: state.sizeBytes, expiring: state.expiringCount });
        }

        // Whoever runs the logs from the start comes to the same bytes.
        const twin = new MemoryStorage();
        twin.put(stateKey(1), encodeShardState(newShardState({ id: 1, range: WHOLE, table: TABLE, leader: 'n1' })));
        const machines = new Map<number, Machine>();
        for (const { id, seq, bytes } of shards.entries) {
          const machine = machines.get(id) ?? machineOf(twin, id);
          machines.set(id, machine);
          expect(machine.applyEntry(decodeEntry(bytes, plainBytes.commandCodec), seq).kind).toBe('applied');
        }
        // Which blocks of counts were written when is each one's own affair; what they say is not.
        const said = (storage: MemoryStorage): string[] => dump(storage).filter((line) => !line.startsWith('0000000063'));
        expect(said(twin)).toEqual(said(shards.storage));
        for (const { state, counts } of row) expect(numbers(machineOf(twin, state.id).counts)).toEqual(numbers(counts));
      }),
      { numRuns: 150, seed: 7 },
    );
    expect(cuts).toBeGreaterThan(300);
    expect(joins).toBeGreaterThan(100);
  });
});

test('the middle of a shard leaves sides that differ by no more than one slot holds', () => {
  fc.assert(
    fc.property(fc.array(fc.tuple(fc.nat(63), fc.integer({ min: 1, max: 50 })), { minLength: 1, maxLength: 40 }), (held) => {
      const counts = new SlotCounts({ range: WHOLE, shift: 26 });
      for (const [slot, keys] of held) counts.add(slot * 2 ** 26, keys, keys * 10, 0);
      let most = 0;
      for (let slot = 0; slot < 64; slot++) most = Math.max(most, counts.sum(slot, slot + 1).keys);
      const at = counts.middle('keys')!;
      expect(at).toBeGreaterThan(0);
      expect(at).toBeLessThan(64);
      expect(Math.abs(counts.sum(0, at).keys - counts.sum(at, 64).keys)).toBeLessThanOrEqual(most);
    }),
  );
  expect(new SlotCounts({ range: WHOLE, shift: 26 }).middle('load')).toBe(32);
  expect(new SlotCounts({ range: { from: 0, to: 2 ** 26 }, shift: 26 }).middle('keys')).toBeUndefined();
});

describe('a step of a split or of a merge', () => {
  const opened = (): Shards => {
    const shards = new Shards();
    for (let i = 0; i < 100; i++) shards.run(`key ${i}`, plain.set(utf8(`${i}`)));
    shards.closeAll();
    return shards;
  };
  const MIDDLE = 0x8000_0000;
  const upper = Array.from({ length: 100 }, (_, i) => `key ${i}`).find((name) => murmur3Position(utf8(name)) >= MIDDLE)!;
  const moved = expect.objectContaining({ code: 'KF_SHARD_MOVED', retryable: true });

  test('has no effect the second time, and says so', () => {
    const shards = opened();
    const parent = shards.machines.get(1)!;
    const mark = { kind: 'split-mark', op: 5, at: MIDDLE, child: 2 } as const;
    expect([shards.step(parent, mark), shards.step(parent, mark)]).toEqual(['done', 'already']);
    expect(shards.step(parent, { kind: 'split-cancel', op: 5 })).toBe('already');
    const child = machineOf(shards.storage, 2);
    const genesis = { kind: 'genesis', op: 5, parent: 1, parentSeq: child.state.peerSeq } as const;
    expect([shards.step(child, genesis), shards.step(child, genesis)]).toEqual(['done', 'already']);
    expect([parent.state.range, child.state.range]).toEqual([
      { from: 0, to: MIDDLE },
      { from: MIDDLE, to: 0x1_0000_0000 },
    ]);
    expect(parent.state.keyCount + child.state.keyCount).toBe(100);
  });

  test('that cancels decides when it comes first; the mark that comes after it cuts nothing', () => {
    const shards = opened();
    const parent = shards.machines.get(1)!;
    expect(shards.step(parent, { kind: 'split-cancel', op: 5 })).toBe('done');
    expect(shards.step(parent, { kind: 'split-mark', op: 5, at: MIDDLE, child: 2 })).toBe('cancelled');
    expect(parent.state.range).toEqual(WHOLE);
    expect(shards.step(parent, { kind: 'split-mark', op: 6, at: MIDDLE, child: 3 })).toBe('done');
    // The first one's again, from somebody who was asleep.
    expect(shards.step(parent, { kind: 'split-mark', op: 5, at: MIDDLE / 2, child: 2 })).toBe('late');
    expect(parent.state.range).toEqual({ from: 0, to: MIDDLE });
  });

  test('that would leave a shard empty, or cut outside of it, cancels', () => {
    const shards = opened();
    const parent = shards.machines.get(1)!;
    shards.split(parent, MIDDLE);
    for (const [op, at] of [
      [11, 0],
      [12, MIDDLE],
      [13, MIDDLE + 2 ** SHIFT],
    ] as const)
      expect(shards.step(parent, { kind: 'split-mark', op, at, child: 90 + op })).toBe('cancelled');
    expect(parent.state.range).toEqual({ from: 0, to: MIDDLE });
  });

  test('of a cut takes the upper half from its parent at once; until its genesis nobody serves it', () => {
    const shards = opened();
    const parent = shards.machines.get(1)!;
    const position = murmur3Position(utf8(upper));
    shards.step(parent, { kind: 'split-mark', op: 5, at: MIDDLE, child: 2 });
    const before = dump(shards.storage);
    const hash = parent.state.hash;
    parent.openEntry(1_000);
    expect(() => parent.run(utf8(upper), position, plain.set(utf8('lost?')))).toThrow(moved);
    expect(() => parent.query(utf8(upper), position, plain.get(), 1_000)).toThrow(moved);
    // Not run, not recorded: no entry, no byte, no hash.
    parent.closeEntry();
    expect([dump(shards.storage), parent.state.hash]).toEqual([before, hash]);
    const child = machineOf(shards.storage, 2);
    expect(child.state).toMatchObject({ status: 'awaiting-genesis', peer: 1, applied: 0, hash: parent.state.hash });
    expect(() => child.query(utf8(upper), position, plain.get(), 1_000)).toThrow(moved);
    shards.step(child, { kind: 'genesis', op: 5, parent: 1, parentSeq: child.state.peerSeq });
    expect(fromUtf8(child.query(utf8(upper), position, plain.get(), 1_000).value!)).toBe(upper.slice(4));
  });

  test('of a log redirects the command in it that the shard does not serve, and runs the others', () => {
    const shards = opened();
    const parent = shards.machines.get(1)!;
    shards.step(parent, { kind: 'split-mark', op: 5, at: MIDDLE, child: 2 });
    const lower = Array.from({ length: 100 }, (_, i) => `key ${i}`).find((name) => murmur3Position(utf8(name)) < MIDDLE)!;
    const { epoch, leader, hash: prevHash, applied } = parent.state;
    const commands = [upper, lower].map((name) => ({ kind: 'command' as const, key: utf8(name), command: plain.set(utf8('new')) }));
    const outcome = parent.applyEntry({ epoch, leader, prevHash, nowMs: 1_000, commands }, applied + 1);
    expect(outcome).toEqual({ kind: 'applied', replies: [moved, { done: true, previous: utf8(lower.slice(4)) }], changed: [false, true] });
  });

  test('of a merge freezes the right shard for good once the left one has committed, and not if that has cancelled', () => {
    for (const cancels of [false, true]) {
      const shards = opened();
      shards.split(shards.machines.get(1)!, MIDDLE);
      const left = shards.machines.get(1)!;
      const right = shards.machines.get(2)!;
      const op = 9;
      shards.step(left, { kind: 'merge-prepare', op, right: 2 });
      expect(shards.step(left, { kind: 'split-mark', op: 8, at: 4096, child: 3 })).toBe('late');
      shards.step(right, { kind: 'freeze', op, left: 1 });
      const { applied: rightSeq, hash: rightHash } = right.state;
      expect(() => right.query(utf8(upper), murmur3Position(utf8(upper)), plain.get(), 1_000)).toThrow(moved);
      if (cancels) expect(shards.step(left, { kind: 'merge-cancel', op })).toBe('done');
      expect(shards.step(left, { kind: 'merge-commit', op, right: 2, rightSeq, rightHash })).toBe(cancels ? 'cancelled' : 'done');
      expect(shards.step(left, { kind: 'merge-cancel', op })).toBe(cancels ? 'cancelled' : 'already');
      expect(left.state.keyCount).toBe(cancels ? 100 - right.state.keyCount : 100);
      expect(shards.step(right, { kind: cancels ? 'unfreeze' : 'retired', op })).toBe('done');
      expect(right.state.status).toBe(cancels ? 'serving' : 'retired');
      // A freeze that was under way all the time.
      expect(shards.step(right, { kind: 'freeze', op, left: 1 })).toBe(cancels ? 'cancelled' : 'already');
      expect(right.state.status).toBe(cancels ? 'serving' : 'retired');
    }
  });

  test('that takes over a shard waits on a replica that has not come so far', () => {
    const shards = opened();
    const { entries } = shards;
    shards.split(shards.machines.get(1)!, MIDDLE);
    shards.run(upper, plain.set(utf8('late write')));
    shards.closeAll();
    shards.merge(shards.machines.get(1)!, shards.machines.get(2)!);
    const twin = new MemoryStorage();
    twin.put(stateKey(1), encodeShardState(newShardState({ id: 1, range: WHOLE, table: TABLE, leader: 'n1' })));
    const left = machineOf(twin, 1);
    const apply = (machine: Machine, { bytes, seq }: { bytes: Bytes; seq: number }) =>
      machine.applyEntry(decodeEntry(bytes, plainBytes.commandCodec), seq);
    const ofLeft = entries.filter(({ id }) => id === 1);
    const ofRight = entries.filter(({ id }) => id === 2);
    for (const entry of ofLeft.slice(0, -1)) apply(left, entry);
    const right = machineOf(twin, 2);
    const before = dump(twin);
    expect(apply(left, ofLeft.at(-1)!)).toEqual({ kind: 'waits', shard: 2, seq: 3 });
    expect(dump(twin)).toEqual(before);
    for (const entry of ofRight.slice(0, 3)) apply(right, entry);
    expect(apply(left, ofLeft.at(-1)!)).toEqual({ kind: 'applied', replies: [], changed: [], control: 'done' });
    expect(fromUtf8(left.query(utf8(upper), murmur3Position(utf8(upper)), plain.get(), 1_000).value!)).toBe('late write');
    expect(left.state.keyCount).toBe(100);
  });
});

test('a shard of a release without counts by slot is read, and says that they are unknown', () => {
  const state = newShardState({ id: 7, range: WHOLE, table: TABLE, leader: 'n1' });
  const now = encodeShardState(state);
  const leader = 2;
  const old = new Uint8Array(2 + 13 * 8 + 16 + leader);
  old.set(now.subarray(0, old.length - leader));
  old.set(now.subarray(now.length - leader), old.length - leader);
  old[0] = 2;
  expect(decodeShardState(old)).toEqual({ ...state, countsSince: -1 });
});

test("a shard that was taken over has no snapshot any more: its records are its left neighbour's", () => {
  const shards = new Shards();
  shards.split(shards.at(0), 0x8000_0000);
  const [left, right] = shards.inOrder() as [Machine, Machine];
  const snapshot = (): SnapshotReader => new SnapshotReader(shards.storage, right.state.id, 0, 1_000);
  expect(snapshot().state.status).toBe('serving');
  shards.step(left, { kind: 'merge-prepare', op: 9, right: right.state.id });
  shards.step(right, { kind: 'freeze', op: 9, left: left.state.id });
  expect(snapshot().state.status).toBe('frozen');
  const { id, applied, hash } = right.state;
  shards.step(left, { kind: 'merge-commit', op: 9, right: id, rightSeq: applied, rightHash: hash });
  expect(snapshot).toThrow(expect.objectContaining({ code: 'KF_SHARD_FAULTED' }));
  // Also when the left one has given that part away since.
  shards.step(left, { kind: 'split-mark', op: 10, at: 0x4000_0000, child: 77 });
  expect(snapshot).toThrow(expect.objectContaining({ code: 'KF_SHARD_FAULTED' }));
});
