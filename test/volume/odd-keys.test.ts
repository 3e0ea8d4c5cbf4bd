import { mkdtemp, readdir, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { exportTree, importTree } from '../../src/cli/records/tree-transfer.ts';
import { MasterClient } from '../../src/volume/master-client.ts';
import { Fleet } from './fleet.ts';

// Whatever the keys are, an export brings all of them out, and an import brings all of them in again.

let fleet: Fleet;
let dir: string;
beforeEach(async () => {
  fleet = new Fleet();
  await fleet.addVolume();
  await fleet.start();
  dir = await mkdtemp(join(tmpdir(), 'keyfleet-odd-'));
});
afterEach(async () => {
  await fleet.close();
  await rm(dir, { recursive: true, force: true });
});

const PLAIN = ['readme', 'folder/file', 'folder/ä ö.txt', 'a/b', 'ends.', '...', 'part%2e'].map((key) => Buffer.from(key));
const ODD = [
  ...['', '/', 'a', '/absolute', 'a//b', 'trailing/', '.', '..', '../../escape', 'a/../b', 'zero\0byte', '.keyfleet-keys/index.ndjson'],
  ...['.keyfleet-keys', '.keyfleet-partial-0', 'x'.repeat(256), `${'p/'.repeat(3_000)}end`],
].map((key) => Buffer.from(key));
const BYTES = [Buffer.from([0xff, 0xfe]), Buffer.concat([Buffer.from('name '), Buffer.from([0x80])])];

async function store(keys: readonly Buffer[]): Promise<void> {
  const client = new MasterClient(fleet.base);
  for (const key of keys) {
    const value = Buffer.concat([Buffer.from('value of '), key]);
    await client.put(key, value, value.length);
  }
  await client.close();
}

async function stored(): Promise<Map<string, string>> {
  const client = new MasterClient(fleet.base);
  const found = new Map<string, string>();
  for await (const { key } of client.keys()) {
    const pieces = (await (await client.get(key)).toArray()) as Buffer[];
    found.set(Buffer.from(key).toString('latin1'), Buffer.concat(pieces).toString('latin1'));
  }
  await client.close();
  return found;
}

async function emptyFleet(): Promise<void> {
  await fleet.close();
  fleet = new Fleet();
  await fleet.addVolume();
  await fleet.start();
}

describe('export --dir and import --dir', () => {
  test('bring out and in again every key, those too that cannot be a path', async () => {
    const keys = [...PLAIN, ...ODD, ...BYTES];
    await store(keys);
    const before = await stored();
    expect(before.size).toBe(keys.length);
    await exportTree({ dir, url: fleet.base, prefix: '' });
    await emptyFleet();
    await importTree({ dir, url: fleet.base, prefix: '' });
    expect(await stored()).toEqual(before);
  });

  test('write only the odd keys elsewhere than under their names, and nothing outside of the directory', async () => {
    await store([...PLAIN, ...ODD]);
    const inner = join(dir, 'inner');
    await exportTree({ dir: inner, url: fleet.base, prefix: '' });
    expect(await readdir(dir)).toEqual(['inner']);
    const odd = await readdir(join(inner, '.keyfleet-keys'));
    expect(odd.length).toBe(ODD.length + 1);
    const files = await readdir(inner, { recursive: true, withFileTypes: true });
    expect(files.filter((entry) => entry.isFile()).length).toBe(PLAIN.length + odd.length);
  });

  test('leave no trace of odd keys where there are none, and take up after one that was killed', async () => {
    await store(PLAIN.slice(0, 3));
    await writeFile(join(dir, '.keyfleet-partial-0'), 'half');
    await writeFile(join(dir, '.keyfleet-partial-99'), 'half');
    await exportTree({ dir, url: fleet.base, prefix: '' });
    expect((await readdir(dir)).sort()).toEqual(['folder', 'readme']);
  });

  test('cut the prefix off, and put another one before', async () => {
    await store(['old/a', 'old/', 'old/../b', 'other'].map((key) => Buffer.from(key)));
    await exportTree({ dir, url: fleet.base, prefix: 'old/' });
    await importTree({ dir, url: fleet.base, prefix: 'new/' });
    const keys = [...(await stored()).keys()].filter((key) => key.startsWith('new/'));
    expect(keys.sort()).toEqual(['new/', 'new/../b', 'new/a']);
  });

  test('refuse an index that is not one: KF_BAD_RECORD, with the line', async () => {
    await store([Buffer.from('..')]);
    await exportTree({ dir, url: fleet.base, prefix: '' });
    await writeFile(join(dir, '.keyfleet-keys', 'index.ndjson'), '{"file":"../../etc/passwd","key64":"AA=="}\n');
    await expect(importTree({ dir, url: fleet.base, prefix: '' })).rejects.toMatchObject({
      code: 'KF_BAD_RECORD',
      message: expect.stringContaining('index.ndjson:1') as string,
    });
  });
});
