import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { expect, test } from 'vitest';
import { MIB } from '../../base/units.ts';
import { PartFile } from './backup-folder.ts';
import { DiskPace } from './disk-pace.ts';

test('a backup syncs one file at a time, and rests twice as long, also after a sync that failed', async () => {
  const pace = new DiskPace();
  const began: number[] = [];
  const ended: number[] = [];
  const sync = (ms: number, error?: Error) =>
    pace.sync(async () => {
      began.push(performance.now());
      await sleep(ms);
      ended.push(performance.now());
      if (error) throw error;
    });
  const failed = expect(sync(10, new Error('as asked'))).rejects.toThrow('as asked');
  await Promise.all([failed, sync(30), sync(1)]);
  expect(began[1]).toBeGreaterThanOrEqual(ended[0]!);
  // A timer may be a millisecond early; and where the machine slept through the sync, the rest has its limit.
  expect(began[2]! - ended[1]!).toBeGreaterThanOrEqual(Math.min(990, 2 * (ended[1]! - began[1]!)) - 2);
});

test('a part is synced with each MiB, so that little of it is ever in memory alone; at full speed once, at its end', async () => {
  const dir = mkdtempSync(join(tmpdir(), 'keyfleet-part-'));
  try {
    const chunk = new Uint8Array(MIB / 4).fill(7);
    for (const isPaced of [true, false]) {
      let syncs = 0;
      const pace = Object.assign(new DiskPace(), {
        sync: async (sync: () => Promise<void>) => {
          await sync();
          syncs++;
        },
      });
      const file = await PartFile.create(dir, 'a', isPaced ? pace : undefined);
      for (let i = 0; i < 13; i++) await file.write(chunk);
      expect(syncs).toBe(isPaced ? 3 : 0);
      await file.finish('a');
      expect(readFileSync(join(dir, 'a'))).toHaveLength(13 * chunk.length);
    }
  } finally {
    rmSync(dir, { recursive: true });
  }
});
