import { afterEach, beforeEach, describe, expect, test, vi } from 'vitest';
import { MemoryStorage } from '../../src/storage/memory.ts';
import { Metakeys } from '../../src/volume/metakeys.ts';
import { forecastMoves } from '../../src/volume/move-forecast.ts';
import { VolumeClient } from '../../src/volume/volume-client.ts';
import { dieInsideWrite, eventually, Fleet, names } from './fleet.ts';

// Moves that are paused or cancelled: no value moves, and still what was begun is brought to its end.

let fleet: Fleet;
beforeEach(() => {
  fleet = new Fleet();
});
afterEach(async () => {
  vi.restoreAllMocks();
  await fleet.close();
});

const stateNow = async (): Promise<unknown> => ((await fleet.admin('status')).body as { moves: { state: string } }).moves.state;

/** Two volumes, keys on the first alone, the moves to the second halted before they begin. */
async function haltedFleet(action: 'pause' | 'cancel'): Promise<string[]> {
  await fleet.addVolume();
  await fleet.start();
  const keys = names(40);
  for (const key of keys) await fleet.put(key, 'one');
  await fleet.addVolume();
  fleet.master!.master.metakeys.addVolume({ id: fleet.volumes[1]!.id, address: fleet.addressOf(1) });
  await fleet.admin(`moves/${action}`, {});
  return keys;
}

describe.each([
  ['pause', 'paused'],
  ['cancel', 'cancelled'],
] as const)('after %s', (action, state) => {
  test('the status says so, after a restart of the master too, and no value moves', async () => {
    const keys = await haltedFleet(action);
    expect(await stateNow()).toBe(state);
    await fleet.stopMaster();
    await fleet.start();
    expect(await stateNow()).toBe(state);
    expect([await fleet.filesOn(0), await fleet.filesOn(1)]).toEqual([keys.length, 0]);
    await fleet.admin('moves/start', {});
    await fleet.master!.mover.settled();
    expect([await stateNow(), (await fleet.filesOn(1)) > 0]).toEqual(['idle', true]);
  });

  test('a delete that met a volume away ends when the volume is back', async () => {
    const keys = await haltedFleet(action);
    const port = await fleet.killVolume(0);
    expect((await fleet.delete(keys[0]!)).status).toBe(503);
    await fleet.reviveVolume(0, port);
    await eventually(async () => (await fleet.filesOn(0)) === keys.length - 1, 15_000);
    await eventually(async () => fleet.master!.master.ledger.keyCount === keys.length - 1);
    expect([await stateNow(), await fleet.filesOn(1)]).toEqual([state, 0]);
  });

  test('a restart ends the writes and deletes that its predecessor had begun', async () => {
    const keys = await haltedFleet(action);
    const { metakeys } = fleet.master!.master;
    const newKey = names(80).find((name) => !keys.includes(name) && metakeys.placeOf(Buffer.from(name))[0] === 1)!;
    const doomed = metakeys.get(Buffer.from(keys[0]!))!;
    fleet.master!.master.ledger.refer(doomed, { ...doomed, version: metakeys.newVersion(), deleting: true });
    await metakeys.commit();
    await dieInsideWrite(fleet, newKey, 'never answered', 0);
    await fleet.start();
    await eventually(async () => (await fleet.filesOn(0)) === keys.length - 1);
    await eventually(async () => !fleet.master!.master.hasUnfinished);
    expect([await fleet.get(newKey), await fleet.get(keys[0]!), await fleet.get(keys[1]!)]).toEqual([404, 404, 'one']);
    expect([await stateNow(), await fleet.filesOn(1)]).toEqual([state, 0]);
  });
});

describe('what a pass brings to its end', () => {
  test('costs one request per volume, not one per key', async () => {
    await fleet.addVolume();
    await fleet.start();
    const keys = names(300);
    await fleet.putAll(keys, () => 'one');
    const { master, mover } = fleet.master!;
    for (const key of keys) {
      const metakey = master.metakeys.get(Buffer.from(key))!;
      master.ledger.refer(metakey, { ...metakey, version: master.metakeys.newVersion(), deleting: true });
    }
    const asked = vi.spyOn(VolumeClient.prototype, 'batchDelete');
    await mover.start();
    await mover.settled();
    expect([asked.mock.calls.length, await fleet.filesOn(0), master.ledger.keyCount]).toEqual([1, 0, 0]);
  });

  test('copies that are too many go together', async () => {
    for (let index = 0; index < 2; index++) await fleet.addVolume();
    await fleet.start({ replicas: 2 });
    const keys = names(300);
    await fleet.putAll(keys, () => 'one');
    await fleet.stopMaster();
    const asked = vi.spyOn(VolumeClient.prototype, 'batchDelete');
    await fleet.start({ replicas: 1 });
    await fleet.master!.mover.settled();
    expect([asked.mock.calls.length, (await fleet.filesOn(0)) + (await fleet.filesOn(1))]).toEqual([2, keys.length]);
  });
});

describe('a forecast', () => {
  test('lets others have their turn while it walks over many keys', async () => {
    const metakeys = new Metakeys(new MemoryStorage());
    metakeys.addVolume({ id: 'a', address: 'http://127.0.0.1:1' });
    for (let index = 0; index < 10_000; index++)
      metakeys.set({ key: Buffer.from(`key ${index}`), version: 1, sizeBytes: 10, sha256: '0'.repeat(64), volumes: [1], deleting: false });
    let turns = 0;
    let ended = false;
    const forecast = forecastMoves(metakeys, metakeys.map.add(2)).finally(() => {
      ended = true;
    });
    while (!ended) {
      turns++;
      await new Promise((resolve) => setImmediate(resolve));
    }
    const [route, ...more] = await forecast;
    expect([more, route?.from, route?.to, route?.bytes]).toEqual([[], 1, 2, 10 * route!.keyCount]);
    expect(route!.keyCount).toBeGreaterThan(4_500);
    expect(route!.keyCount).toBeLessThan(5_500);
    expect(turns).toBeGreaterThanOrEqual(10);
  });
});
