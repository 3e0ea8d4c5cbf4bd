import { mkdtemp, readdir, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { Member, makeFleet, runKeyfleet } from './member.ts';

// The whole life of a fleet as its operator lives it: real processes and their commands, one after the other.

const KEYS = Array.from({ length: 60 }, (_, index) => `key-${index}`);
let dir: string;
let volumes: Member[];
let master: Member;
let url: string;
let addresses: string[];
let config: string;

beforeAll(async () => {
  dir = await mkdtemp(join(tmpdir(), 'keyfleet-cli-'));
  ({ volumes, master, url, addresses } = await makeFleet(dir, 3));
  config = join(dir, 'master.yml');
  // Both forms of the flag are taken.
  volumes[1] = new Member(['volume', `-config=${join(dir, 'volume-1.yml')}`], volumes[1]!.port);
  volumes[2] = new Member(['volume', '-config', join(dir, 'volume-2.yml')], volumes[2]!.port);
  for (const volume of volumes) await volume.start();
  await master.start();
  for (const key of KEYS) await fetch(`${url}/set/${key}`, { method: 'PUT', body: `value of ${key}` });
}, 60_000);
afterAll(async () => {
  await master.kill();
  for (const volume of volumes) await volume.kill();
  await rm(dir, { recursive: true, force: true });
});

const filesOn = async (index: number): Promise<number> => {
  const entries = await readdir(join(dir, `volume-${index}`, 'values'), { recursive: true, withFileTypes: true });
  return entries.filter((entry) => entry.isFile()).length;
};
const expectAll = async (): Promise<void> => {
  for (const key of KEYS) expect(await (await fetch(`${url}/get/${key}`)).text(), key).toBe(`value of ${key}`);
};
const manage = (...args: string[]): Promise<string> => runKeyfleet(['volumes', ...args, '--url', url]);

describe('keyfleet volumes, against a running master', () => {
  test('drains a volume, shows it, and takes it back', async () => {
    expect(await manage('drain', '2', '--dry-run')).toMatch(/would move \d+ keys, [\d.]+ \w*B/);
    expect(await filesOn(1)).toBeGreaterThan(0);
    expect(await manage('drain', '2')).toContain('draining');
    expect(await filesOn(1)).toBe(0);
    expect(JSON.parse(await manage('status', '--json'))).toMatchObject({ state: 'idle', keysFailed: 0, keysLost: 0 });
    expect(await manage('status')).toBe('nothing moves: idle\n');
    expect(await manage('add', addresses[1]!)).toContain('active');
    expect(await filesOn(1)).toBeGreaterThan(0);
    await expectAll();
  }, 60_000);

  test('pauses, goes on and cancels, and list says so', async () => {
    for (const [action, state] of [
      ['pause', 'paused'],
      ['resume', 'idle'],
      ['cancel', 'cancelled'],
      ['resume', 'idle'],
    ] as const) {
      await manage(action);
      await manage('status');
      expect(await manage('list')).toContain(`moves: ${state}`);
    }
  }, 60_000);

  test('verifies every value', async () => {
    expect(await manage('verify')).toContain('every value is where it belongs and undamaged');
    await expect(manage('remove', 'nonsense')).rejects.toThrow('KF_UNKNOWN_VOLUME');
  }, 60_000);
});

describe('keyfleet master, started for one task', () => {
  test('--delete refuses a place that is not there, and moves nothing on a dry run', async () => {
    await master.kill();
    const before = [await filesOn(0), await filesOn(1), await filesOn(2)];
    await expect(runKeyfleet(['master', '--config', config, '--delete', '3'])).rejects.toThrow(/KF_USAGE: .*the places 0 to 2/);
    expect(await runKeyfleet(['master', '--config', config, '--delete', '1', '--dry-run'])).toMatch(/would move \d+ keys/);
    expect([await filesOn(0), await filesOn(1), await filesOn(2)]).toEqual(before);
  }, 60_000);

  test('--delete empties the volume, takes it out of the list and ends; the last one stays', async () => {
    expect(await runKeyfleet(['master', `-config=${config}`, '--delete', '1'])).toContain('is empty and out of the list');
    expect([await filesOn(1), (await filesOn(0)) + (await filesOn(2))]).toEqual([0, KEYS.length]);
    expect(await readFile(config, 'utf8')).not.toContain(addresses[1]);
    // Renumbered: what was at place 2 is at place 1 now.
    await runKeyfleet(['master', '--config', config, '--delete', '1']);
    expect([await filesOn(0), await filesOn(2)]).toEqual([KEYS.length, 0]);
    await expect(runKeyfleet(['master', '--config', config, '--delete', '0'])).rejects.toThrow('KF_LAST_VOLUME');
    await master.start();
    await expectAll();
  }, 60_000);

  test('--rebuild has all keys again from the volumes alone; without it, the lost metakeys are noticed', async () => {
    await master.kill();
    await rm(join(dir, 'keyfleet-master'), { recursive: true });
    await expect(runKeyfleet(['master', '--config', config])).rejects.toThrow('KF_OTHER_FLEET');
    await rm(join(dir, 'keyfleet-master'), { recursive: true });
    master = new Member(['master', '--config', config, '--rebuild'], master.port);
    await master.start();
    await expectAll();
    expect(master.output).toContain(`rebuilt ${KEYS.length} keys`);
  }, 60_000);
});
