import { createHash } from 'node:crypto';
import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Redis } from 'ioredis';
import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'vitest';
import { KeyfleetProcess, KeyfleetServer, keyfleet } from './keyfleet-process.ts';

let scratch: string;
let server: KeyfleetServer;
let redis: Redis;

beforeAll(async () => {
  scratch = mkdtempSync(join(tmpdir(), 'keyfleet-import-'));
  server = await KeyfleetServer.start(join(scratch, 'data'), ['--durability', 'os']);
  redis = new Redis({ port: server.respPort, host: '127.0.0.1' });
});
afterAll(async () => {
  redis.disconnect();
  await server.kill('SIGTERM');
  rmSync(scratch, { recursive: true, force: true });
});
beforeEach(() => redis.flushall());

const file = (name: string, text: string | Buffer): string => {
  writeFileSync(join(scratch, name), text);
  return join(scratch, name);
};
const url = (): readonly string[] => ['--url', server.url];
const sortedHash = (lines: Buffer): string =>
  createHash('sha256').update(lines.toString('latin1').trimEnd().split('\n').sort().join('\n')).digest('hex');

/** Lines that are valid JSON and not as JSON.stringify would write them, so that a round trip shows whether bytes stay as they are. */
function oddLines(count: number): string {
  let text = '';
  for (let i = 0; i < count; i++)
    text += `{ "id":"key ${i}",\t"n": ${i}.0, "text":"\\u00e9${'é'.repeat(i % 7)} \\"quoted\\" ${'x'.repeat(i % 200)}" }\n`;
  return text;
}

/** Resolves as soon as the import has noted that something is acknowledged. */
async function whenNoted(checkpoint: string, process: KeyfleetProcess): Promise<void> {
  while (!existsSync(checkpoint)) {
    if (process.child.exitCode !== null) throw new Error(`ended too early: ${process.stdout}${process.stderr}`);
    await new Promise((resolve) => setTimeout(resolve, 2));
  }
}

describe('import and export', () => {
  test('whole records come back byte for byte', async () => {
    const text = Buffer.from(oddLines(5_000));
    const imported = await keyfleet(['import', file('odd.ndjson', text), '--key', 'id', ...url()]);
    expect(imported.code).toBe(0);
    expect(imported.stdout).toMatch(/imported 5,000 records .*\n {2}keys {6}5,000 different ones\n/);
    expect(imported.stdout).toContain('default had 0 keys and has 5,000: the counts agree');
    expect(await redis.get('key 7')).toBe(text.toString().split('\n')[7]);
    const exported = new KeyfleetProcess(['export', '--records', ...url()]);
    expect((await exported.ended).code).toBe(0);
    expect(sortedHash(exported.stdoutBytes)).toBe(sortedHash(text));
    expect(existsSync(join(scratch, 'odd.ndjson.keyfleet-import'))).toBe(false);
  });

  test.each(['ndjson', 'csv', 'tsv'])('%s: keys, values and times to live come back', async (format) => {
    await redis.mset('plain', 'value', 'empty', '', 'späte', '"quoted", with commas');
    await redis.set('timed', 'soon gone', 'PX', 600_000);
    if (format !== 'tsv') await redis.set('lines', 'a\nb\tc');
    if (format === 'ndjson') await redis.set(Buffer.from([0, 255]), Buffer.from([254, 0]));
    const count = await redis.dbsize();
    const dump = join(scratch, `dump.${format}`);
    expect(await keyfleet(['export', dump, ...url()])).toMatchObject({ code: 0, stdout: '' });
    expect([existsSync(`${dump}.part`), existsSync(`${dump}.keyfleet-export`)]).toEqual([false, false]);
    await redis.flushall();
    expect((await keyfleet(['import', dump, ...url()])).code).toBe(0);
    expect(await redis.dbsize()).toBe(count);
    expect(await redis.mget('plain', 'empty', 'späte')).toEqual(['value', '', '"quoted", with commas']);
    expect(await redis.pttl('timed')).toBeGreaterThan(500_000);
    expect(await redis.pttl('plain')).toBe(-1);
    if (format !== 'tsv') expect(await redis.get('lines')).toBe('a\nb\tc');
    if (format === 'ndjson') expect(await redis.getBuffer(Buffer.from([0, 255]))).toEqual(Buffer.from([254, 0]));
  });

  test('of records with one key the last one stays, and they are counted', async () => {
    let text = '';
    for (let i = 0; i < 9_000; i++) text += `{"key":"k${i % 3_000}","value":"${i}"}\n`;
    const imported = await keyfleet(['import', '-', ...url()], { stdin: text });
    expect(imported.code).toBe(0);
    expect(imported.stdout).toContain('repeated  6,000 records');
    expect(imported.stdout).toContain('has 3,000: the counts agree');
    expect(await redis.mget('k0', 'k1', 'k2999')).toEqual(['6000', '6001', '8999']);
  });

  test('a malformed line ends the import with its number; --skip-bad counts it and goes on', async () => {
    const path = file('bad.ndjson', '{"key":"a","value":"1"}\n{"key":"b"\n{"key":"c","value":"3"}\n');
    const failed = await keyfleet(['import', path, ...url()]);
    expect([failed.code, failed.stderr]).toEqual([6, expect.stringContaining('KF_BAD_RECORD: line 2: ')]);
    const skipped = await keyfleet(['import', path, '--skip-bad', '--restart', ...url()]);
    expect([skipped.code, skipped.stdout]).toEqual([0, expect.stringContaining('skipped   1 malformed lines')]);
    expect(await redis.mget('a', 'b', 'c')).toEqual(['1', null, '3']);
  });

  test('a value larger than the server takes ends the import with the lines it was in', async () => {
    const path = file('large.ndjson', `{"key":"a","value":"1"}\n{"key":"b","value":"${'x'.repeat(70 * 1024 * 1024)}"}\n`);
    const failed = await keyfleet(['import', path, ...url()]);
    expect([failed.code, failed.stderr]).toEqual([1, expect.stringMatching(/KF_BODY_TOO_LARGE: .*lines 1 to 2 are not acknowledged/)]);
  });

  test('CSV says what it left out: hashes', async () => {
    await redis.set('s', 'v');
    await redis.hset('h', 'f', 'v');
    const failed = await keyfleet(['export', '--format', 'csv', ...url()]);
    expect([failed.code, failed.stdout]).toEqual([1, 'key,value,ttlMs\ns,v,\n']);
    expect(failed.stderr).toContain('KF_EXPORT_INCOMPLETE: 1 keys');
    expect((await keyfleet(['export', '--format', 'csv', '--skip-other-types', ...url()])).code).toBe(0);
    expect((await keyfleet(['export', '--records', '--match', 's*', ...url()])).code).toBe(0);
    const skipped = await keyfleet(['export', '--skip-other-types', ...url()]);
    expect([skipped.code, skipped.stdout]).toEqual([0, '{"key":"s","value":"v"}\n']);
  });

  test('lists, sets, hashes and sorted sets come back, in pieces where they are large, whatever was there before, and however often', async () => {
    const bytes = Buffer.from([0, 255, 10]);
    const names = Array.from({ length: 5_001 }, (_, index) => `name ${index}`);
    await redis.rpush('list', ...names, bytes, '');
    await redis.sadd('set', ...names, bytes);
    await redis.hset('hash', ...names.flatMap((name) => [name, `value of ${name}`]), bytes, bytes);
    await redis.call('zadd', 'zset', ...names.flatMap((name, index) => [String(index / 7), name]), '-inf', bytes, '1e300', 'large');
    await redis.sadd('small', '1', '2');
    await redis.pexpire('small', 600_000);
    await redis.rpush(bytes, 'under a key of bytes');
    const shown = async (): Promise<unknown> => [
      await redis.lrangeBuffer('list', 0, -1),
      (await redis.smembersBuffer('set')).map(String).sort(),
      Object.entries(await redis.hgetall('hash')).sort(),
      await redis.hgetBuffer('hash', bytes),
      await redis.callBuffer('zrange', 'zset', '0', '-1', 'WITHSCORES'),
      await redis.smembers('small'),
      await redis.lrange(bytes, 0, -1),
      await redis.dbsize(),
    ];
    const before = await shown();
    const dump = join(scratch, 'types.ndjson');
    expect((await keyfleet(['export', dump, ...url()])).stderr).toContain('default has 6 keys: the counts agree');
    expect(readFileSync(dump, 'utf8')).toContain('"from":');
    await redis.flushall();
    await redis.set('list', 'in the way');
    await redis.hset('hash', 'in the', 'way');
    for (let times = 0; times < 2; times++) {
      const imported = await keyfleet(['import', dump, ...url()]);
      expect([imported.code, imported.stdout]).toEqual([
        0,
        expect.stringMatching(/imported 6 records .*\n {2}keys {6}6 different ones\n {2}repeated {2}0/),
      ]);
      expect(await shown()).toEqual(before);
    }
    expect(await redis.pttl('small')).toBeGreaterThan(500_000);
    expect(await redis.pttl('list')).toBe(-1);
  });

  test('a piece of a collection that finds nothing before it is refused', async () => {
    const path = file('piece.ndjson', '{"key":"l","type":"list","value":["a"],"from":5}\n');
    const failed = await keyfleet(['import', path, ...url()]);
    expect([failed.code, failed.stderr]).toEqual([1, expect.stringContaining('begins at 5')]);
    expect(await redis.dbsize()).toBe(0);
  });

  test('wrong formats, files and columns: exit 2', async () => {
    for (const args of [
      ['import', 'no/such/file'],
      ['import', scratch],
      ['import', '-', '--format', 'xml'],
      ['export', 'no/such/directory/file'],
      ['export', '-', '--records', '--format', 'csv'],
    ]) {
      expect([args, await keyfleet([...args, ...url()], { stdin: '' })]).toEqual([
        args,
        expect.objectContaining({ code: 2, stderr: expect.stringContaining('KF_USAGE') }),
      ]);
    }
    expect((await keyfleet(['import', '-', '--keyspace', 'nope', ...url()], { stdin: '' })).stderr).toContain('KF_NO_KEYSPACE');
  });
});

describe('interrupted', () => {
  test('an import goes on where it was, and nothing is missing or doubled', async () => {
    const text = oddLines(60_000);
    const path = file('long.ndjson', text);
    const args = ['import', path, '--key', 'id', ...url()];
    const first = new KeyfleetProcess(args);
    await whenNoted(`${path}.keyfleet-import`, first);
    expect((await first.kill('SIGINT')).code).toBe(130);
    expect(first.stderr).toContain('give the same command again to go on');
    const had = await redis.dbsize();
    expect(had).toBeGreaterThan(0);
    expect(had).toBeLessThan(60_000);

    // Another input, or other options, are not what was interrupted.
    const { setting } = JSON.parse(readFileSync(`${path}.keyfleet-import`, 'utf8')) as { setting: string };
    expect(setting).toContain('"id"');
    expect(await keyfleet([...args, '--value', 'n'])).toMatchObject({ code: 6, stderr: expect.stringContaining('KF_CHECKPOINT') });
    writeFileSync(path, text.replace('"n": 0.0', '"n": 1.0'));
    expect(await keyfleet(args)).toMatchObject({
      code: 6,
      stderr: expect.stringContaining('does not begin as the one that was interrupted did'),
    });

    writeFileSync(path, text);
    const second = await keyfleet(args);
    expect(second.code).toBe(0);
    expect(second.stdout).toMatch(/earlier {3}[\d,]+ of them were acknowledged to a run before this one/);
    expect(second.stdout).toContain('default had 0 keys and has 60,000: the counts agree');
    const exported = new KeyfleetProcess(['export', '--records', ...url()]);
    await exported.ended;
    expect(sortedHash(exported.stdoutBytes)).toBe(sortedHash(Buffer.from(text)));
  });

  test('an export to a file goes on where it was', async () => {
    for (let from = 0; from < 60_000; from += 10_000) {
      await redis.mset(
        Object.fromEntries(Array.from({ length: 10_000 }, (_, i) => [`key${from + i}`, `value ${from + i} ${'x'.repeat(300)}`])),
      );
    }
    const dump = join(scratch, 'long-dump.ndjson');
    const first = new KeyfleetProcess(['export', dump, ...url()]);
    await whenNoted(`${dump}.keyfleet-export`, first);
    expect((await first.kill('SIGINT')).code).toBe(130);
    expect(existsSync(dump)).toBe(false);
    const second = await keyfleet(['export', dump, ...url()]);
    expect([second.code, second.stderr]).toEqual([0, expect.stringContaining('going on after')]);
    const keys = readFileSync(dump, 'utf8')
      .trimEnd()
      .split('\n')
      .map((line) => (JSON.parse(line) as { key: string }).key);
    expect([keys.length, new Set(keys).size]).toEqual([60_000, 60_000]);
  });
});

test('a server killed in the middle of an import: the import waits for it, and everything acknowledged is there', async () => {
  const dir = join(scratch, 'fragile');
  let fragile = await KeyfleetServer.start(dir);
  const ports = ['--resp', String(fragile.respPort), '--http', String(fragile.httpPort)];
  const text = oddLines(20_000);
  const path = file('fragile.ndjson', text);
  const importing = new KeyfleetProcess(['import', path, '--key', 'id', '--url', fragile.url]);
  await whenNoted(`${path}.keyfleet-import`, importing);
  await fragile.kill('SIGKILL');
  const noted = (JSON.parse(readFileSync(`${path}.keyfleet-import`, 'utf8')) as { items: number }).items;
  expect(noted).toBeLessThan(20_000);
  fragile = await KeyfleetServer.start(dir, ports);
  const ended = await importing.ended;
  expect([ended.code, ended.stderr.includes('KF_')]).toEqual([0, false]);
  const exported = new KeyfleetProcess(['export', '--records', '--url', fragile.url]);
  expect((await exported.ended).code).toBe(0);
  expect(sortedHash(exported.stdoutBytes)).toBe(sortedHash(Buffer.from(text)));
  expect((await fragile.kill('SIGTERM')).code).toBe(0);
}, 60_000);

test('status shows shards and balance, and --json the same for programs', async () => {
  await redis.mset(Object.fromEntries(Array.from({ length: 1_000 }, (_, i) => [`k${i}`, `${i}`])));
  const shown = await keyfleet(['status', ...url()]);
  expect(shown.code).toBe(0);
  expect(shown.stdout).toContain('durability os: ');
  expect(shown.stdout).toContain('keyspace default: 1,000 keys');
  expect(shown.stdout).toMatch(/8 shards; fullest shard 1\.\d\d x the average in keys/);
  expect([...shown.stdout.matchAll(/^ {2}\d+ +\[[0-9a-f]{8}, ([0-9a-f]{8}|end)\) +[\d,]+ .*#$/gm)]).toHaveLength(8);
  const json = JSON.parse((await keyfleet(['status', '--json', ...url()])).stdout) as {
    keyspaces: { keyCount: number; shards: { keyCount: number }[] }[];
  };
  expect(json.keyspaces[0]!.keyCount).toBe(1_000);
  expect(json.keyspaces[0]!.shards.reduce((sum, { keyCount }) => sum + keyCount, 0)).toBe(1_000);
});
