import { createHash } from 'node:crypto';
import { readFile, rm, truncate, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { MemoryStorage } from '../../src/storage/memory.ts';
import { verify } from '../../src/volume/verify.ts';
import { Fleet, names } from './fleet.ts';

const COUNT = 60;
let fleet: Fleet;
beforeEach(async () => {
  fleet = new Fleet();
  for (let index = 0; index < 3; index++) await fleet.addVolume();
});
afterEach(() => fleet.close());

async function fill(): Promise<void> {
  await Promise.all(names(COUNT).map(async (key) => expect((await fleet.put(key, `value of ${key}`)).status).toBe(200)));
}

async function expectAll(): Promise<void> {
  for (const key of names(COUNT)) expect(await fleet.get(key), key).toBe(`value of ${key}`);
}

async function findings(repair = false): Promise<string[]> {
  const kinds: string[] = [];
  for await (const event of verify(fleet.master!.master, { repair })) if (event.kind !== 'progress') kinds.push(event.kind);
  return kinds.sort();
}

const fileOf = (index: number, key: string): string => {
  const name = createHash('sha256').update(key).digest('hex');
  return join(fleet.dirs[index]!, 'values', name.slice(0, 2), name);
};

describe('two copies of each value', () => {
  beforeEach(async () => {
    await fleet.start({ replicas: 2 });
    await fill();
  });

  test('lie on two different volumes', async () => {
    const files = await Promise.all([0, 1, 2].map((index) => fleet.filesOn(index)));
    expect(files.reduce((sum, count) => sum + count)).toBe(2 * COUNT);
    expect(await findings()).toEqual([]);
  });

  test('keep everything readable while one volume is away, and writable', async () => {
    await fleet.stopVolume(0);
    await expectAll();
    await fill();
    expect((await fleet.put('key 1', 'written meanwhile')).status).toBe(200);
    await fleet.restartVolume(0);
    await fleet.admin('volumes/add', { volume: fleet.addressOf(0) });
    await fleet.master!.mover.settled();
    expect(await fleet.get('key 1')).toBe('written meanwhile');
    expect(await findings()).toEqual([]);
    const files = await Promise.all([0, 1, 2].map((index) => fleet.filesOn(index)));
    expect(files.reduce((sum, count) => sum + count)).toBe(2 * COUNT);
  });

  test('are made anew when a volume is lost', async () => {
    await fleet.stopVolume(1);
    await rm(fleet.dirs[1]!, { recursive: true });
    expect((await fleet.admin('volumes/remove', { volume: '2', lost: true })).status).toBe(200);
    await fleet.master!.mover.settled();
    await expectAll();
    expect(await findings()).toEqual([]);
    expect([await fleet.filesOn(0), await fleet.filesOn(2)]).toEqual([COUNT, COUNT]);
    expect(((await fleet.admin('status')).body['volumes'] as object[]).length).toBe(2);
  });

  test('mend each other when one is damaged: on reading, and by verify', async () => {
    const [on] = fleet.master!.master.metakeys.get(Buffer.from('key 3'))!.volumes;
    const file = fileOf(on! - 1, 'key 3');
    const bytes = await readFile(file);
    bytes[bytes.length - 45]! ^= 1;
    await writeFile(file, bytes);
    expect(await fleet.get('key 3')).toBe('value of key 3');
    await fleet.master!.mover.settled();
    expect(await findings()).toEqual([]);

    const [other] = fleet.master!.master.metakeys.get(Buffer.from('key 4'))!.volumes;
    await truncate(fileOf(other! - 1, 'key 4'), 70);
    const [gone] = fleet.master!.master.metakeys.get(Buffer.from('key 6'))!.volumes;
    await rm(fileOf(gone! - 1, 'key 6'));
    expect(await findings(true)).toEqual(['damaged', 'missing']);
    await fleet.master!.mover.settled();
    expect(await findings()).toEqual([]);
    await expectAll();
  });
});

describe('one copy of each value', () => {
  beforeEach(async () => {
    await fleet.start();
    await fill();
  });

  test('becomes two when the configuration says so, and one again', async () => {
    await fleet.stopMaster();
    await fleet.start({ replicas: 2 });
    await fleet.master!.mover.settled();
    expect((await Promise.all([0, 1, 2].map((index) => fleet.filesOn(index)))).reduce((sum, count) => sum + count)).toBe(2 * COUNT);
    await fleet.stopMaster();
    await fleet.start({ replicas: 1 });
    await fleet.master!.mover.settled();
    expect((await Promise.all([0, 1, 2].map((index) => fleet.filesOn(index)))).reduce((sum, count) => sum + count)).toBe(COUNT);
    await expectAll();
  });

  test('that is lost with its volume is reported, and the rest lives on', async () => {
    const lost = await fleet.filesOn(1);
    await fleet.stopVolume(1);
    await fleet.admin('volumes/remove', { volume: '2', lost: true });
    await fleet.master!.mover.settled();
    expect(fleet.master!.mover.progress.keysLost).toBe(lost);
    const answers = await Promise.all(names(COUNT).map((key) => fleet.get(key)));
    expect(answers.filter((answer) => typeof answer === 'number').length).toBe(lost);
    const gone = names(COUNT).filter((_, index) => typeof answers[index] === 'number');
    for (const key of gone) expect((await fleet.delete(key)).status).toBe(200);
    await fleet.master!.mover.start();
    await fleet.master!.mover.settled();
    expect(((await fleet.admin('status')).body['volumes'] as object[]).length).toBe(2);
  });

  test('that is damaged is an error and not an answer', async () => {
    const [on] = fleet.master!.master.metakeys.get(Buffer.from('key 3'))!.volumes;
    await truncate(fileOf(on! - 1, 'key 3'), 80);
    expect(await fleet.get('key 3')).toBe(500);
    expect(await findings()).toEqual(['damaged']);
  });
});

describe('metakeys that are lost', () => {
  test.each([1, 2])('are made anew from the volumes alone (%d copies)', async (replicas) => {
    await fleet.start({ replicas });
    await fill();
    await fleet.put('key 1', 'newest');
    await fleet.delete('key 2');
    await fleet.stopMaster();
    fleet.storage = new MemoryStorage();
    const { openMaster } = await import('../../src/volume/master-server.ts');
    const { rebuild } = await import('../../src/volume/rebuild.ts');
    const opened = await openMaster({ storage: fleet.storage, volumes: fleet.addresses });
    await opened.admin.takeIn(fleet.addresses, { replicas, full: true });
    expect(await rebuild(opened.master, () => {})).toMatchObject({
      keys: COUNT - 1,
      files: replicas * (COUNT - 1),
      damaged: [],
      outdated: 0,
    });
    await opened.close();
    fleet.storage = fleet.storage.crash();
    await fleet.start({ replicas });
    expect(await fleet.get('key 1')).toBe('newest');
    expect(await fleet.get('key 2')).toBe(404);
    for (const key of names(COUNT).slice(3)) expect(await fleet.get(key)).toBe(`value of ${key}`);
    expect((await fleet.put('key 1', 'newer still')).status).toBe(200);
    expect(await fleet.get('key 1')).toBe('newer still');
    await fleet.master!.mover.start();
    await fleet.master!.mover.settled();
    expect(await findings()).toEqual([]);
  });

  test('may be rebuilt twice, and are not served half; volumes that have seen a later epoch follow the new master', async () => {
    const { openMaster } = await import('../../src/volume/master-server.ts');
    const { rebuild } = await import('../../src/volume/rebuild.ts');
    // Five starts: five epochs, all seen by the volumes.
    for (let start = 0; start < 5; start++) {
      await fleet.start();
      if (start === 0) await fill();
      else await fleet.put('key 0', 'value of key 0');
      await fleet.stopMaster();
    }
    fleet.storage = new MemoryStorage();
    const first = await openMaster({ storage: fleet.storage, volumes: fleet.addresses });
    await first.admin.takeIn(fleet.addresses, { replicas: 1, full: true });
    const { metakeys } = first.master;
    const reserve = metakeys.reserveVersions.bind(metakeys);
    metakeys.setRebuilding = () => {};
    metakeys.reserveVersions = () => Promise.reject(new Error('killed'));
    await expect(rebuild(first.master, () => {})).rejects.toThrow('killed');
    metakeys.reserveVersions = reserve;
    await first.close();
    fleet.storage = fleet.storage.crash();
    await expect(fleet.start()).rejects.toMatchObject({ code: 'KF_REBUILD_UNFINISHED' });
    fleet.storage = fleet.storage.crash();
    const second = await openMaster({ storage: fleet.storage, volumes: fleet.addresses });
    await second.admin.takeIn(fleet.addresses, { replicas: 1, full: true });
    expect(await rebuild(second.master, () => {})).toMatchObject({ keys: COUNT, files: COUNT, outdated: 0 });
    await second.close();
    fleet.storage = fleet.storage.crash();
    await fleet.start();
    await expectAll();
    expect((await fleet.put('key 1', 'after')).status).toBe(200);
    expect(await fleet.get('key 1')).toBe('after');
  });
});
