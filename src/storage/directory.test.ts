import { spawn } from 'node:child_process';
import { existsSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { afterAll, describe, expect, test } from 'vitest';
import { root } from '../../test/house/tree.ts';
import { fromUtf8, utf8 } from '../base/bytes.ts';
import { Prng } from '../base/prng.ts';
import { openStorage } from './lmdb.ts';

const scratch = mkdtempSync(join(tmpdir(), 'keyfleet-directory-'));
afterAll(() => rmSync(scratch, { recursive: true, force: true }));
let dirCount = 0;
const newDir = (): string => join(scratch, `${dirCount++}`);

const SMALL = { segmentBytes: 64 * 1024 };

/** A process that counts up, a batch a number, and tells each number that is durable. */
const WRITER = `
  const { openStorage } = await import(process.argv[1]);
  const storage = await openStorage({ dir: process.argv[2], segmentBytes: 65536, memtableBytes: 262144 });
  storage.onDurable((durable) => process.stdout.write(durable + '\\n'));
  for (let n = storage.committed + 1; ; n++) {
    storage.put(Buffer.from('key' + (n % 1000)), Buffer.from(String(n)));
    storage.put(Buffer.from('twin' + (n % 1000)), Buffer.from(String(n)));
    storage.commit();
    if (n % 50 === 0) await storage.whenDurable(n - 20);
  }
`;

async function killedWriter(dir: string, afterMs: number): Promise<number> {
  const writer = spawn(process.execPath, ['--input-type=module', '-e', WRITER, join(root, 'dist', 'storage', 'lmdb.js'), dir], {
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  let acknowledged = 0;
  const lines = createInterface({ input: writer.stdout });
  const ended = new Promise<void>((resolve) => writer.once('exit', () => resolve()));
  lines.on('line', (line) => {
    if (acknowledged === 0) setTimeout(() => writer.kill('SIGKILL'), afterMs);
    acknowledged = Number(line);
  });
  const timeout = setTimeout(() => writer.kill('SIGKILL'), 10_000);
  await ended;
  clearTimeout(timeout);
  return acknowledged;
}

describe('a data directory', () => {
  test.runIf(process.platform === 'linux')('opens where address space is limited (ulimit -v)', async () => {
    const once = `
      const { openStorage } = await import(process.argv[1]);
      const storage = await openStorage({ dir: process.argv[2] });
      storage.put(Buffer.from('a'), Buffer.from('1'));
      storage.commit();
      await storage.flush();
      await storage.close();
    `;
    // 48 GiB: enough for Node, less than LMDB's map has where it costs nothing.
    const args = ['-c', 'ulimit -v 50331648; exec "$@"', 'sh', process.execPath, '--input-type=module', '-e', once];
    const child = spawn('sh', [...args, join(root, 'dist', 'storage', 'lmdb.js'), newDir()], { stdio: ['ignore', 'ignore', 'pipe'] });
    let text = '';
    child.stderr.on('data', (chunk: Buffer) => {
      text += chunk;
    });
    const ended = await new Promise((resolve) => child.once('exit', (code, signal) => resolve(code ?? signal)));
    expect([ended, text]).toEqual([0, '']);
  });

  test('is made when it is missing, and opens again', async () => {
    const dir = join(newDir(), 'deep', 'down');
    const storage = await openStorage({ dir, ...SMALL });
    storage.put(utf8('a'), utf8('1'));
    storage.commit();
    await storage.close();
    const again = await openStorage({ dir, ...SMALL });
    expect(fromUtf8(again.get(utf8('a'))!)).toBe('1');
    await again.close();
    expect(readdirSync(dir).sort()).toEqual(['journal', 'keyfleet-format', 'lmdb']);
  });

  test('is for one at a time: KF_STORAGE_LOCKED names the process', async () => {
    const dir = newDir();
    const storage = await openStorage({ dir, ...SMALL });
    await expect(openStorage({ dir, ...SMALL })).rejects.toMatchObject({
      code: 'KF_STORAGE_LOCKED',
      message: expect.stringContaining(String(process.pid)),
    });
    await storage.close();
    await (await openStorage({ dir, ...SMALL })).close();
  });

  test('is not locked by the lock file of a process that is gone, nor of another that got its id', async () => {
    const dir = newDir();
    mkdirSync(dir);
    writeFileSync(join(dir, 'keyfleet-lock'), JSON.stringify({ pid: 2 ** 22 + 1, started: 'long ago' }));
    await (await openStorage({ dir, ...SMALL })).close();
    writeFileSync(join(dir, 'keyfleet-lock'), JSON.stringify({ pid: process.ppid, started: 'long ago' }));
    await (await openStorage({ dir, ...SMALL })).close();
    writeFileSync(join(dir, 'keyfleet-lock'), 'not what we write');
    await (await openStorage({ dir, ...SMALL })).close();
  });

  test('of a newer version is left alone: KF_STORAGE_VERSION', async () => {
    const dir = newDir();
    await (await openStorage({ dir, ...SMALL })).close();
    writeFileSync(join(dir, 'keyfleet-format'), '2\n');
    await expect(openStorage({ dir, ...SMALL })).rejects.toMatchObject({ code: 'KF_STORAGE_VERSION' });
    expect(existsSync(join(dir, 'keyfleet-lock'))).toBe(false);
  });

  test('without its format, or with nonsense there, is damaged: KF_STORAGE_DAMAGED', async () => {
    const dir = newDir();
    await (await openStorage({ dir, ...SMALL })).close();
    writeFileSync(join(dir, 'keyfleet-format'), 'tea');
    await expect(openStorage({ dir, ...SMALL })).rejects.toMatchObject({ code: 'KF_STORAGE_DAMAGED' });
    rmSync(join(dir, 'keyfleet-format'));
    await expect(openStorage({ dir, ...SMALL })).rejects.toMatchObject({ code: 'KF_STORAGE_DAMAGED' });
  });

  test('whose LMDB file is cut short or overwritten is damaged, where LMDB would end the process: KF_STORAGE_DAMAGED', async () => {
    const dir = newDir();
    const storage = await openStorage({ dir, ...SMALL });
    for (let round = 0; round < 3; round++) {
      for (let n = 0; n < 500; n++) storage.put(utf8(`key ${round} ${n}`), utf8('a value'.repeat(10)));
      storage.commit();
      await storage.flush();
    }
    await storage.close();
    const file = join(dir, 'lmdb', 'data.mdb');
    const whole = readFileSync(file);
    const pageBytes = whole.readUInt32LE(48);
    const changed = (change: (bytes: Buffer) => void): Buffer => {
      const copy = Buffer.from(whole);
      change(copy);
      return copy;
    };
    const farEnd = (bytes: Buffer): void => {
      for (const page of [0, pageBytes]) bytes.writeBigUInt64LE(1n << 40n, page + 144);
    };
    const damages = [
      whole.subarray(0, 100),
      whole.subarray(0, pageBytes),
      whole.subarray(0, 2 * pageBytes),
      changed((bytes) => bytes.fill('tea', 0, 30)),
      changed((bytes) => bytes.fill(0, pageBytes, pageBytes + 30)),
      changed((bytes) => bytes.writeUInt32LE(4_097, 48)),
      changed(farEnd),
    ];
    for (const bytes of damages) {
      writeFileSync(file, bytes);
      await expect(openStorage({ dir, ...SMALL })).rejects.toMatchObject({
        code: 'KF_STORAGE_DAMAGED',
        message: expect.stringMatching(/data\.mdb is damaged at offset \d+: .*restore the directory/),
      });
    }
    writeFileSync(file, whole);
    const again = await openStorage({ dir, ...SMALL });
    expect([...again.scan({ from: utf8('key') })]).toHaveLength(1_500);
    await again.close();
  });

  test('that cannot be made is refused, /proc too, where the system says that nothing is there: KF_STORAGE_UNREADABLE', async () => {
    const dir = process.platform === 'linux' ? '/proc/keyfleet/data' : join(process.execPath, 'data');
    await expect(openStorage({ dir })).rejects.toMatchObject({ code: 'KF_STORAGE_UNREADABLE' });
  });

  test('is made with all that is above it', async () => {
    const dir = join(newDir(), 'one', 'two', 'three');
    await (await openStorage({ dir, ...SMALL })).close();
    await (await openStorage({ dir: `${dir}/`, ...SMALL })).close();
  });

  test('that is a file, or lies below one, is refused: KF_STORAGE_UNREADABLE', async () => {
    const path = newDir();
    writeFileSync(path, 'a file');
    await expect(openStorage({ dir: path })).rejects.toMatchObject({ code: 'KF_STORAGE_UNREADABLE' });
    await expect(openStorage({ dir: join(path, 'below') })).rejects.toMatchObject({ code: 'KF_STORAGE_UNREADABLE' });
  });

  test('of a process killed again and again, while it writes and flushes, has all that was acknowledged', async () => {
    const dir = newDir();
    const chance = new Prng(1);
    let acknowledged = 0;
    for (let round = 0; round < 5; round++) {
      acknowledged = Math.max(acknowledged, await killedWriter(dir, 20 + chance.below(300)));
      expect(acknowledged).toBeGreaterThan(0);
      const storage = await openStorage({ dir, ...SMALL });
      const { committed } = storage;
      expect(committed).toBeGreaterThanOrEqual(acknowledged);
      for (let n = Math.max(1, committed - 999); n <= committed; n++) {
        expect(fromUtf8(storage.get(utf8(`key${n % 1000}`))!)).toBe(String(n));
        expect(fromUtf8(storage.get(utf8(`twin${n % 1000}`))!)).toBe(String(n));
      }
      await storage.close();
    }
  }, 60_000);
});
