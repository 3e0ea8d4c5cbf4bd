import { cpSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { cutAfter, MemoryFiles, type Operation, powerLoss } from '../../test/storage/memory-files.ts';
import { fromUtf8, utf8 } from '../base/bytes.ts';
import { isKeyfleetError } from '../base/errors.ts';
import { Prng } from '../base/prng.ts';
import { KIB } from '../base/units.ts';
import { DELETE, OPERATION_HEADER_BYTES } from './journal-format.ts';
import { replayJournal } from './journal-replay.ts';
import { type LmdbStorage, openStorage } from './lmdb.ts';
import type { Durability } from './storage.ts';

const scratch = mkdtempSync(join(tmpdir(), 'keyfleet-crash-'));
afterAll(() => rmSync(scratch, { recursive: true, force: true }));
let dirCount = 0;
const newDir = (): string => join(scratch, `${dirCount++}`);

const SEGMENT_BYTES = 24 * KIB;

/** The whole state after each batch, as text. */
type History = string[];

/** What ran, what it did to its files, and after how many operations which batch had been acknowledged. */
interface Run {
  readonly dir: string;
  readonly operations: readonly Operation[];
  readonly history: History;
  acknowledgedBefore(operationCount: number): number;
}

const show = (state: ReadonlyMap<string, string>): string =>
  [...state]
    .map(([key, value]) => `${key}=${value}`)
    .sort()
    .join(' ');

/** Writes batches of all sizes, some larger than a segment, several in flight at a time. */
async function write(storage: LmdbStorage, history: History, chance: Prng, batchCount: number): Promise<void> {
  const state = new Map<string, string>();
  for (const { key, value } of storage.scan({ from: utf8('') })) state.set(fromUtf8(key), fromUtf8(value));
  history.length = storage.committed + 1;
  history[storage.committed] = show(state);
  for (let batch = 0; batch < batchCount; batch++) {
    const large = chance.below(12) === 0;
    for (let left = 1 + chance.below(4); left > 0; left--) {
      const key = `k${chance.below(20)}`;
      if (chance.below(4) === 0) {
        storage.delete(utf8(key));
        state.delete(key);
      } else {
        const value = `${batch}`.repeat(1 + chance.below(large ? 9_000 : 40));
        storage.put(utf8(key), utf8(value));
        state.set(key, value);
      }
    }
    history[storage.commit()] = show(state);
    if (chance.below(3) === 0) await storage.whenDurable(storage.committed);
  }
}

async function record(durability: Durability, batchCount: number, seed: number, given = new MemoryFiles()): Promise<Run> {
  const dir = newDir();
  const history: History = [''];
  const acknowledged: { readonly operations: number; readonly number: number }[] = [];
  const storage = await openStorage({ dir, durability, files: given, segmentBytes: SEGMENT_BYTES });
  const { operations } = given;
  storage.onDurable((number) => acknowledged.push({ operations: operations.length, number }));
  await write(storage, history, new Prng(seed), batchCount);
  await storage.whenDurable(storage.committed);
  const recorded = operations.slice();
  await storage.close();
  return {
    dir,
    operations: recorded,
    history,
    acknowledgedBefore: (count) => acknowledged.filter(({ operations: at }) => at <= count).at(-1)?.number ?? 0,
  };
}

/** What a start would find in these files. */
function recovered(run: Run, contents: ReadonlyMap<string, Buffer>): { readonly last: number; readonly state: string } {
  const state = new Map<string, string>();
  const { last } = replayJournal({
    files: new MemoryFiles(contents),
    dir: join(run.dir, 'journal'),
    flushed: 0,
    apply: (bytes, at, length) => {
      const keyAt = at + OPERATION_HEADER_BYTES;
      const valueAt = keyAt + bytes.readUInt16LE(at + 1);
      const key = bytes.toString('latin1', keyAt, valueAt);
      if (bytes[at] === DELETE) state.delete(key);
      else state.set(key, bytes.toString('latin1', valueAt, at + length));
    },
    onBatch: () => {},
  });
  return { last, state: show(state) };
}

describe('a crash', () => {
  let run: Run;
  beforeAll(async () => {
    run = await record('sync', 60, 1);
  });

  test('at any byte of the last writes keeps what was acknowledged, and the rest batch by batch or not at all', () => {
    const writes = run.operations.map((operation, at) => ({ operation, at })).filter(({ operation }) => operation.kind === 'write');
    let cuts = 0;
    for (const { operation, at } of writes.slice(-8)) {
      if (operation.kind !== 'write') continue;
      const step = operation.bytes.length > 2_000 ? 97 : 1;
      for (let cut = 0; cut <= operation.bytes.length; cut += step) {
        const { last, state } = recovered(run, cutAfter(run.operations, at, cut));
        expect(last).toBeGreaterThanOrEqual(run.acknowledgedBefore(at));
        expect(state).toBe(run.history[last]);
        cuts++;
      }
    }
    expect(cuts).toBeGreaterThan(1_000);
  });

  test('of the power during any write, keeping any of its sectors, does the same', () => {
    const chance = new Prng(2);
    for (let round = 0; round < 400; round++) {
      const at = chance.below(run.operations.length);
      const { last, state } = recovered(run, powerLoss(run.operations, at, chance));
      expect(last).toBeGreaterThanOrEqual(run.acknowledgedBefore(at));
      expect(state).toBe(run.history[last]);
    }
  });

  test('of the power loses, with durability os, only what was not yet synced, and never a batch in the middle', async () => {
    const lazy = await record('os', 60, 3);
    const chance = new Prng(4);
    const found = new Set<number>();
    for (let round = 0; round < 400; round++) {
      const { last, state } = recovered(lazy, powerLoss(lazy.operations, chance.below(lazy.operations.length), chance));
      expect(state).toBe(lazy.history[last]);
      found.add(last);
    }
    expect(found.size).toBeGreaterThan(5);
  });

  test('after a crash after a crash: each start builds on what the one before it found', async () => {
    const chance = new Prng(5);
    for (let round = 0; round < 12; round++) {
      const durability = round % 2 === 0 ? 'sync' : 'os';
      let dir = newDir();
      let files = new MemoryFiles();
      let history: History = [''];
      for (let life = 0; life < 4; life++) {
        // LMDB's own crash safety is LMDB's: it is as it was at the start, or as at the end if the journal relies on that by then.
        const asBefore = newDir();
        const asAfter = newDir();
        if (life > 0) copyDir(dir, asBefore);
        const found = new Set(files.contents.keys());
        const storage = await openStorage({ dir, durability, files, segmentBytes: SEGMENT_BYTES });
        const replayed = storage.stats().memtableEntries > 0;
        const last = storage.committed;
        const state = new Map([...storage.scan({ from: utf8('') })].map(({ key, value }) => [fromUtf8(key), fromUtf8(value)]));
        expect(show(state)).toBe(history[last]);
        history = history.slice(0, last + 1);
        const opened = files.operations.length;
        await write(storage, history, chance, 25);
        await storage.whenDurable(storage.committed);
        const { operations } = files;
        const at = opened + chance.below(operations.length - opened);
        if (replayed) await expect.poll(() => storage.stats().flushCount).toBe(1);
        copyDir(dir, asAfter);
        const image = powerLoss(operations, at, chance);
        await storage.close();
        const reliesOnLmdb = [...found].some((path) => !image.has(path));
        const next = life > 0 && !reliesOnLmdb && chance.below(2) === 0 ? asBefore : asAfter;
        files = new MemoryFiles();
        for (const [path, bytes] of image) {
          const moved = path.replace(dir, next);
          files.makeZeroedSync(moved, bytes.length);
          await new Promise((resolve) => files.open(moved, true).write([bytes], 0, resolve));
        }
        dir = next;
      }
    }
  });
});

/** A copy of a directory that nobody writes to at the moment, without the state of LMDB's locks. */
function copyDir(from: string, to: string): void {
  cpSync(from, to, { recursive: true, filter: (path) => !path.endsWith('lock.mdb') });
}

describe('damage', () => {
  test('of any bit before the last write is reported with file and offset, or touches nothing that counts', async () => {
    const run = await record('sync', 60, 6);
    const chance = new Prng(7);
    const whole = cutAfter(run.operations, run.operations.length, 0);
    const last = run.operations.findLast((operation) => operation.kind === 'write');
    const written = new Map<string, number>();
    for (const operation of run.operations) {
      if (operation.kind === 'write' && operation !== last) written.set(operation.path, operation.offset + operation.bytes.length);
    }
    let reported = 0;
    for (let round = 0; round < 600; round++) {
      const path = chance.pick([...written.keys()]);
      const contents = new Map([...whole].map(([name, bytes]) => [name, Buffer.from(bytes)]));
      const at = chance.below(written.get(path)!);
      contents.get(path)![at]! ^= 1 << chance.below(8);
      try {
        expect(recovered(run, contents).state).toBe(run.history.at(-1));
      } catch (error) {
        if (!isKeyfleetError(error)) throw error;
        expect(error.code).toBe('KF_STORAGE_DAMAGED');
        expect(error.message).toMatch(/\.journal is damaged at offset \d+/);
        reported++;
      }
    }
    expect(reported).toBeGreaterThan(500);
  });

  test('by the loss of a file in the middle is reported', async () => {
    const run = await record('sync', 80, 8);
    const whole = cutAfter(run.operations, run.operations.length, 0);
    const used = [...new Set(run.operations.filter((operation) => operation.kind === 'write').map(({ path }) => path))];
    expect(used.length).toBeGreaterThan(2);
    for (const path of used.slice(0, -1)) {
      const contents = new Map(whole);
      contents.delete(path);
      expect(() => recovered(run, contents)).toThrow(/is damaged at offset/);
    }
  });
});

describe('a full disk', () => {
  test('refuses a write before anything is done, lets reads go on, and is over by itself', async () => {
    const files = new MemoryFiles();
    files.capacityBytes = 3 * SEGMENT_BYTES;
    const storage = await openStorage({ dir: newDir(), files, segmentBytes: SEGMENT_BYTES });
    const kept: string[] = [];
    let refused: unknown;
    for (let i = 0; i < 10_000 && !refused; i++) {
      const savepoint = storage.savepoint();
      try {
        storage.put(utf8(`k${i}`), utf8('x'.repeat(100)));
        kept.push(`k${i}`);
        storage.commit();
      } catch (error) {
        refused = error;
        storage.rollback(savepoint);
      }
    }
    expect(refused).toMatchObject({ code: 'KF_DISK_FULL', retryable: true });
    expect(storage.refusal).toMatchObject({ code: 'KF_DISK_FULL' });
    expect(() => storage.delete(utf8('k0'))).toThrow(/refused/);
    expect(storage.commit()).toBe(kept.length);
    expect([...storage.scan({ from: utf8('k') })].map(({ key }) => fromUtf8(key)).sort()).toEqual([...kept].sort());
    await storage.whenDurable(storage.committed);
    // Less room than a whole segment needs.
    files.capacityBytes += SEGMENT_BYTES / 2;
    await expect.poll(() => storage.refusal, { timeout: 5_000 }).toBeUndefined();
    storage.put(utf8('again'), utf8('x'));
    await storage.whenDurable(storage.commit());
    await storage.close();
  });

  test('in the middle of a batch leaves the batch as it was before the refused write', async () => {
    const files = new MemoryFiles();
    files.capacityBytes = SEGMENT_BYTES;
    const storage = await openStorage({ dir: newDir(), files, segmentBytes: SEGMENT_BYTES });
    storage.put(utf8('small'), utf8('x'));
    expect(() => storage.put(utf8('large'), new Uint8Array(2 * SEGMENT_BYTES))).toThrow(/no room/);
    expect(storage.refusal).toBeUndefined();
    storage.put(utf8('other'), utf8('y'));
    await storage.whenDurable(storage.commit());
    expect([...storage.scan({ from: utf8('') })].map(({ key }) => fromUtf8(key))).toEqual(['other', 'small']);
    await storage.close();
  });
});

describe('a disk that fails', () => {
  test.each([['sync'], ['os']] as const)('stops all writing, durability %s: the outcome is unknown, reads go on', async (durability) => {
    const files = new MemoryFiles();
    const storage = await openStorage({ dir: newDir(), files, durability, segmentBytes: SEGMENT_BYTES });
    storage.put(utf8('a'), utf8('1'));
    await storage.whenDurable(storage.commit());
    const failures: Error[] = [];
    storage.onFailed((error) => failures.push(error));
    files.failWith = 'EIO';
    storage.put(utf8('b'), utf8('2'));
    await expect(storage.whenDurable(storage.commit())).rejects.toMatchObject({ code: 'KF_STORAGE_FAILED' });
    expect(failures).toHaveLength(1);
    expect(storage.durable).toBe(1);
    expect(() => storage.put(utf8('c'), utf8('3'))).toThrow(/EIO/);
    expect(fromUtf8(storage.get(utf8('a'))!)).toBe('1');
    await storage.close();
  });
});
