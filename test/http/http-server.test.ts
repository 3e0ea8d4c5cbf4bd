import { connect } from 'node:net';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { KeyfleetError } from '../../src/base/errors.ts';
import { base, errorCode, keys, raw, serve, server, store } from './http-fixture.ts';

beforeEach(() => serve());
afterEach(() => server.close(100));

describe('one key', () => {
  test('holds the bytes it is given: 201, then 204, and GET gives them back with an entity tag', async () => {
    const value = Buffer.from(Array.from({ length: 256 }, (_, byte) => byte));
    const created = await fetch(keys('a'), { method: 'PUT', body: value });
    expect(created.status).toBe(201);
    const got = await fetch(keys('a'));
    expect(got.status).toBe(200);
    expect(got.headers.get('content-type')).toBe('application/octet-stream');
    expect(got.headers.get('etag')).toBe(created.headers.get('etag'));
    expect(Buffer.from(await got.arrayBuffer())).toEqual(value);
    expect((await fetch(keys('a'), { method: 'PUT', body: 'other' })).status).toBe(204);
    expect(await (await fetch(keys('a'))).text()).toBe('other');
  });

  test.each([
    ['a slash', 'a%2Fb', Buffer.from('a/b')],
    ['a plain slash', 'a/b', Buffer.from('a/b')],
    ['a zero byte', '%00', Buffer.from([0])],
    ['bytes that are no UTF-8', '%FF%fe', Buffer.from([0xff, 0xfe])],
    ['a percent sign', '100%25', Buffer.from('100%')],
    ['a plus sign, which is no blank', 'a+b', Buffer.from('a+b')],
    ['dots', '..%2F..', Buffer.from('../..')],
    ['plain dots', 'a/../b', Buffer.from('a/../b')],
    ['nothing at all', '', Buffer.alloc(0)],
    ['a question mark', 'what%3F', Buffer.from('what?')],
  ])('may be %s', async (_, encoded, key) => {
    const path = `/v1/keyspaces/default/keys/${encoded}`;
    expect((await raw('PUT', path, { body: Buffer.from('v') })).status).toBe(201);
    expect([...store.entries.keys()]).toEqual([key.toString('hex')]);
    expect((await raw('GET', path)).body.toString()).toBe('v');
    expect((await raw('DELETE', path)).status).toBe(204);
    expect(store.entries.size).toBe(0);
  });

  test('that is malformed is refused: KF_BAD_REQUEST', async () => {
    const { status, body } = await raw('GET', '/v1/keyspaces/default/keys/%zz');
    expect([status, JSON.parse(body.toString()).error.code]).toEqual([400, 'KF_BAD_REQUEST']);
  });

  test('may hold nothing: an empty body is an empty value', async () => {
    expect((await fetch(keys('a'), { method: 'PUT' })).status).toBe(201);
    const got = await fetch(keys('a'));
    expect([got.status, await got.text()]).toEqual([200, '']);
  });

  test('that is not there is 404 KF_KEY_NOT_FOUND, for GET, HEAD and DELETE', async () => {
    const got = await fetch(keys('none'));
    expect([got.status, await errorCode(got)]).toEqual([404, 'KF_KEY_NOT_FOUND']);
    expect((await fetch(keys('none'), { method: 'HEAD' })).status).toBe(404);
    expect((await fetch(keys('none'), { method: 'DELETE' })).status).toBe(404);
  });

  test('HEAD says the length and the tag without the value', async () => {
    await fetch(keys('a'), { method: 'PUT', body: 'hello' });
    const head = await fetch(keys('a'), { method: 'HEAD' });
    expect([head.status, head.headers.get('content-length'), await head.text()]).toEqual([200, '5', '']);
    expect(head.headers.get('etag')).toBe((await fetch(keys('a'))).headers.get('etag'));
  });

  test('that holds a hash is 409 KF_WRONG_TYPE', async () => {
    store.holdHash(Buffer.from('h'));
    const got = await fetch(keys('h'));
    expect([got.status, await errorCode(got)]).toEqual([409, 'KF_WRONG_TYPE']);
  });

  test('lives as long as the query or the header says, and GET tells how long', async () => {
    await fetch(`${keys('q')}?ttlMs=60000`, { method: 'PUT', body: 'v' });
    await fetch(keys('h'), { method: 'PUT', body: 'v', headers: { 'keyfleet-ttl-ms': '50000' } });
    const left = Number((await fetch(keys('q'))).headers.get('keyfleet-ttl-ms'));
    expect(left).toBeGreaterThan(50_000);
    expect(left).toBeLessThanOrEqual(60_000);
    expect(Number((await fetch(keys('h'))).headers.get('keyfleet-ttl-ms'))).toBeLessThanOrEqual(50_000);
    await fetch(keys('q'), { method: 'PUT', body: 'v' });
    expect((await fetch(keys('q'))).headers.get('keyfleet-ttl-ms')).toBeNull();
  });

  test.each(['0', '-1', '1.5', 'soon', ''])('with a time to live of %j is refused', async (ttl) => {
    const put = await fetch(`${keys('a')}?ttlMs=${ttl}`, { method: 'PUT', body: 'v' });
    expect([put.status, await errorCode(put)]).toEqual([400, 'KF_BAD_REQUEST']);
    expect(store.entries.size).toBe(0);
  });

  test('with a parameter that PUT does not know is refused', async () => {
    const put = await fetch(`${keys('a')}?ttl=60`, { method: 'PUT', body: 'v' });
    expect([put.status, await errorCode(put)]).toEqual([400, 'KF_BAD_REQUEST']);
    expect(store.entries.size).toBe(0);
  });

  test('of a keyspace that is not there: KF_NO_KEYSPACE', async () => {
    const got = await fetch(`${base}/v1/keyspaces/nope/keys/a`);
    expect([got.status, await errorCode(got)]).toEqual([404, 'KF_NO_KEYSPACE']);
  });

  test('takes no POST: 405 with the methods it takes', async () => {
    const got = await fetch(keys('a'), { method: 'POST', body: 'x' });
    expect([got.status, got.headers.get('allow'), await errorCode(got)]).toEqual([405, 'GET, HEAD, PUT, DELETE', 'KF_METHOD_NOT_ALLOWED']);
  });
});

describe('conditions', () => {
  const put = (headers: Record<string, string>, body = 'new'): Promise<Response> => fetch(keys('a'), { method: 'PUT', body, headers });

  test('If-None-Match: * writes only what is not there', async () => {
    expect((await put({ 'if-none-match': '*' })).status).toBe(201);
    const again = await put({ 'if-none-match': '*' }, 'newer');
    expect([again.status, await errorCode(again)]).toEqual([412, 'KF_PRECONDITION_FAILED']);
    expect(await (await fetch(keys('a'))).text()).toBe('new');
  });

  test('If-Match writes and deletes only what is as it was read', async () => {
    const etag = (await put({})).headers.get('etag')!;
    expect((await put({ 'if-match': '"0123"' })).status).toBe(412);
    expect((await put({ 'if-match': `W/${etag}` })).status).toBe(412);
    const replaced = await put({ 'if-match': `"other", ${etag}` }, 'second');
    expect(replaced.status).toBe(204);
    const stale = { method: 'DELETE', headers: { 'if-match': etag } };
    expect((await fetch(keys('a'), stale)).status).toBe(412);
    expect((await fetch(keys('a'), { method: 'DELETE', headers: { 'if-match': replaced.headers.get('etag')! } })).status).toBe(204);
    expect((await put({ 'if-match': '*' })).status).toBe(412);
  });

  test('lists of tags may have empty elements, and must have one that is not', async () => {
    const etag = (await put({})).headers.get('etag')!;
    expect((await put({ 'if-match': `, "x",, ${etag} ,` })).status).toBe(204);
    for (const list of ['', ' , ', 'x', '"a" "b"', '"a', '*, "a"']) {
      const refused = await put({ 'if-none-match': list });
      expect([list, refused.status, await errorCode(refused)]).toEqual([list, 400, 'KF_BAD_REQUEST']);
    }
  });

  test('If-None-Match on GET answers 304 without the value', async () => {
    const etag = (await put({})).headers.get('etag')!;
    const same = await fetch(keys('a'), { headers: { 'if-none-match': etag } });
    expect([same.status, await same.text(), same.headers.get('etag')]).toEqual([304, '', etag]);
    expect((await fetch(keys('a'), { headers: { 'if-none-match': '"other"' } })).status).toBe(200);
    expect((await fetch(keys('a'), { headers: { 'if-match': '"other"' } })).status).toBe(412);
  });

  test('that are no entity tags are refused', async () => {
    expect((await put({ 'if-match': 'abc' })).status).toBe(400);
    expect(store.entries.size).toBe(0);
  });
});

describe('batches', () => {
  const post = (what: 'get' | 'put', type: string, body: string | Buffer): Promise<Response> =>
    fetch(`${base}/v1/keyspaces/default/batch/${what}`, { method: 'POST', body, headers: type === '' ? {} : { 'content-type': type } });

  test('put and get records as JSON', async () => {
    const records = [
      { key: 'a', value: '1' },
      { key64: '/w==', value64: 'AP8=' },
      { key: 'a', value: '2', ttlMs: 60_000 },
    ];
    const put = await post('put', 'application/json', JSON.stringify({ records }));
    expect(await put.json()).toEqual({ written: 3, created: 2, replaced: 1, failed: 0 });
    store.holdHash(Buffer.from('h'));
    const got = await post('get', 'application/json', JSON.stringify({ keys: ['a', { key64: '/w==' }, { key: 'none' }, 'h'] }));
    expect(await got.json()).toEqual({
      records: [
        { key: 'a', value: '2', ttlMs: expect.any(Number) },
        { key64: '/w==', value64: 'AP8=' },
        { key: 'none', value: null },
        { key: 'h', error: { code: 'KF_WRONG_TYPE', message: expect.any(String) } },
      ],
    });
  });

  test('put and get records as NDJSON, empty lines aside, in their order', async () => {
    const lines = Array.from({ length: 3_000 }, (_, i) => JSON.stringify({ key: `k${i}`, value: `v${i}` }));
    const put = await post('put', 'application/x-ndjson', `\n${lines.join('\r\n')}\n\n`);
    expect(await put.json()).toEqual({ written: 3_000, created: 3_000, replaced: 0, failed: 0 });
    const got = await post('get', 'application/x-ndjson', lines.map((_, i) => JSON.stringify(`k${i}`)).join('\n'));
    expect((await got.text()).trimEnd().split('\n')).toEqual(lines);
  });

  test.each([
    ['no JSON', '{"key":"a","value":"1"}\n{"key":', 'line 2'],
    ['no value', '{"key":"a"}', 'line 1'],
    ['a value that is no string', '{"key":"a","value":1}', 'line 1'],
    ['both key and key64', '{"key":"a","key64":"YQ==","value":"1"}', 'line 1'],
    ['no base64', '{"key64":"a","value":"1"}', 'line 1'],
    ['a time to live of nothing', '{"key":"a","value":"1","ttlMs":0}', 'line 1'],
    ['half a surrogate pair', '{"key":"\\ud800","value":"1"}', 'line 1'],
    ['bytes that are no UTF-8', Buffer.from([0x22, 0xff, 0x22]), 'line 1'],
  ])('with %s are refused whole, naming the line', async (_, body, where) => {
    const put = await post('put', 'application/x-ndjson', body);
    const { error } = (await put.json()) as { error: { code: string; message: string } };
    expect([put.status, error.code]).toEqual([400, 'KF_BAD_RECORD']);
    expect(error.message).toContain(where);
    expect(store.entries.size).toBe(0);
  });

  test.each(['', 'text/plain', 'application/x-www-form-urlencoded', 'multipart/form-data; boundary=x'])(
    'of content type %j, which a web page of another site could send, are refused',
    async (type) => {
      const put = await post('put', type, Buffer.from('{"records":[{"key":"a","value":"1"}]}'));
      expect([put.status, await errorCode(put)]).toEqual([415, 'KF_MEDIA_TYPE']);
      expect(store.entries.size).toBe(0);
    },
  );

  test('that the store refuses say so, and how many were written', async () => {
    store.refusal = new KeyfleetError('KF_DISK_FULL', 'no space left', { retryable: true });
    const put = await post('put', 'application/json', '{"records":[{"key":"a","value":"1"}]}');
    expect(put.status).toBe(507);
    expect(await put.json()).toEqual({
      written: 0,
      created: 0,
      replaced: 0,
      failed: 1,
      error: { code: 'KF_DISK_FULL', message: 'no space left' },
    });
  });
});

describe('a scan', () => {
  const scan = async (query = ''): Promise<Record<string, unknown>[]> => {
    const response = await fetch(`${base}/v1/keyspaces/default/scan${query}`);
    return (await response.text())
      .trimEnd()
      .split('\n')
      .map((line) => JSON.parse(line) as Record<string, unknown>);
  };
  const fill = async (count: number): Promise<void> => {
    const keyspace = store.keyspace('default')!;
    for (let i = 0; i < count; i++) await keyspace.put(Buffer.from(`k${i}`), Buffer.from(`v${i}`), { ttlMs: undefined, condition: {} });
  };

  test('gives every record and ends with a line that says so', async () => {
    await fill(2_500);
    const lines = await scan();
    expect(lines.at(-1)).toEqual({ end: true, count: 2_500, cursor: null });
    expect(lines.slice(0, -1).map(({ key }) => key)).toEqual(Array.from({ length: 2_500 }, (_, i) => `k${i}`));
    expect(lines[7]).toEqual({ key: 'k7', value: 'v7' });
  });

  test('stops at a limit, and goes on from its cursor', async () => {
    await fill(250);
    const first = await scan('?limit=100');
    expect(first.at(-1)).toEqual({ end: true, count: 100, cursor: '100' });
    const rest = await scan('?cursor=100');
    expect(rest.at(-1)).toEqual({ end: true, count: 150, cursor: null });
    expect(rest[0]).toEqual({ key: 'k100', value: 'v100' });
  });

  test('tells only keys that begin so or match, without values when asked', async () => {
    await fill(120);
    expect((await scan('?prefix=k11')).slice(0, -1).map(({ key }) => key)).toEqual([
      'k11',
      'k110',
      'k111',
      'k112',
      'k113',
      'k114',
      'k115',
      'k116',
      'k117',
      'k118',
      'k119',
    ]);
    expect((await scan('?match=k%3F5&values=false')).slice(0, -1)).toEqual(
      ['k15', 'k25', 'k35', 'k45', 'k55', 'k65', 'k75', 'k85', 'k95'].map((key) => ({ key })),
    );
  });

  test('shows what is no string with its type, and without its value when asked', async () => {
    store.holdHash(Buffer.from('h'));
    expect((await scan())[0]).toEqual({ key: 'h', type: 'hash', value: [['field', 'value']] });
    expect((await scan('?collections=false'))[0]).toEqual({ key: 'h', type: 'hash' });
  });

  test.each(['?limit=x', '?values=perhaps', '?collections=1', '?cursor=-1', '?prefx=a', '?limit=1&limit=2'])(
    'with %s is refused',
    async (query) => {
      const response = await fetch(`${base}/v1/keyspaces/default/scan${query}`);
      expect([response.status, await errorCode(response)]).toEqual([400, 'KF_BAD_REQUEST']);
    },
  );

  test('that its client does not read stops reading the store', async () => {
    const value = Buffer.alloc(64 * 1024, 'x');
    const keyspace = store.keyspace('default')!;
    for (let i = 0; i < 2_000; i++) await keyspace.put(Buffer.from(`big${i}`), value, { ttlMs: undefined, condition: {} });
    let pages = 0;
    const scanStore = keyspace.scan;
    Object.assign(keyspace, {
      scan: (options: Parameters<typeof scanStore>[0]) => {
        pages++;
        return scanStore(options);
      },
    });
    const socket = connect(server.port, '127.0.0.1');
    socket.pause();
    socket.write('GET /v1/keyspaces/default/scan HTTP/1.1\r\nhost: localhost\r\n\r\n');
    // Two thousand values are 128 MiB: far more than the buffers between the two of us hold.
    let before = -1;
    while (pages !== before || pages === 0) {
      before = pages;
      await new Promise((resolve) => setTimeout(resolve, 300));
    }
    expect(pages).toBeLessThan(1_000);
    socket.destroy();
  });
});
