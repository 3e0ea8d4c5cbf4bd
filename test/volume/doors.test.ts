import { chmod, mkdtemp, readdir, readFile, rm, stat, writeFile } from 'node:fs/promises';
import { request as httpRequest } from 'node:http';
import { connect } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { writeVolumeList } from '../../src/volume/volume-config.ts';
import { startVolumeServer } from '../../src/volume/volume-server.ts';
import { eventually, Fleet } from './fleet.ts';

let fleet: Fleet;
beforeEach(async () => {
  fleet = new Fleet();
  for (let index = 0; index < 2; index++) await fleet.addVolume();
});
afterEach(() => fleet.close());

/** A request as it is, whatever fetch would make of it. */
function raw(
  port: number,
  options: { method?: string; path: string; headers?: Record<string, string>; body?: string },
): Promise<{ status: number; text: string }> {
  return new Promise((resolve, reject) => {
    const sent = httpRequest(
      { port, host: '127.0.0.1', method: options.method ?? 'GET', path: options.path, headers: options.headers ?? {} },
      (answer) => {
        let text = '';
        answer.on('data', (piece: Buffer) => {
          text += piece.toString('latin1');
        });
        answer.on('end', () => resolve({ status: answer.statusCode!, text }));
      },
    );
    sent.on('error', reject);
    sent.end(options.body);
  });
}

describe('a browser that runs scripts of strangers on this machine', () => {
  test('can neither store, nor administer, nor use another name for this machine', async () => {
    await fleet.start();
    const { port } = fleet.master!;
    const origin = { origin: 'https://strange.example' };
    for (const target of [port, fleet.volumes[0]!.port]) {
      expect(await raw(target, { method: 'POST', path: '/set/k', headers: origin, body: 'x' })).toMatchObject({
        status: 403,
        text: expect.stringContaining('KF_ORIGIN_REFUSED'),
      });
      expect(await raw(target, { path: '/', headers: { host: 'strange.example' } })).toMatchObject({
        status: 403,
        text: expect.stringContaining('KF_HOST_REFUSED'),
      });
    }
    const remove = { method: 'POST', path: '/admin/volumes/remove', body: '{"volume":"1"}' };
    expect((await raw(port, { ...remove, headers: { origin: 'null' } })).status).toBe(403);
    expect((await raw(port, { ...remove, headers: { 'x-forwarded-for': '10.1.2.3' } })).status).toBe(401);
    const own = { origin: `http://127.0.0.1:${port}` };
    expect((await raw(port, { method: 'PUT', path: '/set/k', headers: own, body: 'x' })).status).toBe(200);
    expect(fleet.master!.master.metakeys.volumes.every(({ state }) => state === 'active')).toBe(true);
  });
});

describe('administration', () => {
  test('takes the password as Bearer and as Basic, and nothing without it', async () => {
    await fleet.start({ password: 'long secret' });
    const status = async (authorization?: string): Promise<number> =>
      (await fetch(`${fleet.base}/admin/status`, authorization === undefined ? {} : { headers: { authorization } })).status;
    expect(await status()).toBe(401);
    expect(await status('Bearer wrong')).toBe(401);
    expect(await status('Bearer long secret')).toBe(200);
    expect(await status(`Basic ${Buffer.from('anyone:long secret').toString('base64')}`)).toBe(200);
  });

  test('refuses what it does not understand: KF_BAD_REQUEST', async () => {
    await fleet.start();
    for (const body of ['null', '[]', '{"volume":5}', '{"volume":"1","lost":"yes"}', 'nonsense'])
      expect(await raw(fleet.master!.port, { method: 'POST', path: '/admin/volumes/drain', body }), body).toMatchObject({
        status: body === '[]' ? 404 : 400,
      });
    expect((await fleet.admin('volumes/add', { volume: 'ftp://x' })).status).toBe(400);
    expect((await fleet.admin('volumes/remove', { volume: '9' })).body).toMatchObject({ error: { code: 'KF_UNKNOWN_VOLUME' } });
  });

  test('does not take a new volume at the address of another', async () => {
    await fleet.start();
    const { port } = fleet.volumes[1]!;
    await fleet.stopVolume(1);
    const dir = await mkdtemp(join(tmpdir(), 'keyfleet-fresh-'));
    fleet.dirs.push(dir);
    fleet.volumes.push(await startVolumeServer({ path: dir, port }));
    const answer = await fleet.admin('volumes/add', { volume: `http://127.0.0.1:${port}/` });
    expect([answer.status, answer.body]).toMatchObject([409, { error: { code: 'KF_WRONG_VOLUMES' } }]);
  });
});

describe('keys in paths', () => {
  test('may be any bytes up to 8 KiB, and longer ones are refused in words', async () => {
    await fleet.start();
    const { port } = fleet.master!;
    const keys = ['', '%FF%FE%00', 'a%2Fb', 'a/b', '..%2F..', '.', 'q%3Fr', 'h%23i', '%25', '%20', `%${'41%'.repeat(8 * 1024 - 1)}41`];
    for (const [index, key] of keys.entries()) {
      const sent = Buffer.from(key, 'latin1').toString('latin1');
      expect((await raw(port, { method: 'PUT', path: `/set/${sent}`, body: `value ${index}` })).status, key.slice(0, 20)).toBe(200);
    }
    // `a%2Fb` and `a/b` are one key.
    for (const [index, key] of keys.entries())
      expect((await raw(port, { path: `/get/${key}` })).text).toBe(`value ${index === 2 ? 3 : index}`);
    expect(fleet.master!.master.ledger.keyCount).toBe(keys.length - 1);
    expect(await raw(port, { path: `/get/${'k'.repeat(8 * 1024 + 1)}` })).toMatchObject({
      status: 414,
      text: expect.stringContaining('KF_KEY_TOO_LARGE'),
    });
    expect(await raw(port, { path: `/get/${'k'.repeat(70 * 1024)}` })).toMatchObject({
      status: 414,
      text: expect.stringContaining('KF_KEY_TOO_LARGE'),
    });
  });
});

describe('bodies and connections', () => {
  test('of unknown length are stored; one that breaks off is not, and leaves the old value on both volumes', async () => {
    await fleet.start({ replicas: 2 });
    const { port } = fleet.master!;
    const chunked = { 'transfer-encoding': 'chunked' };
    expect((await raw(port, { method: 'PUT', path: '/set/k', headers: chunked, body: 'whole' })).status).toBe(200);
    const { master, mover } = fleet.master!;
    const written = async (): Promise<number> =>
      (await Promise.all(fleet.dirs.map((dir) => readdir(join(dir, 'tmp'), { recursive: true })))).flat().filter((name) => name.length > 2)
        .length;
    for (const head of ['Transfer-Encoding: chunked\r\n\r\n4\r\nhalf\r\n', 'Content-Length: 9000000\r\n\r\nhalf']) {
      const socket = connect(port, '127.0.0.1');
      socket.on('error', () => {});
      socket.write(`PUT /set/k HTTP/1.1\r\nHost: 127.0.0.1\r\n${head}`);
      await eventually(async () => (await written()) === 2, 30_000);
      socket.destroy();
      await eventually(async () => (await written()) === 0 && !master.hasUnfinished, 30_000);
    }
    await eventually(async () => mover.progress.keysFailed === 0, 30_000);
    expect(await fleet.get('k')).toBe('whole');
    expect([await fleet.filesOn(0), await fleet.filesOn(1)]).toEqual([1, 1]);
  }, 60_000);

  test('a volume that dies in the middle of a value cuts the answer short, visibly', async () => {
    await fleet.start();
    const { metakeys } = fleet.master!.master;
    expect((await fleet.put('large', Buffer.alloc(64 * 1024 * 1024))).status).toBe(200);
    const answer = await fetch(`${fleet.base}/get/large`);
    const reader = answer.body!.getReader();
    await reader.read();
    const [on] = metakeys.get(Buffer.from('large'))!.volumes;
    const dying = fleet.killVolume(on! - 1);
    await expect(
      (async () => {
        await dying;
        for (let done = false; !done; ) ({ done } = await reader.read());
      })(),
    ).rejects.toThrow();
  }, 20_000);
});

describe('the list of volumes in a configuration', () => {
  test('is changed in place: comments, order and permissions stay', async () => {
    const dir = await mkdtemp(join(tmpdir(), 'keyfleet-config-'));
    const file = join(dir, 'master.yml');
    const text =
      '# mine\nport: 3000\nvolumes:\n  - http://a:1 # first disk\n  - http://b:2 # second disk\n  - http://c:3\npassword: secret # hush\n';
    await writeFile(file, text);
    await chmod(file, 0o600);
    await writeVolumeList(file, ['http://c:3', 'http://b:2', 'http://a:1']);
    expect(await readFile(file, 'utf8')).toBe(text);
    await writeVolumeList(file, ['http://b:2', 'http://c:3', 'http://d:4']);
    expect(await readFile(file, 'utf8')).toBe(
      '# mine\nport: 3000\nvolumes:\n  - http://b:2 # second disk\n  - http://c:3\n  - http://d:4\npassword: secret # hush\n',
    );
    expect((await stat(file)).mode & 0o777).toBe(0o600);
    await rm(dir, { recursive: true });
  });
});
