import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { readMasterConfig, readVolumeConfig, writeVolumeList } from './volume-config.ts';

let dir: string;
let file: string;
beforeEach(async () => {
  dir = await mkdtemp(join(tmpdir(), 'keyfleet-config-'));
  file = join(dir, 'config.yml');
});
afterEach(() => rm(dir, { recursive: true, force: true }));

describe('the configuration of a volume', () => {
  test('takes the original form: port and path, the path from the place of the file', async () => {
    await writeFile(file, 'port: 3001\npath: storage_directory/\n');
    expect(await readVolumeConfig(file)).toEqual({ port: 3001, host: '127.0.0.1', path: join(dir, 'storage_directory'), token: undefined });
  });
});

describe('the configuration of a master', () => {
  test('has defaults for all but the volumes', async () => {
    await writeFile(file, 'volumes:\n  - http://127.0.0.1:3001\n  - http://127.0.0.1:3002/\n');
    expect(await readMasterConfig(file)).toMatchObject({
      port: 3000,
      replicas: 1,
      path: join(dir, 'keyfleet-master'),
      volumes: ['http://127.0.0.1:3001', 'http://127.0.0.1:3002'],
    });
  });

  test('keeps its comments when the list of volumes is rewritten', async () => {
    await writeFile(file, '# ours\nport: 3000 # the usual\nvolumes:\n  - http://a:1\n');
    await writeVolumeList(file, ['http://a:1', 'http://b:2']);
    expect(await readFile(file, 'utf8')).toBe('# ours\nport: 3000 # the usual\nvolumes:\n  - http://a:1\n  - http://b:2\n');
  });
});

describe('a mistake in a configuration', () => {
  test.each([
    ['port: 99999\nvolumes: [http://a:1]', ':1: port should be a whole number'],
    ['port: 1\nvolume: [http://a:1]', ':2: does not know the key volume'],
    ['port: 1\nvolumes: http://a:1', ':2: volumes should be a list'],
    ['volumes:\n  - http://a:1\n  - ftp://b', ':3: volumes: ftp://b is not an address'],
    ['volumes:\n  - http://a:1\n  - http://a:1/', ':3: volumes: http://a:1 is there twice'],
    ['volumes: []', 'volumes is empty'],
    ['port: 1', 'volumes is missing'],
    ['port: [', ':1: '],
    ['- a', ':1: should be'],
  ])('%j is refused with file, line and key', async (text, message) => {
    await writeFile(file, text);
    await expect(readMasterConfig(file)).rejects.toMatchObject({ code: 'KF_CONFIG', message: expect.stringContaining(message) });
  });

  test('and a file that is not there: KF_CONFIG', async () => {
    await expect(readVolumeConfig(join(dir, 'nowhere.yml'))).rejects.toMatchObject({ code: 'KF_CONFIG' });
  });
});
