import { createHash } from 'node:crypto';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { Prng } from '../../src/base/prng.ts';
import { MemoryStorage } from '../../src/storage/memory.ts';
import { startVolumeServer } from '../../src/volume/volume-server.ts';
import { codeOf, Fleet, names } from './fleet.ts';

let fleet: Fleet;
beforeEach(() => {
  fleet = new Fleet();
});
afterEach(() => fleet.close());

async function fill(count: number): Promise<void> {
  await Promise.all(names(count).map(async (key) => expect((await fleet.put(key, `value of ${key}`)).status).toBe(200)));
}

async function expectAll(count: number): Promise<void> {
  for (const key of names(count)) expect(await fleet.get(key)).toBe(`value of ${key}`);
}

describe('a master over three volumes', () => {
  beforeEach(async () => {
    for (let index = 0; index < 3; index++) await fleet.addVolume();
    await fleet.start();
  });

  test('stores, gives back, replaces and removes values, spread over the volumes', async () => {
    await fill(90);
    await expectAll(90);
    for (let index = 0; index < 3; index++) expect(await fleet.filesOn(index)).toBeGreaterThan(10);
    await fleet.put('key 1', 'another');
    expect(await fleet.get('key 1')).toBe('another');
    expect((await fleet.delete('key 1')).status).toBe(200);
    expect(await fleet.get('key 1')).toBe(404);
    expect(await codeOf(await fleet.delete('key 1'))).toBe('KF_NOT_FOUND');
    expect((await fleet.admin('status')).body['keyCount']).toBe(89);
  });

  test('streams a large value both ways, ranges, types and ETags included', async () => {
    const large = Buffer.alloc(9_000_001, 'streaming ');
    const stored = await fleet.put('large', large, { 'content-type': 'application/x-thing' });
    const digest = createHash('sha256').update(large).digest('hex');
    expect(await stored.json()).toEqual({ sizeBytes: large.length, sha256: digest });
    const got = await fetch(`${fleet.base}/get/large`);
    expect(
      createHash('sha256')
        .update(Buffer.from(await got.arrayBuffer()))
        .digest('hex'),
    ).toBe(digest);
    expect([got.headers.get('content-type'), got.headers.get('etag')]).toEqual(['application/x-thing', `"${digest}"`]);
    const part = await fetch(`${fleet.base}/get/large`, { headers: { range: 'bytes=8999990-' } });
    expect([part.status, await part.text()]).toEqual([206, large.subarray(8_999_990).toString()]);
    expect((await fetch(`${fleet.base}/get/large`, { headers: { 'if-none-match': `"${digest}"` } })).status).toBe(304);
    const head = await fetch(`${fleet.base}/get/large`, { method: 'HEAD' });
    expect([head.status, head.headers.get('content-length')]).toEqual([200, String(large.length)]);
  });

  test('names the volume that is away with 503, and serves the rest', async () => {
    await fill(30);
    const gone = fleet.addressOf(1);
    await fleet.volumes[1]!.close();
    let served = 0;
    let refused = 0;
    for (const key of names(30)) {
      const response = await fetch(`${fleet.base}/get/${encodeURIComponent(key)}`);
      if (response.status === 200) served++;
      else {
        expect([response.status, await response.text()]).toEqual([503, expect.stringContaining(gone)]);
        refused++;
      }
    }
    expect([served > 0, refused > 0, served + refused]).toEqual([true, true, 30]);
    expect((await fetch(`${fleet.base}/healthz`)).status).toBe(200);
  });

  test('gives up on a volume that takes connections and never answers, within its time', async () => {
    await fill(12);
    await fleet.stopMaster();
    const port = await fleet.killVolume(2);
    const mute = createServer(() => {}).listen(port, '127.0.0.1');
    await new Promise((resolve) => mute.once('listening', resolve));
    await fleet.start({ answerMs: 300 });
    const startMs = Date.now();
    const answers = await Promise.all(names(12).map((key) => fleet.get(key)));
    expect(new Set(answers.filter((answer) => typeof answer === 'number'))).toEqual(new Set([503]));
    expect(answers.filter((answer) => typeof answer === 'string').length).toBeGreaterThan(0);
    expect(Date.now() - startMs).toBeLessThan(5_000);
    mute.closeAllConnections();
    await new Promise((resolve) => mute.close(resolve));
    await fleet.reviveVolume(2, port);
    await expectAll(12);
  });

  test('tells its numbers to Prometheus', async () => {
    await fill(5);
    const text = await (await fetch(`${fleet.base}/metrics`)).text();
    expect(text).toContain('keyfleet_master_keys 5');
    expect(text).toMatch(/keyfleet_volume_keys\{volume="1",address="http:[^"]*"\} \d/);
  });
});

describe('volumes that come and go', () => {
  beforeEach(async () => {
    for (let index = 0; index < 3; index++) await fleet.addVolume();
    await fleet.start();
    await fill(200);
  });

  test('a fourth takes about a quarter, and only that moves', async () => {
    const before = await Promise.all([0, 1, 2].map((index) => fleet.filesOn(index)));
    const added = await fleet.addVolume();
    expect((await fleet.admin('forecast?add=1')).status).toBe(200);
    expect((await fleet.admin('volumes/add', { volume: added })).status).toBe(200);
    await fleet.master!.mover.settled();
    const after = await Promise.all([0, 1, 2, 3].map((index) => fleet.filesOn(index)));
    expect(after.reduce((sum, count) => sum + count)).toBe(200);
    expect(after[3]).toBeGreaterThan(25);
    expect(after[3]).toBeLessThan(80);
    for (const index of [0, 1, 2]) expect(after[index]).toBeLessThanOrEqual(before[index]!);
    await expectAll(200);
  });

  test('any of them can be removed: its directory ends empty and nothing is lost', async () => {
    expect((await fleet.admin('volumes/remove', { volume: fleet.addressOf(0) })).status).toBe(200);
    await fleet.master!.mover.settled();
    expect(await fleet.filesOn(0)).toBe(0);
    expect(((await fleet.admin('status')).body['volumes'] as object[]).length).toBe(2);
    await expectAll(200);
    expect((await fleet.admin('volumes/remove', { volume: fleet.addressOf(1) })).status).toBe(200);
    await fleet.master!.mover.settled();
    const last = await fleet.admin('volumes/remove', { volume: fleet.addressOf(2) });
    expect((last.body['error'] as { code: string }).code).toBe('KF_LAST_VOLUME');
    await expectAll(200);
  });

  test('a drained one can come back', async () => {
    await fleet.admin('volumes/drain', { volume: '2' });
    await fleet.master!.mover.settled();
    expect(await fleet.filesOn(1)).toBe(0);
    await fleet.admin('volumes/add', { volume: fleet.addressOf(1) });
    await fleet.master!.mover.settled();
    expect(await fleet.filesOn(1)).toBeGreaterThan(20);
    await expectAll(200);
  });

  test('writes, deletes and reads during moves all have their effect, exactly', async () => {
    const expected = new Map<string, string | undefined>(names(200).map((key) => [key, `value of ${key}`]));
    const prng = new Prng(7);
    let done = false;
    const client = async (mine: string[]): Promise<number> => {
      let count = 0;
      while (!done) {
        const key = prng.pick(mine);
        const roll = prng.below(10);
        if (roll < 4) {
          const value = `${key} ${count} ${'x'.repeat(prng.below(2_000))}`;
          expect((await fleet.put(key, value)).status).toBe(200);
          expected.set(key, value);
        } else if (roll < 5) {
          const had = expected.get(key) !== undefined;
          expect((await fleet.delete(key)).status, key).toBe(had ? 200 : 404);
          expected.set(key, undefined);
        } else expect(await fleet.get(key), key).toBe(expected.get(key) ?? 404);
        count++;
      }
      return count;
    };
    const clients = [0, 1, 2, 3].map((part) => client(names(200).filter((_, index) => index % 4 === part)));
    const added = await fleet.addVolume();
    await fleet.admin('volumes/add', { volume: added });
    await fleet.master!.mover.settled();
    await fleet.admin('volumes/remove', { volume: '1' });
    await fleet.master!.mover.settled();
    await fleet.admin('volumes/drain', { volume: '3' });
    await fleet.master!.mover.settled();
    done = true;
    const counts = await Promise.all(clients);
    expect(Math.min(...counts)).toBeGreaterThan(5);
    for (const [key, value] of expected) expect(await fleet.get(key), key).toBe(value ?? 404);
    await fleet.master!.mover.start();
    await fleet.master!.mover.settled();
    const present = [...expected.values()].filter((value) => value !== undefined).length;
    const files = await Promise.all([0, 1, 2, 3].map((index) => fleet.filesOn(index)));
    expect([files[0], files[2], files[1]! + files[3]!]).toEqual([0, 0, present]);
  });

  test('a move that was paused goes on after a restart of the master', async () => {
    const added = await fleet.addVolume();
    await fleet.admin('volumes/add', { volume: added });
    await fleet.master!.mover.close();
    expect(fleet.master!.master.metakeys.moveState).toBe('moving');
    await fleet.stopMaster();
    await fleet.start();
    await fleet.master!.mover.settled();
    expect(await fleet.filesOn(3)).toBeGreaterThan(25);
    await expectAll(200);
  });
});

describe('starting a master', () => {
  beforeEach(async () => {
    for (let index = 0; index < 2; index++) await fleet.addVolume();
    await fleet.start();
    await fill(40);
    await fleet.stopMaster();
  });

  test('with the volumes in another order changes nothing', async () => {
    await fleet.start({ volumes: fleet.addresses.reverse() });
    expect(fleet.master!.master.metakeys.moveState).toBe('settled');
    await expectAll(40);
  });

  test('with exchanged addresses and a new volume at the front of the list: the identity decides', async () => {
    const ports = fleet.volumes.map(({ port }) => port);
    for (const index of [0, 1]) await fleet.stopVolume(index);
    await fleet.reviveVolume(0, ports[1]!);
    await fleet.reviveVolume(1, ports[0]!);
    const before = await Promise.all([0, 1].map((index) => fleet.filesOn(index)));
    await fleet.start();
    expect(fleet.master!.master.metakeys.moveState).toBe('settled');
    await expectAll(40);
    expect(await Promise.all([0, 1].map((index) => fleet.filesOn(index)))).toEqual(before);
    await fleet.stopMaster();
    const added = await fleet.addVolume();
    await fleet.start({ volumes: [added, ...fleet.addresses.slice(0, 2)] });
    await fleet.master!.mover.settled();
    expect(await fleet.filesOn(2)).toBeGreaterThan(3);
    // As if it stood at the end: what was on the others stays there or goes to it.
    for (const index of [0, 1]) expect(await fleet.filesOn(index)).toBeLessThanOrEqual(before[index]!);
    await expectAll(40);
  });

  test('with one more moves its share to it', async () => {
    await fleet.addVolume();
    await fleet.start();
    await fleet.master!.mover.settled();
    expect(await fleet.filesOn(2)).toBeGreaterThan(3);
    await expectAll(40);
  });

  test('with fewer than recorded is refused: KF_WRONG_VOLUMES', async () => {
    await expect(fleet.start({ volumes: [fleet.addressOf(0)] })).rejects.toMatchObject({ code: 'KF_WRONG_VOLUMES' });
    fleet.storage = fleet.storage.crash();
    await fleet.start();
    await expectAll(40);
  });

  test('with a stranger at the address of a volume is refused, an unknown address that is silent too', async () => {
    await fleet.addVolume();
    const port = fleet.volumes[1]!.port;
    await fleet.volumes[1]!.close();
    await fleet.volumes[2]!.close();
    fleet.volumes[1] = await startVolumeServer({ path: fleet.dirs[2]!, port });
    await expect(fleet.start({ volumes: [fleet.addressOf(0), fleet.addressOf(1)] })).rejects.toMatchObject({ code: 'KF_WRONG_VOLUMES' });
    await expect(fleet.start({ storage: fleet.storage.crash(), volumes: ['http://127.0.0.1:1'] })).rejects.toMatchObject({
      code: 'KF_VOLUME_UNAVAILABLE',
    });
  });

  test('with the address of something else is refused: KF_NOT_A_VOLUME', async () => {
    const other = createServer((_, response) => response.end('{}')).listen(0, '127.0.0.1');
    await new Promise((resolve) => other.once('listening', resolve));
    const address = `http://127.0.0.1:${(other.address() as AddressInfo).port}`;
    await expect(fleet.start({ volumes: [...fleet.addresses, address] })).rejects.toMatchObject({ code: 'KF_NOT_A_VOLUME' });
    await new Promise((resolve) => other.close(resolve));
  });

  test('with an empty database over the volumes of another is refused: KF_OTHER_FLEET', async () => {
    await expect(fleet.start({ storage: new MemoryStorage() })).rejects.toMatchObject({ code: 'KF_OTHER_FLEET' });
  });
});
