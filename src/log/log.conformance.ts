import { describe, expect, test } from 'vitest';
import { utf8 } from '../base/bytes.ts';
import type { LogRecord, ShardLog } from './log.ts';

async function collect(log: ShardLog, fromSeq: number): Promise<LogRecord[]> {
  const records: LogRecord[] = [];
  for await (const record of log.read(fromSeq)) records.push(record);
  return records;
}

/** What every log promises. `make` opens a fresh, empty one. */
export function logConformance(name: string, make: () => Promise<ShardLog>): void {
  describe(`a shard's log: ${name}`, () => {
    test('numbers entries from 1 without gaps and gives them back in order', async () => {
      const log = await make();
      expect(await log.lastSeq()).toBe(0);
      for (let i = 0; i < 5; i++) expect(await log.append(utf8(`entry ${i + 1}`), i)).toEqual({ kind: 'appended', seq: i + 1 });
      expect(await log.lastSeq()).toBe(5);
      expect(await collect(log, 4)).toEqual([
        { seq: 4, entry: utf8('entry 4') },
        { seq: 5, entry: utf8('entry 5') },
      ]);
      expect(await collect(log, 6)).toEqual([]);
    });

    test('refuses an entry that does not follow the one expected, and says which is the last', async () => {
      const log = await make();
      await log.append(utf8('one'), 0);
      expect(await log.append(utf8('too late'), 0)).toEqual({ kind: 'conflict', lastSeq: 1 });
      expect(await log.append(utf8('too early'), 2)).toEqual({ kind: 'conflict', lastSeq: 1 });
      expect(await collect(log, 1)).toEqual([{ seq: 1, entry: utf8('one') }]);
    });

    test('lets exactly one of two that want the same number have it', async () => {
      const log = await make();
      const outcomes = await Promise.all([log.append(utf8('a'), 0), log.append(utf8('b'), 0)]);
      expect(outcomes.map(({ kind }) => kind).sort()).toEqual(['appended', 'conflict']);
      expect(await collect(log, 1)).toHaveLength(1);
    });

    test('keeps an empty entry and a large one', async () => {
      const log = await make();
      const large = new Uint8Array(300_000).fill(7);
      await log.append(new Uint8Array(0), 0);
      await log.append(large, 1);
      expect((await collect(log, 1)).map(({ entry }) => entry.length)).toEqual([0, large.length]);
    });

    test('truncates from the front: numbers go on, and reading what is gone is KF_LOG_TRUNCATED', async () => {
      const log = await make();
      for (let i = 0; i < 4; i++) await log.append(utf8(`${i + 1}`), i);
      await log.truncate(2);
      await log.truncate(1);
      expect(await collect(log, 3)).toHaveLength(2);
      await expect(collect(log, 2)).rejects.toMatchObject({ code: 'KF_LOG_TRUNCATED' });
      await log.truncate(99);
      expect(await log.lastSeq()).toBe(4);
      expect(await log.append(utf8('5'), 4)).toEqual({ kind: 'appended', seq: 5 });
      expect(await collect(log, 5)).toEqual([{ seq: 5, entry: utf8('5') }]);
    });
  });
}
