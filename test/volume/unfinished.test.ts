import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { verify } from '../../src/volume/verify.ts';
import { VolumeClient } from '../../src/volume/volume-client.ts';
import { codeOf, dieInsideWrite, eventually, Fleet, names } from './fleet.ts';

// What a write, a delete or a volume leaves behind when it ends in the middle, and how it is brought in order again.

let fleet: Fleet;
beforeEach(() => {
  fleet = new Fleet();
});
afterEach(() => fleet.close());

async function findings(): Promise<string[]> {
  const kinds: string[] = [];
  for await (const event of verify(fleet.master!.master, { repair: false })) if (event.kind !== 'progress') kinds.push(event.kind);
  return kinds.sort();
}

const files = async (): Promise<number> =>
  (await Promise.all(fleet.dirs.map((_, index) => fleet.filesOn(index)))).reduce((sum, count) => sum + count);

describe('a master that dies between a volume and its metakey', () => {
  test('takes up the value that replaced the one referred to, and moves and removes it like any other', async () => {
    await fleet.addVolume();
    await fleet.start();
    await fleet.put('k', 'one');
    await dieInsideWrite(fleet, 'k', 'second', 0);
    await fleet.start();
    await fleet.master!.mover.settled();
    expect(fleet.master!.master.metakeys.get(Buffer.from('k'))!.sizeBytes).toBe(6);
    await fleet.addVolume();
    await fleet.admin('volumes/add', { volume: fleet.addressOf(1) });
    await fleet.admin('volumes/remove', { volume: '1' });
    await fleet.master!.mover.settled();
    expect([await fleet.get('k'), await fleet.filesOn(0), await fleet.filesOn(1)]).toEqual(['second', 0, 1]);
    expect((await fleet.delete('k')).status).toBe(200);
    expect(await files()).toBe(0);
  });

  test('leaves no two replicas with different values', async () => {
    for (let index = 0; index < 2; index++) await fleet.addVolume();
    await fleet.start({ replicas: 2 });
    await fleet.put('k', 'one');
    await fleet.stopVolume(1);
    await dieInsideWrite(fleet, 'k', 'second', 0);
    await fleet.restartVolume(1);
    await fleet.start({ replicas: 2 });
    await fleet.master!.mover.settled();
    expect(await findings()).toEqual([]);
    for (const index of [0, 1]) {
      const volume = new VolumeClient(fleet.addressOf(index));
      expect((await volume.head(Buffer.from('k')))?.sizeBytes, `volume ${index + 1}`).toBe(6);
      await volume.close();
    }
  });

  test('removes what a first write left, though nothing was moving', async () => {
    await fleet.addVolume();
    await fleet.start();
    await dieInsideWrite(fleet, 'k', 'never answered', 0);
    await fleet.start();
    await fleet.master!.mover.settled();
    expect([await fleet.get('k'), await files()]).toEqual([404, 0]);
  });
});

describe('a volume that is taken out during a long write to it', () => {
  test('is kept until the write has ended and moved', async () => {
    for (let index = 0; index < 2; index++) await fleet.addVolume();
    await fleet.start();
    const { metakeys } = fleet.master!.master;
    const key = names(50).find((name) => metakeys.placeOf(Buffer.from(name))[0] === 1)!;
    let finish = (): void => {};
    const began = new Promise<void>((resolve) => {
      finish = resolve;
    });
    async function* slow(): AsyncGenerator<Buffer, void> {
      yield Buffer.from('slow ');
      await began;
      yield Buffer.from('but whole');
    }
    const put = fleet.master!.master.put(Buffer.from(key), slow(), { contentType: 'text/plain' });
    await new Promise((resolve) => setTimeout(resolve, 100));
    await fleet.admin('volumes/remove', { volume: '1' });
    await fleet.master!.mover.settled();
    finish();
    await put;
    await eventually(async () => metakeys.volumes.length === 1);
    expect([await fleet.get(key), await fleet.filesOn(0), await fleet.filesOn(1)]).toEqual(['slow but whole', 0, 1]);
  });
});

describe('a delete while a volume is away', () => {
  test('goes on by itself when the volume is back', async () => {
    await fleet.addVolume();
    await fleet.start();
    await fleet.put('k', 'one');
    const { port } = fleet.volumes[0]!;
    await fleet.stopVolume(0);
    const answer = await fleet.delete('k');
    expect([answer.status, await codeOf(answer)]).toEqual([503, 'KF_VOLUME_UNAVAILABLE']);
    expect(await fleet.get('k')).toBe(404);
    await fleet.restartVolume(0, port);
    await fleet.admin('moves/start', {});
    await fleet.master!.mover.settled();
    expect([await files(), fleet.master!.master.ledger.keyCount]).toEqual([0, 0]);
  });

  test('is answered when another volume had a copy too, and no copy comes back', async () => {
    for (let index = 0; index < 2; index++) await fleet.addVolume();
    await fleet.start({ replicas: 2 });
    await fleet.put('k', 'one');
    const { port } = fleet.volumes[0]!;
    await fleet.stopVolume(0);
    expect((await fleet.delete('k')).status).toBe(200);
    expect(await fleet.get('k')).toBe(404);
    await fleet.restartVolume(0, port);
    await fleet.admin('moves/start', {});
    await fleet.master!.mover.settled();
    expect([await fleet.get('k'), await files()]).toEqual([404, 0]);
  });

  test('reaches a volume that was given up as lost and is found again', async () => {
    for (let index = 0; index < 3; index++) await fleet.addVolume();
    await fleet.start({ replicas: 2 });
    const keys = names(30);
    for (const key of keys) await fleet.put(key, 'one');
    const { port } = fleet.volumes[0]!;
    await fleet.stopVolume(0);
    await fleet.master!.mover.stop('paused');
    const { metakeys } = fleet.master!.master;
    metakeys.changeVolume(1, { state: 'lost' });
    await metakeys.commit();
    for (const key of keys) expect((await fleet.delete(key)).status).toBe(200);
    await fleet.restartVolume(0, port);
    await fleet.admin('volumes/add', { volume: fleet.addressOf(0) });
    await fleet.master!.mover.settled();
    expect(await files()).toBe(0);
  });
});

describe('a volume that fails or refuses', () => {
  test('does not lose its copy by it, and is named to the client as away', async () => {
    for (let index = 0; index < 2; index++) await fleet.addVolume();
    await fleet.start({ replicas: 2 });
    await fleet.put('k', 'one');
    const { metakeys } = fleet.master!.master;
    const [first, second] = metakeys.get(Buffer.from('k'))!.volumes;
    // The two swap their addresses behind the master's back.
    const [a, b] = [metakeys.volume(first!)!.address, metakeys.volume(second!)!.address];
    metakeys.changeVolume(first!, { address: b });
    metakeys.changeVolume(second!, { address: a });
    const answer = await fetch(`${fleet.base}/get/k`);
    expect([answer.status, await codeOf(answer)]).toEqual([503, 'KF_VOLUME_UNAVAILABLE']);
    expect(metakeys.get(Buffer.from('k'))!.volumes.length).toBe(2);
    expect(await files()).toBe(2);
  });

  test('and was set back to a former state is not believed while another has the newer value', async () => {
    for (let index = 0; index < 2; index++) await fleet.addVolume();
    await fleet.start({ replicas: 2 });
    await fleet.put('k', 'newest');
    const [first] = fleet.master!.master.metakeys.get(Buffer.from('k'))!.volumes;
    const volume = new VolumeClient(fleet.addressOf(first! - 1));
    await volume.delete(Buffer.from('k'), Number.MAX_SAFE_INTEGER);
    await volume.put(Buffer.from('k'), Buffer.from('former'), { contentType: 'text/plain', version: 1 });
    expect(await findings()).toEqual(['different']);
    expect(await fleet.get('k')).toBe('newest');
    await fleet.master!.mover.settled();
    expect([await findings(), (await volume.head(Buffer.from('k')))?.sizeBytes]).toEqual([[], 6]);
    await volume.close();
  });
});
