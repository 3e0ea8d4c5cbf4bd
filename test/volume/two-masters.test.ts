import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { MemoryStorage } from '../../src/storage/memory.ts';
import { type MasterServer, openMaster, startMasterServer } from '../../src/volume/master-server.ts';
import { rebuild } from '../../src/volume/rebuild.ts';
import { VolumeClient } from '../../src/volume/volume-client.ts';
import { Fleet } from './fleet.ts';

let fleet: Fleet;
const others: MasterServer[] = [];
beforeEach(async () => {
  fleet = new Fleet();
  for (let index = 0; index < 2; index++) await fleet.addVolume();
});
afterEach(async () => {
  for (const other of others.splice(0)) await other.close();
  await fleet.close();
});

/** A second master, with a database of its own. */
async function startOther(volumes: readonly string[]): Promise<MasterServer> {
  const other = await startMasterServer({ storage: new MemoryStorage(), port: 0, volumes, connectMs: 500, answerMs: 3_000 });
  others.push(other);
  return other;
}

const fleetInFile = async (index: number): Promise<unknown> =>
  (JSON.parse(await readFile(join(fleet.dirs[index]!, 'keyfleet-volume.json'), 'utf8')) as { fleet?: unknown }).fleet;

describe('two masters over the same volumes', () => {
  test('the second is refused, empty as the volumes are: KF_OTHER_FLEET, and the first goes on', async () => {
    await fleet.start();
    await expect(startOther(fleet.addresses)).rejects.toMatchObject({ code: 'KF_OTHER_FLEET' });
    await expect(startOther([fleet.addressOf(1)])).rejects.toMatchObject({ code: 'KF_OTHER_FLEET' });
    expect((await fleet.put('k', 'one')).status).toBe(200);
    expect(await fleet.get('k')).toBe('one');
  });

  test('the second can neither start with a free volume beside those of the first, nor keep it', async () => {
    await fleet.start({ volumes: [fleet.addressOf(0)] });
    await expect(startOther([fleet.addressOf(1), fleet.addressOf(0)])).rejects.toMatchObject({ code: 'KF_OTHER_FLEET' });
    expect(await fleetInFile(1)).toBeUndefined();
  });

  test('the second cannot add a volume of the first', async () => {
    await fleet.start({ volumes: [fleet.addressOf(0)] });
    const other = await startOther([fleet.addressOf(1)]);
    await expect(other.admin.add(fleet.addressOf(0))).rejects.toMatchObject({ code: 'KF_OTHER_FLEET' });
    const answer = await fleet.admin('volumes/add', { volume: fleet.addressOf(1) });
    expect(answer).toMatchObject({ status: 409, body: { error: { code: 'KF_OTHER_FLEET' } } });
  });

  test('of two that start at the same time, at most one has the volume', async () => {
    const [first, second] = await Promise.allSettled([startOther([fleet.addressOf(0)]), startOther([fleet.addressOf(0)])]);
    expect([first.status, second.status].sort()).toEqual(['fulfilled', 'rejected']);
  });

  test('a stranger that asks a volume who it is does not fence its master', async () => {
    await fleet.start();
    const stranger = new VolumeClient(fleet.addressOf(0), { fleet: 'another', epoch: 1_000 });
    expect((await stranger.identity()).fleet).toBe(fleet.master!.master.metakeys.fleet);
    await expect(stranger.put(Buffer.from('k'), Buffer.from('x'), { contentType: 'x/y', version: 1 })).rejects.toMatchObject({
      code: 'KF_VOLUME_UNAVAILABLE',
      cause: { code: 'KF_OTHER_FLEET' },
    });
    await expect(stranger.release()).rejects.toMatchObject({ cause: { code: 'KF_OTHER_FLEET' } });
    await stranger.close();
    for (const key of ['a', 'b', 'c', 'd']) expect((await fleet.put(key, 'one')).status).toBe(200);
  });
});

describe('the fleet of a volume', () => {
  test('stays over restarts of volume and master', async () => {
    await fleet.start();
    const id = fleet.master!.master.metakeys.fleet;
    const { port } = fleet.volumes[0]!;
    await fleet.stopMaster();
    await fleet.stopVolume(0);
    await fleet.restartVolume(0, port);
    await fleet.start();
    expect([fleet.master!.master.metakeys.fleet, await fleetInFile(0), await fleetInFile(1)]).toEqual([id, id, id]);
  });

  test('is left when the volume is removed: another master may take it', async () => {
    await fleet.start();
    await fleet.put('k', 'one');
    await fleet.admin('volumes/remove', { volume: '2' });
    await fleet.master!.mover.settled();
    expect(await fleetInFile(1)).toBeUndefined();
    const other = await startOther([fleet.addressOf(1)]);
    expect(await fleetInFile(1)).toBe(other.master.metakeys.fleet);
  });

  test('is taken over by a rebuild when the metakeys are lost', async () => {
    await fleet.start();
    await fleet.put('k', 'one');
    const id = fleet.master!.master.metakeys.fleet;
    await fleet.stopMaster();
    fleet.storage = new MemoryStorage();
    const opened = await openMaster({ storage: fleet.storage, volumes: fleet.addresses });
    await opened.admin.takeIn(fleet.addresses, { replicas: 1, full: true });
    await rebuild(opened.master, () => {});
    await opened.close();
    fleet.storage = fleet.storage.crash();
    await fleet.start();
    expect([fleet.master!.master.metakeys.fleet, await fleet.get('k')]).toEqual([id, 'one']);
  });

  test('is one, also for a rebuild: volumes of two masters are refused', async () => {
    await fleet.start({ volumes: [fleet.addressOf(0)] });
    await startOther([fleet.addressOf(1)]);
    const opened = await openMaster({ storage: new MemoryStorage(), volumes: fleet.addresses });
    await expect(opened.admin.takeIn(fleet.addresses, { replicas: 1, full: true })).rejects.toMatchObject({ code: 'KF_OTHER_FLEET' });
    await opened.close();
  });
});
