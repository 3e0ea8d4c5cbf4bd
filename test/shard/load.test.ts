import { describe, expect, test } from 'vitest';
import { utf8 } from '../../src/base/bytes.ts';
import { murmur3Position } from '../../src/partition/hash/murmur3-x86-128.ts';
import { type BackupItem, decodeItems, encodeItem, joinItems } from '../../src/shard/backup-items.ts';
import { decodeEntry, type Entry, encodeEntry } from '../../src/shard/entry.ts';
import { type PlainCommand, plain, plainBytes } from '../../src/shard/plain-bytes.ts';
import { ShardMachine } from '../../src/shard/shard-machine.ts';
import { decodeShardState, encodeShardState, newShardState } from '../../src/shard/shard-state.ts';
import { MemoryStorage } from '../../src/storage/memory.ts';
import { dump } from './dump.ts';

const WHOLE = { from: 0, to: 0x1_0000_0000 };
const FIRST = newShardState({ id: 1, range: WHOLE, table: 4, leader: 'n1' });

function machineOver(storage: MemoryStorage, onEntry?: (entry: Entry<PlainCommand>, seq: number) => void) {
  return new ShardMachine({
    ...{ storage, module: plainBytes, positionOf: murmur3Position, state: FIRST, maxValueBytes: 1_000, slotShift: 16, keyspaceId: 4 },
    ...(onEntry ? { onEntry } : {}),
  });
}

const record = (key: string, hasCells = false, expireAtMs?: number): BackupItem => ({
  ...{ kind: 'record', key: utf8(key), expireAtMs, sizeBytes: 7, value: utf8(`of ${key}`), hasCells },
});
const ITEMS: readonly BackupItem[] = [
  record(''),
  record('a', true),
  { kind: 'cells', key: utf8('a'), cells: [{ cell: utf8('c'.repeat(600)), value: utf8('1') }] },
  record('k'.repeat(500), false, 9e12),
  { kind: 'session', place: 0x1_0000, rest: utf8('\x02me'), value: utf8('session') },
];

describe('a shard that is loaded', () => {
  test('comes to the same on the one that orders it and on those that follow its log, every byte of it', () => {
    const [eager, follower] = [new MemoryStorage(), new MemoryStorage()];
    const entries: Entry<PlainCommand>[] = [];
    const leader = machineOver(eager, (entry) => entries.push(entry));
    const inEntry = (work: () => unknown): void => {
      leader.openEntry(1_000);
      work();
      leader.closeEntry();
      eager.commit();
      leader.settle();
    };
    inEntry(() => leader.restore({ step: 'begin', id: 'b/1' }));
    for (const items of joinItems(ITEMS.map(encodeItem), 100)) inEntry(() => leader.restore({ step: 'records', id: 'b/1', items }));
    const [again] = joinItems([record('a', true), record('', false, 9e12)].map(encodeItem), 1_000);
    inEntry(() => leader.restore({ step: 'records', id: 'b/1', items: again! }));
    inEntry(() => leader.restore({ step: 'end', id: 'b/1', sessionsExpiredBeforeMs: 55 }));
    inEntry(() => leader.run(utf8('b'), murmur3Position(utf8('b')), plain.set(utf8('later'))));
    const replica = machineOver(follower);
    for (const [index, entry] of entries.entries()) {
      const bytes = encodeEntry(entry, plainBytes.commandCodec);
      expect(replica.applyEntry(decodeEntry(bytes, plainBytes.commandCodec), index + 1).kind).toBe('applied');
      follower.commit();
    }
    expect(dump(follower)).toEqual(dump(eager));
    expect(replica.state).toEqual(leader.state);
    expect(leader.state).toMatchObject({ keyCount: 4, expiringCount: 2, loadId: 'b/1', status: 'serving', sessionsExpiredBeforeMs: 55 });
    expect(leader.query(utf8('a'), murmur3Position(utf8('a')), plain.get(), 1_000)).toMatchObject({ value: utf8('of a') });
  });

  test('refuses what is not its restore, and what came to nothing leaves no trace', () => {
    const storage = new MemoryStorage();
    const machine = machineOver(storage);
    machine.openEntry(1_000);
    const [items] = joinItems(ITEMS.map(encodeItem), 10_000);
    expect(() => machine.restore({ step: 'records', id: 'b/1', items: items! })).toThrow(/takes no records/);
    machine.restore({ step: 'begin', id: 'b/1' });
    expect(() => machine.restore({ step: 'begin', id: 'b/2' })).toThrow(/being restored by b\/1/);
    expect(() => machine.run(utf8('x'), 5, plain.set(utf8('y')))).toThrow(expect.objectContaining({ code: 'KF_KEYSPACE_LOADING' }));
    machine.closeEntry();
    const before = dump(storage);
    machine.openEntry(1_000);
    // Its last item is cut short: those before it are taken back.
    expect(() => machine.restore({ step: 'records', id: 'b/1', items: items!.subarray(0, items!.length - 1) })).toThrow(
      expect.objectContaining({ code: 'KF_BACKUP_DAMAGED' }),
    );
    machine.closeEntry();
    expect(dump(storage)).toEqual(before);
    expect(machine.state.keyCount).toBe(0);
    expect([...decodeItems(items!)]).toEqual(ITEMS);
  });

  test('has a state that earlier releases read as long as it was never loaded', () => {
    expect(encodeShardState(FIRST)[0]).toBe(3);
    const loaded = { ...FIRST, loadId: 'backup/run', status: 'loading' as const, leader: 'node-7' };
    expect(encodeShardState(loaded)[0]).toBe(4);
    expect(decodeShardState(encodeShardState(loaded))).toEqual(loaded);
  });
});
