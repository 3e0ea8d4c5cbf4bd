import { mkdtemp, readdir, readFile, rm, stat, truncate, writeFile } from 'node:fs/promises';
import { connect } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { utf8 } from '../base/bytes.ts';
import { fileName } from './value-paths.ts';
import { VolumeClient } from './volume-client.ts';
import { startVolumeServer, type VolumeServer } from './volume-server.ts';

let dir: string;
let volume: VolumeServer;
let base: string;

beforeEach(async () => {
  dir = await mkdtemp(join(tmpdir(), 'keyfleet-volume-'));
  volume = await startVolumeServer({ path: dir, port: 0 });
  base = `http://127.0.0.1:${volume.port}`;
});

afterEach(async () => {
  await volume.close();
  await rm(dir, { recursive: true, force: true });
});

const put = (key: string, body: string | Buffer, headers: Record<string, string> = {}): Promise<Response> =>
  fetch(`${base}/set/${key}`, { method: 'PUT', body, headers });
const codeOf = async (response: Response): Promise<string> => ((await response.json()) as { error: { code: string } }).error.code;
const leftovers = async (): Promise<string[]> => (await readdir(join(dir, 'tmp'), { recursive: true })).filter((name) => name.length > 2);
const pathOf = (key: string): string => join(dir, 'values', fileName(utf8(key)).slice(0, 2), fileName(utf8(key)));

describe('a value on a volume', () => {
  test('comes back as it was put, with its type and ETag', async () => {
    const stored = await put('greeting', 'hello', { 'content-type': 'text/plain' });
    expect(stored.status).toBe(200);
    const got = await fetch(`${base}/get/greeting`);
    expect([got.status, got.headers.get('content-type'), got.headers.get('etag'), await got.text()]).toEqual([
      200,
      'text/plain',
      stored.headers.get('etag'),
      'hello',
    ]);
    expect((await fetch(`${base}/get/greeting`, { headers: { 'if-none-match': got.headers.get('etag')! } })).status).toBe(304);
  });

  test('may be empty, and its key any bytes', async () => {
    for (const key of ['', '%00%FF', '..%2F..%2Fetc%2Fpasswd', 'a/b/c', 'k%C3%A9y']) {
      expect((await put(key, `value of ${key}`)).status, key).toBe(200);
      expect(await (await fetch(`${base}/get/${key}`)).text(), key).toBe(`value of ${key}`);
    }
    expect((await put('empty', '')).status).toBe(200);
    expect(await (await fetch(`${base}/get/empty`)).text()).toBe('');
    expect((await readdir(dir)).filter((name) => !name.startsWith('keyfleet-')).sort()).toEqual(['tmp', 'values']);
  });

  test('is replaced and removed', async () => {
    await put('k', 'one');
    await put('k', 'two');
    expect(await (await fetch(`${base}/get/k`)).text()).toBe('two');
    expect((await fetch(`${base}/delete/k`, { method: 'DELETE' })).status).toBe(200);
    expect((await fetch(`${base}/get/k`)).status).toBe(404);
    expect(await codeOf(await fetch(`${base}/delete/k`, { method: 'DELETE' }))).toBe('KF_NOT_FOUND');
  });

  test('gives out ranges, also across chunks', async () => {
    const big = Buffer.alloc(3 * 1024 * 1024 + 17, 'abcdefghij');
    await put('big', big);
    for (const [range, from, to] of [
      ['bytes=0-9', 0, 10],
      ['bytes=1048570-1048590', 1048570, 1048591],
      ['bytes=-20', big.length - 20, big.length],
      ['bytes=3145720-', 3145720, big.length],
    ] as const) {
      const got = await fetch(`${base}/get/big`, { headers: { range } });
      expect([got.status, got.headers.get('content-range')]).toEqual([206, `bytes ${from}-${to - 1}/${big.length}`]);
      expect(Buffer.from(await got.arrayBuffer()).equals(big.subarray(from, to)), range).toBe(true);
    }
    expect((await fetch(`${base}/get/big`, { headers: { range: `bytes=${big.length}-` } })).status).toBe(416);
    const head = await fetch(`${base}/get/big`, { method: 'HEAD' });
    expect([head.status, head.headers.get('content-length')]).toEqual([200, String(big.length)]);
    expect((await fetch(`${base}/get/big`, { method: 'HEAD', headers: { range: 'bytes=0-9' } })).status).toBe(200);
  });

  test('is not stored when the sender goes away before its end', async () => {
    await put('k', 'kept');
    const socket = connect(volume.port, '127.0.0.1');
    socket.write('PUT /set/k HTTP/1.1\r\nHost: localhost\r\nContent-Length: 100\r\n\r\nhalf');
    await new Promise((resolve) => setTimeout(resolve, 100));
    socket.destroy();
    await new Promise((resolve) => setTimeout(resolve, 100));
    expect(await (await fetch(`${base}/get/k`)).text()).toBe('kept');
    expect(await leftovers()).toEqual([]);
  });

  test('is never replaced by an older version', async () => {
    await put('k', 'new', { 'keyfleet-version': '7' });
    expect(await codeOf(await put('k', 'old', { 'keyfleet-version': '6' }))).toBe('KF_NEWER_VERSION');
    expect((await fetch(`${base}/delete/k`, { method: 'DELETE', headers: { 'keyfleet-version': '6' } })).status).toBe(404);
    expect(await (await fetch(`${base}/get/k`)).text()).toBe('new');
  });

  test('survives a restart, and so does the identity of the volume', async () => {
    await put('k', 'kept');
    await writeFile(join(dir, 'tmp', 'ab', 'leftover'), 'half a value');
    await volume.close();
    const before = volume.id;
    volume = await startVolumeServer({ path: dir, port: 0 });
    base = `http://127.0.0.1:${volume.port}`;
    expect([volume.id, await (await fetch(`${base}/get/k`)).text(), await leftovers()]).toEqual([before, 'kept', []]);
  });
});

describe('damage on disk', () => {
  test('is found on reading, wherever it is: KF_VALUE_DAMAGED', async () => {
    await put('k', 'some bytes that matter');
    const sound = await readFile(pathOf('k'));
    for (let at = 0; at < sound.length; at++) {
      const bytes = Buffer.from(sound);
      bytes[at]! ^= 0x10;
      await writeFile(pathOf('k'), bytes);
      const got = await fetch(`${base}/get/k`);
      const header = at >= 36 && at < 60;
      expect([got.status, await codeOf(got)], `byte ${at}${header ? ' (reserved)' : ''}`).toEqual([500, 'KF_VALUE_DAMAGED']);
    }
    for (let length = 0; length < sound.length; length++) {
      await writeFile(pathOf('k'), sound.subarray(0, length));
      expect((await fetch(`${base}/get/k`)).status, `cut to ${length}`).toBe(500);
    }
  });

  test('in the middle of a large value ends the answer instead of completing it', async () => {
    const big = Buffer.alloc(4 * 1024 * 1024, 'x');
    await put('big', big);
    const bytes = await readFile(pathOf('big'));
    bytes[3 * 1024 * 1024]! ^= 1;
    await writeFile(pathOf('big'), bytes);
    await expect(fetch(`${base}/get/big`).then((response) => response.arrayBuffer())).rejects.toThrow();
    // From then on it is known, and said before the answer begins; sound parts can be had, and a new value heals it.
    expect(await codeOf(await fetch(`${base}/get/big`))).toBe('KF_VALUE_DAMAGED');
    expect((await fetch(`${base}/get/big`, { headers: { range: 'bytes=0-99' } })).status).toBe(206);
    await put('big', 'new');
    expect(await (await fetch(`${base}/get/big`)).text()).toBe('new');
  });

  test('is named by a verifying list, which leaves out nothing', async () => {
    for (const key of ['a', 'b', 'c']) await put(key, `value ${key}`);
    await truncate(pathOf('b'), (await stat(pathOf('b'))).size - 1);
    const client = new VolumeClient(base);
    const found: string[] = [];
    for await (const entry of client.list({ verify: true })) found.push('error' in entry ? entry.error : Buffer.from(entry.key).toString());
    await client.close();
    expect(found.sort()).toEqual(['KF_VALUE_DAMAGED', 'a', 'c']);
  });
});

describe('what a volume refuses', () => {
  test('a key with a broken escape, an unknown path, a directory of something else', async () => {
    const raw = await new Promise<string>((resolve) => {
      const socket = connect(volume.port, '127.0.0.1', () =>
        socket.write('GET /get/%zz HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n'),
      );
      let text = '';
      socket.on('data', (piece) => {
        text += piece.toString();
      });
      socket.on('close', () => resolve(text));
    });
    expect(raw).toContain('KF_BAD_REQUEST');
    expect(await codeOf(await fetch(`${base}/nothing`))).toBe('KF_NOT_FOUND');
    const other = await mkdtemp(join(tmpdir(), 'keyfleet-other-'));
    await writeFile(join(other, 'thesis.doc'), 'precious');
    await expect(startVolumeServer({ path: other, port: 0 })).rejects.toMatchObject({ code: 'KF_VOLUME_UNUSABLE' });
    await rm(other, { recursive: true });
    await expect(startVolumeServer({ path: dir, port: 0 })).rejects.toMatchObject({ code: 'KF_STORAGE_LOCKED' });
  });

  test('requests without its token, when it has one', async () => {
    const guarded = await mkdtemp(join(tmpdir(), 'keyfleet-guarded-'));
    const server = await startVolumeServer({ path: guarded, port: 0, token: 'secret' });
    const at = `http://127.0.0.1:${server.port}`;
    expect((await fetch(`${at}/get/k`)).status).toBe(401);
    expect((await fetch(`${at}/get/k`, { headers: { authorization: 'Bearer secret' } })).status).toBe(404);
    expect((await fetch(`${at}/healthz`)).status).toBe(200);
    await server.close();
    await rm(guarded, { recursive: true });
  });
});

describe('moving values between two volumes', () => {
  test('a batch pull fetches, verifies and stores many, and says what it could not', async () => {
    const otherDir = await mkdtemp(join(tmpdir(), 'keyfleet-target-'));
    const target = await startVolumeServer({ path: otherDir, port: 0 });
    const client = new VolumeClient(`http://127.0.0.1:${target.port}`);
    const keys = Array.from({ length: 300 }, (_, index) => `key ${index}`);
    for (const key of keys) await put(encodeURIComponent(key), `value of ${key}`);
    await client.put(utf8('key 7'), Buffer.from('newer'), { contentType: 'text/plain', version: 99 });
    const file = await readFile(pathOf('key 9'));
    file[file.indexOf('value of')] = 0;
    await writeFile(pathOf('key 9'), file);
    await writeFile(pathOf('key 10'), await readFile(pathOf('key 11')));
    await truncate(pathOf('key 12'), 30);
    await put('key%2013', Buffer.alloc(5_000_000, 'grown'));
    const results = await client.batchPull(
      base,
      [...keys, 'absent'].map((key) => ({ key: utf8(key), version: 5 })),
    );
    expect(results.filter((result) => 'sha256' in result).length).toBe(295);
    expect(results[7]).toMatchObject({ code: 'KF_NEWER_VERSION' });
    for (const [index, why] of [
      [9, 'the bytes have changed'],
      [10, 'holds another key'],
      [12, 'shorter than a header'],
    ] as const)
      expect(results[index]).toMatchObject({ code: 'KF_VALUE_DAMAGED', message: expect.stringMatching(`^a file from ${base}: ${why}`) });
    expect(results[13]).toMatchObject({ code: 'KF_VALUE_TOO_LARGE' });
    expect(results[300]).toMatchObject({ code: 'absent' });
    const moved = await client.get(utf8('key 8'), {});
    expect(Buffer.concat(await moved!.body.toArray()).toString()).toBe('value of key 8');
    expect(await client.batchDelete(keys.map((key) => ({ key: utf8(key), upToVersion: 5 })))).toBe(295);
    const large = Buffer.alloc(5_000_000, 'z');
    await put('large', large);
    expect(await client.pull(utf8('large'), base, 12)).toMatchObject({ sizeBytes: large.length, version: 12 });
    await client.close();
    await target.close();
    await rm(otherDir, { recursive: true });
  });

  test('a value that was replaced after it was read for a move is not removed at its end', async () => {
    const client = new VolumeClient(base);
    const pulled = async (): Promise<void> => {
      for await (const _ of client.batchRead(['small', 'large', 'moved', 'gone'].map(utf8)));
    };
    for (const key of ['small', 'large', 'moved', 'gone'])
      await client.put(utf8(key), Buffer.from('old'), { contentType: 'a/b', version: 1_025 });
    await pulled();
    await client.put(utf8('small'), Buffer.from('new'), { contentType: 'a/b', version: 2_049 });
    const large = Buffer.alloc(2_000_000, 'new');
    await client.put(utf8('large'), large, { contentType: 'a/b', version: 2_049 });
    const otherDir = await mkdtemp(join(tmpdir(), 'keyfleet-source-'));
    const source = await startVolumeServer({ path: otherDir, port: 0 });
    const sourceClient = new VolumeClient(`http://127.0.0.1:${source.port}`);
    await sourceClient.put(utf8('moved'), Buffer.from('new'), { contentType: 'a/b', version: 2_048 });
    await client.batchPull(`http://127.0.0.1:${source.port}`, [{ key: utf8('moved'), version: 2_049 }]);
    const upTo = (version: number) => ['small', 'large', 'moved', 'gone'].map((key) => ({ key: utf8(key), upToVersion: version }));
    expect(await client.batchDelete(upTo(1_025))).toBe(1);
    expect((await client.head(utf8('large')))?.sizeBytes).toBe(large.length);
    for (const key of ['small', 'moved']) expect(await (await fetch(`${base}/get/${key}`)).text(), key).toBe('new');
    await pulled();
    expect(await client.batchDelete(upTo(2_049))).toBe(3);
    expect(await client.batchDelete(upTo(2_049))).toBe(0);
    await client.put(utf8('gone'), Buffer.from('again'), { contentType: 'a/b', version: 7 });
    expect(await client.batchDelete(upTo(1_025))).toBe(1);
    await Promise.all([client.close(), sourceClient.close(), source.close()]);
    await rm(otherDir, { recursive: true });
  });
});

describe('a master that has a successor', () => {
  test('changes nothing any more, not even by what it had begun before: KF_FENCED', async () => {
    const old = new VolumeClient(base, { epoch: 1 });
    const next = new VolumeClient(base, { epoch: 2 });
    await old.put(utf8('k'), Buffer.from('one'), { contentType: 'a/b', version: 1 });
    let finish = (): void => {};
    const began = new Promise<void>((resolve) => {
      finish = resolve;
    });
    async function* slow(): AsyncGenerator<Buffer, void> {
      yield Buffer.from('late');
      await began;
    }
    const late = old.put(utf8('k'), slow(), { contentType: 'a/b', version: 9 }).catch((error: unknown) => error);
    await next.put(utf8('k'), Buffer.from('two'), { contentType: 'a/b', version: 2 });
    finish();
    expect(await late).toMatchObject({ code: 'KF_FENCED' });
    await expect(old.delete(utf8('k'), 99)).rejects.toMatchObject({ code: 'KF_FENCED' });
    expect(await (await fetch(`${base}/get/k`)).text()).toBe('two');
    await old.close();
    await next.close();
  });
});
