import { execFileSync } from 'node:child_process';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { describe, expect, test } from 'vitest';
import { openStore } from '../src/node/open-store.ts';
import { plain, plainBytes } from '../src/shard/plain-bytes.ts';
import { openStorage } from '../src/storage/lmdb.ts';
import type { Storage } from '../src/storage/storage.ts';

/** A small file system of its own needs root on Linux. */
const canMount = process.platform === 'linux' && process.getuid?.() === 0;

describe.runIf(canMount)('a store whose disk is really full', () => {
  test('refuses writes with KF_DISK_FULL, still reads, recovers by itself, and has lost nothing that was answered', async () => {
    const small = mkdtempSync(join(tmpdir(), 'keyfleet-small-'));
    execFileSync('mount', ['-t', 'tmpfs', '-o', 'size=160m', 'tmpfs', small]);
    let storage: Storage;
    const open = async () => {
      storage = await openStorage({ dir: join(small, 'data'), memtableBytes: 8 << 20, segmentBytes: 4 << 20 });
      return openStore({ storage, keyspaces: { users: { module: plainBytes } } });
    };
    const filler = join(small, 'filler');
    try {
      writeFileSync(filler, Buffer.alloc(80 << 20, 'x'));
      const acknowledged: string[] = [];
      let store = await open();
      let users = store.keyspace('users');
      let refusal: unknown;
      for (let round = 0; refusal === undefined && round < 400; round++) {
        const names = Array.from({ length: 20 }, (_, index) => `key ${round} ${index}`);
        const results = await Promise.allSettled(names.map((name) => users.command(name, plain.set(Buffer.alloc(40_000, name)))));
        for (const [index, result] of results.entries()) {
          if (result.status === 'fulfilled') acknowledged.push(names[index]!);
          else refusal = result.reason;
        }
      }
      expect(refusal).toMatchObject({ code: 'KF_DISK_FULL' });
      expect(acknowledged.length).toBeGreaterThan(100);
      const isThere = async (name: string): Promise<boolean> => (await users.query(name, plain.get())).value?.length === 40_000;
      for (const name of acknowledged) expect(await isThere(name), name).toBe(true);

      rmSync(filler);
      let recovered = false;
      for (let tries = 0; !recovered && tries < 200; tries++) {
        recovered = await users.command('after', plain.set(Buffer.alloc(40_000, 'after'))).then(
          () => true,
          () => false,
        );
        if (!recovered) await sleep(50);
      }
      expect(recovered).toBe(true);
      await store.close();
      await storage!.close();
      store = await open();
      users = store.keyspace('users');
      for (const name of [...acknowledged, 'after']) expect(await isThere(name), name).toBe(true);
      await store.close();
      await storage!.close();
    } finally {
      execFileSync('umount', ['-l', small]);
      rmSync(small, { recursive: true, force: true });
    }
  }, 120_000);
});
