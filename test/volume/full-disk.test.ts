import { execFileSync } from 'node:child_process';
import { mkdtempSync, rmSync } from 'node:fs';
import { readdir } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import { startVolumeServer } from '../../src/volume/volume-server.ts';
import { Fleet, names } from './fleet.ts';

/** A small file system of its own needs root on Linux. */
const canMount = process.platform === 'linux' && process.getuid?.() === 0;

describe.runIf(canMount)('a volume whose disk is full', () => {
  test('refuses what does not fit with 507 and keeps the rest; it takes writes again when there is room', async () => {
    const small = mkdtempSync(join(tmpdir(), 'keyfleet-small-'));
    execFileSync('mount', ['-t', 'tmpfs', '-o', 'size=3m', 'tmpfs', small]);
    const fleet = new Fleet();
    try {
      fleet.dirs.push(join(small, 'volume'));
      fleet.volumes.push(await startVolumeServer({ path: join(small, 'volume'), port: 0 }));
      await fleet.start();
      for (const key of names(10)) expect((await fleet.put(key, `value of ${key}`)).status).toBe(200);
      for (const size of [900_000, 4_000_000]) {
        let refused: Response | undefined;
        for (let index = 0; refused === undefined && index < 8; index++) {
          const response = await fleet.put(`filler ${index}`, Buffer.alloc(size, 'x'));
          if (response.status !== 200) refused = response;
        }
        expect([refused?.status, await refused?.text()]).toEqual([507, expect.stringContaining('KF_DISK_FULL')]);
      }
      for (const key of names(10)) expect(await fleet.get(key)).toBe(`value of ${key}`);
      expect((await readdir(join(small, 'volume', 'tmp'), { recursive: true })).filter((name) => name.length > 2)).toEqual([]);

      // Another volume takes over a share, and there is room again.
      const added = await fleet.addVolume();
      await fleet.admin('volumes/add', { volume: added });
      await fleet.master!.mover.settled();
      await fleet.admin('volumes/drain', { volume: '1' });
      await fleet.master!.mover.settled();
      await fleet.admin('volumes/add', { volume: fleet.addressOf(0) });
      await fleet.master!.mover.settled();
      for (const key of names(10)) expect(await fleet.get(key)).toBe(`value of ${key}`);
      for (const key of names(10)) expect((await fleet.put(key, `again ${key}`)).status).toBe(200);
    } finally {
      await fleet.close();
      execFileSync('umount', [small]);
      rmSync(small, { recursive: true, force: true });
    }
  }, 60_000);
});
