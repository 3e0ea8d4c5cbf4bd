import { execFileSync } from 'node:child_process';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { FileSystemSyncer } from './sync-file-system.ts';

let dir: string;
let syncer: FileSystemSyncer;
beforeEach(() => {
  dir = mkdtempSync(join(tmpdir(), "keyfleet sync's $HOME *-"));
  syncer = new FileSystemSyncer(dir);
});
afterEach(() => {
  syncer.close();
  rmSync(dir, { recursive: true, force: true });
});

/** The shells that stand by for our directory. */
const shells = (): number[] =>
  execFileSync('ps', ['-ww', '-eo', 'pid=,ppid=,args='], { encoding: 'utf8' })
    .split('\n')
    .filter((line) => line.includes(dir) && Number(line.trim().split(/\s+/)[1]) === process.pid)
    .map((line) => Number(line.trim().split(/\s+/)[0]));

describe.runIf(new FileSystemSyncer('/').isSupported)('syncing a file system', () => {
  test('is done by one shell, however often; those who ask meanwhile share the next', async () => {
    const first = syncer.sync();
    const [second, third] = [syncer.sync(), syncer.sync()];
    expect(second).toBe(third);
    expect(await Promise.all([first, second, third])).toEqual([true, true, true]);
    expect(await syncer.sync()).toBe(true);
    expect(shells().length).toBe(1);
  });

  test('that fails says why, and the next one goes on', async () => {
    const away = new FileSystemSyncer(join(dir, 'away'));
    for (let tries = 0; tries < 2; tries++) await expect(away.sync()).rejects.toThrow(/away.*No such file/);
    expect(away.isSupported).toBe(true);
    away.close();
  });

  test('fails when its shell is killed, and the next one starts another', async () => {
    await syncer.sync();
    const [shell] = shells();
    process.kill(shell!, 'SIGSTOP');
    const asked = syncer.sync();
    process.kill(shell!, 'SIGKILL');
    await expect(asked).rejects.toThrow('has ended');
    expect(await syncer.sync()).toBe(true);
    expect(shells()).not.toContain(shell);
  });
});
