import { appendFileSync, mkdtempSync, readdirSync, readFileSync, rmSync, truncateSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { fromUtf8, utf8 } from '../src/base/bytes.ts';
import { KeyfleetError } from '../src/base/errors.ts';
import { statusText } from '../src/cli/cluster/status.ts';
import { NodeHttpStore } from '../src/http/node-store.ts';
import { statusReport } from '../src/http/status.ts';
import { readManifest } from '../src/node/backup/backup-folder.ts';
import { type BackupSource, StoreBackupSource } from '../src/node/backup/backup-source.ts';
import { type BackupTarget, StoreBackupTarget } from '../src/node/backup/backup-target.ts';
import { type RestoreProgress, restoreBackup } from '../src/node/backup/restore-backup.ts';
import { takeBackup } from '../src/node/backup/take-backup.ts';
import { verifyBackup } from '../src/node/backup/verify-backup.ts';
import { openStore } from '../src/node/open-store.ts';
import { counter, counterModule } from '../src/shard/counter.ts';
import { plain, plainBytes } from '../src/shard/plain-bytes.ts';
import { createRedisModule } from '../src/shard/redis/redis-module.ts';
import { recountSlots } from '../src/shard/slot-recount.ts';
import { MemoryStorage } from '../src/storage/memory.ts';

// A store is written to a folder while it runs, and comes back from it as it was, into any other store.

const redis = createRedisModule();
const KEYSPACES = {
  default: { module: redis, scheme: 'redis', shards: 3 },
  visits: { module: counterModule, shards: 4 },
  texts: { module: plainBytes, shards: 2 },
} as const;
const open = (shards?: number) =>
  openStore({
    storage: new MemoryStorage(),
    keyspaces:
      shards === undefined ? KEYSPACES : Object.fromEntries(Object.entries(KEYSPACES).map(([name, one]) => [name, { ...one, shards }])),
  }) as ReturnType<typeof openAs>;
const openAs = () => openStore({ storage: new MemoryStorage(), keyspaces: KEYSPACES });
type Filled = Awaited<ReturnType<typeof openAs>>;

let dir: string;
let stores: Filled[];
beforeEach(() => {
  dir = mkdtempSync(join(tmpdir(), 'keyfleet-backup-'));
  stores = [];
});
afterEach(async () => {
  for (const store of stores) await store.close();
  rmSync(dir, { recursive: true, force: true });
});
const opened = async (shards?: number): Promise<Filled> => {
  const store = await open(shards);
  stores.push(store);
  return store;
};

const args = (...words: readonly string[]) => words.map((word) => Buffer.from(word)) as never;
/** Values of every kind: with cells and without, long keys and cells, with an expiry and without. */
async function fill(store: Filled): Promise<void> {
  const keys = store.keyspace('default');
  const run = (...words: string[]) => keys.command(words[1]!, args(...words));
  for (let i = 0; i < 300; i++) await run('SET', `key ${i}`, `value ${i}`);
  await run('SET', '', 'of the empty key');
  await run('SET', 'k'.repeat(2_000), 'v'.repeat(300_000));
  await run('SET', 'passing', 'soon gone', 'PX', '3600000');
  for (let i = 0; i < 40; i++) await run('HSET', 'a hash', ...Array.from({ length: 50 }, (_, j) => `field ${i}.${j}`));
  await run('HSET', 'long fields', 'f'.repeat(700), '1', 'f'.repeat(701), '2');
  await run('RPUSH', 'h'.repeat(900), ...Array.from({ length: 500 }, (_, i) => `item ${i}`));
  await run('ZADD', 'scores', '1', 'a', '2.5', 'b');
  // Its cells are garbage, which is in no backup.
  await run('HSET', 'gone', ...Array.from({ length: 200 }, (_, i) => `${i}`));
  await run('DEL', 'gone');
  for (let i = 0; i < 50; i++) await store.command('visits', `page ${i}`, counter.add(i + 1));
}

/** All that a store shows, whatever its shards: key, expiry, size, and what it answers. */
async function contents(store: Filled): Promise<string[]> {
  const lines: string[] = [];
  for (const name of ['default', 'visits', 'texts'] as const) {
    for await (const { key, expireAtMs, sizeBytes, value } of store.keyspace(name)) {
      lines.push(JSON.stringify([name, fromUtf8(key), expireAtMs, sizeBytes, value instanceof Uint8Array ? fromUtf8(value) : value]));
    }
  }
  const keys = store.keyspace('default');
  const ask = async (...words: string[]) => JSON.stringify(await keys.query(words[1]!, args(...words)));
  lines.push(await ask('HGETALL', 'a hash'), await ask('HGETALL', 'long fields'));
  lines.push(await ask('LRANGE', 'h'.repeat(900), '0', '-1'), await ask('ZRANGE', 'scores', '0', '-1', 'WITHSCORES'));
  return lines.sort();
}

/** The counts that are kept are those of the records that there are. */
function checkCounts(store: Filled): void {
  for (const keyspace of store.node.keyspaces()) {
    for (const { machine } of keyspace.shards) {
      const counted = recountSlots(store.node.storage, { ...machine.state, shift: keyspace.scheme.slotShift });
      expect(counted.sum()).toEqual(machine.counts.sum());
      const { keyCount: keys, sizeBytes: bytes, expiringCount: expiring } = machine.state;
      expect(counted.sum()).toEqual({ keys, bytes, expiring });
    }
  }
}

describe('a backup', () => {
  test('comes back whole: values of every module, expiries, counts; into another number of shards', async () => {
    const store = await opened();
    await fill(store);
    const manifest = await store.backup(dir, { concurrency: 3 });
    expect(manifest.keyspaces.map(({ name, records }) => [name, records])).toEqual([
      ['default', 307],
      ['texts', 0],
      ['visits', 50],
    ]);
    expect((await verifyBackup(dir)).manifest).toEqual(manifest);
    const other = await opened(11);
    const restored = await other.restore(dir);
    expect(restored.map(({ name, keyCount, goesOn }) => [name, keyCount, goesOn])).toEqual([
      ['default', 307, false],
      ['texts', 0, false],
      ['visits', 50, false],
    ]);
    expect(await contents(other)).toEqual(await contents(store));
    checkCounts(other);
    // It is served as ever: written, split, emptied.
    await other.keyspace('default').command('a hash', args('HSET', 'a hash', 'field 0.0', 'new'));
    expect(await other.command('visits', 'page 7', counter.add())).toBe(9);
    const [first] = other.shards('visits');
    await other.workflows('visits').split(first!.id);
    expect(await other.query('visits', 'page 7', counter.get())).toBe(9);
    checkCounts(other);
    // And it survives being backed up once more.
    rmSync(dir, { recursive: true });
    await other.backup(dir);
    const third = await opened(1);
    await third.restore(dir);
    expect(await contents(third)).toEqual(await contents(other));
  });

  test('knows what requests came to: one that is sent again after the restore is done once', async () => {
    const store = await opened();
    const session = store.session();
    const [first, long] = [session.request(), session.request()];
    expect(await store.command('visits', 'once', counter.add(5), { request: first })).toBe(5);
    const value = utf8('v'.repeat(500));
    await store.command('texts', 'k', plain.set(value), { request: long });
    const firstAnswer = await store.command('texts', 'k', plain.set(value), { request: long });
    await store.backup(dir);
    const other = await opened(16);
    await other.restore(dir);
    expect(await other.command('visits', 'once', counter.add(5), { request: first })).toBe(5);
    expect(await other.query('visits', 'once', counter.get())).toBe(5);
    expect(await other.command('texts', 'k', plain.set(value), { request: long })).toEqual(firstAnswer);
  });

  test('has each key once, and all that was answered before, though shards are split and merged under it all along', async () => {
    const store = await opened();
    for (let i = 0; i < 2_000; i++) void store.command('visits', `page ${i}`, counter.add());
    await store.command('visits', 'last', counter.add());
    let stop = false;
    const busy = (async () => {
      for (let i = 0; !stop; i++) await store.command('visits', `page ${i % 2_000}`, counter.add());
    })();
    const inner = new StoreBackupSource(store.node);
    let parts = 0;
    // Between any two parts, each shard is cut or joined to its neighbour: what the backup believed of the shards is wrong each time.
    const source: BackupSource = {
      origin: () => inner.origin(),
      part: async (keyspace, from, to) => {
        const workflows = store.workflows('visits');
        const shards = store.shards('visits');
        if (parts++ < 8) {
          for (const [index, { id }] of shards.entries()) {
            if (parts % 3 !== 0) await workflows.split(id);
            else if (index % 2 === 0 && index + 1 < shards.length) await workflows.merge(id);
          }
        }
        return inner.part(keyspace, from, to);
      },
    };
    let moved = 0;
    await takeBackup(dir, source, { keyspaces: ['visits'], concurrency: 1, onProgress: (told) => (moved = told.moved) });
    stop = true;
    await busy;
    expect(moved).toBeGreaterThan(0);
    const { manifest } = await verifyBackup(dir);
    expect(manifest.keyspaces[0]!.records).toBe(2_001);
    const other = await opened();
    await other.restore(dir);
    const counts = new Map<string, number>();
    for await (const { key, value } of other.keyspace('visits')) counts.set(fromUtf8(key), value as number);
    expect(counts.size).toBe(2_001);
    for (const [key, count] of counts) {
      expect(count).toBeGreaterThanOrEqual(1);
      expect(count).toBeLessThanOrEqual((await store.query('visits', key, counter.get()))!);
    }
  }, 30_000);

  test('that was interrupted is known as such, and the same call goes on with it', async () => {
    const store = await opened();
    await fill(store);
    const inner = new StoreBackupSource(store.node);
    const asked: string[] = [];
    const failing = (after: number): BackupSource => ({
      origin: () => inner.origin(),
      part: (keyspace, from, to) => {
        if (asked.length === after) throw new KeyfleetError('KF_DISK_FULL', 'as asked');
        asked.push(`${keyspace} ${from}`);
        return inner.part(keyspace, from, to);
      },
    });
    await expect(takeBackup(dir, failing(4), { concurrency: 1 })).rejects.toMatchObject({ code: 'KF_DISK_FULL' });
    await expect(readManifest(dir)).rejects.toMatchObject({ code: 'KF_BACKUP_UNFINISHED' });
    // Its process was killed in the middle of a line, and of a part.
    appendFileSync(join(dir, 'parts.jsonl'), '{"keyspace":"vi');
    writeFileSync(join(dir, 'visits.000000000-040000000.kfb.part'), 'half');
    await expect(takeBackup(dir, inner, { keyspaces: ['visits'] })).rejects.toMatchObject({ code: 'KF_BACKUP_EXISTS' });
    await takeBackup(dir, failing(Number.POSITIVE_INFINITY));
    expect(new Set(asked).size).toBe(asked.length);
    expect(asked).toHaveLength(9);
    expect(readdirSync(dir).filter((name) => !name.endsWith('.kfb'))).toEqual(['backup.json']);
    const other = await opened();
    await other.restore(dir);
    expect(await contents(other)).toEqual(await contents(store));
    await expect(store.backup(dir)).rejects.toMatchObject({ code: 'KF_BACKUP_EXISTS' });
  });

  test('asks again for a part that is cut short, and gives up after a while', async () => {
    const store = await opened();
    await fill(store);
    const inner = new StoreBackupSource(store.node);
    let cuts = 3;
    const source: BackupSource = {
      origin: () => inner.origin(),
      part: async (keyspace, from, to) => {
        const whole = await inner.part(keyspace, from, to);
        return (async function* () {
          for await (const chunk of whole) {
            if (cuts > 0) {
              cuts--;
              yield chunk.subarray(0, chunk.length / 2);
              return;
            }
            yield chunk;
          }
        })();
      },
    };
    let last = { records: 0, retries: 0 };
    await takeBackup(dir, source, { onProgress: (told) => (last = told) });
    expect(last).toMatchObject({ records: 357, retries: 3 });
    cuts = Number.POSITIVE_INFINITY;
    await expect(takeBackup(join(dir, 'second'), source, { retryForMs: 300 })).rejects.toMatchObject({ code: 'KF_BACKUP_CUT_SHORT' });
  });

  test('that is damaged is found out before anything is written', async () => {
    const store = await opened();
    await fill(store);
    const manifest = await store.backup(dir);
    const part = manifest.keyspaces[0]!.parts[1]!;
    const path = join(dir, part.file);
    const whole = readFileSync(path);
    const other = await opened();
    const refused = async (what: RegExp, code = 'KF_BACKUP_DAMAGED'): Promise<void> => {
      await expect(other.restore(dir)).rejects.toMatchObject({ code, message: expect.stringMatching(what) });
      expect(other.shards('default').every(({ status }) => status === 'serving')).toBe(true);
    };
    for (const at of [0, 20, whole.length >> 1, whole.length - 5]) {
      const bytes = Buffer.from(whole);
      bytes[at]! ^= 1;
      writeFileSync(path, bytes);
      await refused(new RegExp(part.file));
    }
    writeFileSync(path, whole);
    truncateSync(path, whole.length - 200);
    await refused(/were written/);
    rmSync(path);
    await refused(/cannot be read/);
    writeFileSync(path, whole);
    const json = JSON.parse(readFileSync(join(dir, 'backup.json'), 'utf8'));
    writeFileSync(join(dir, 'backup.json'), JSON.stringify({ ...json, format: 2 }));
    await refused(/format 2/, 'KF_FORMAT_TOO_NEW');
    json.keyspaces[0].parts.splice(1, 1);
    writeFileSync(join(dir, 'backup.json'), JSON.stringify(json));
    await refused(/begins at/);
    rmSync(join(dir, 'backup.json'));
    await refused(/holds no backup/, 'KF_NO_BACKUP');
  });
});

describe('a restore', () => {
  test('is refused by a keyspace that has keys, or another module; given another name, it makes a keyspace', async () => {
    const store = await opened();
    await fill(store);
    await store.backup(dir);
    await expect(store.restore(dir)).rejects.toMatchObject({ code: 'KF_KEYSPACE_NOT_EMPTY' });
    expect(store.shards('visits').every(({ status }) => status === 'serving')).toBe(true);
    await expect(store.restore(dir, { keyspaces: ['visits'], as: 'texts' })).rejects.toMatchObject({ code: 'KF_KEYSPACE_MISMATCH' });
    await expect(store.restore(dir, { as: 'copy' })).rejects.toMatchObject({ code: 'KF_BAD_OPTION' });
    await expect(store.restore(dir, { keyspaces: ['none'] })).rejects.toMatchObject({ code: 'KF_NO_KEYSPACE' });
    const stranger = await openStore({ storage: new MemoryStorage() });
    await expect(stranger.restore(dir)).rejects.toMatchObject({ code: 'KF_MODULE_MISSING' });
    await stranger.close();
    expect(await store.restore(dir, { keyspaces: ['visits'], as: 'copy', shards: 2 })).toMatchObject([
      { name: 'copy', from: 'visits', keyCount: 50 },
    ]);
    expect(store.listKeyspaces().find(({ name }) => name === 'copy')).toMatchObject({ shardCount: 2, module: 'counter' });
    checkCounts(store);
  });

  test('that dies on the way leaves a keyspace that answers nobody; the same one goes on, another is refused, clearing gives it up', async () => {
    const store = await opened();
    await fill(store);
    await store.backup(join(dir, 'one'));
    await store.command('visits', 'later', counter.add());
    await store.backup(join(dir, 'two'));
    const other = await opened(5);
    const inner = new StoreBackupTarget(other.node);
    let puts = 0;
    const target: BackupTarget = {
      check: (...check) => inner.check(...check),
      begin: (...begin) => inner.begin(...begin),
      put: async (...put) => {
        await inner.put(...put);
        if (++puts === 2) throw new KeyfleetError('KF_DISK_FULL', 'as asked');
      },
      end: (...end) => inner.end(...end),
    };
    const one = join(dir, 'one');
    const visits = { keyspaces: ['visits'], concurrency: 1 };
    await expect(restoreBackup(one, target, visits)).rejects.toMatchObject({ code: 'KF_DISK_FULL' });
    expect(other.shards('visits').map(({ status }) => status)).toEqual(Array(5).fill('loading'));
    const told = statusText(statusReport(new NodeHttpStore(other.node), { version: '', uptimeMs: 0, doors: {} }), '').split('\n');
    expect(told[told.findIndex((line) => line.startsWith('keyspace visits')) + 1]).toMatch(/^IT ANSWERS NOBODY/);
    expect(told.filter((line) => line.includes('ANSWERS NOBODY'))).toHaveLength(1);
    await expect(other.command('visits', 'page 1', counter.add())).rejects.toMatchObject({ code: 'KF_KEYSPACE_LOADING' });
    await expect(other.query('visits', 'page 1', counter.get())).rejects.toMatchObject({ code: 'KF_KEYSPACE_LOADING' });
    await expect(other.backup(join(dir, 'half'), { keyspaces: ['visits'], retryForMs: 0 })).rejects.toMatchObject({
      code: 'KF_KEYSPACE_LOADING',
    });
    await expect(other.restore(join(dir, 'two'), visits)).rejects.toMatchObject({ code: 'KF_RESTORE_RUNNING' });
    expect(await other.restore(one, visits)).toMatchObject([{ keyCount: 50, goesOn: true }]);
    expect(await other.query('visits', 'page 7', counter.get())).toBe(8);
    checkCounts(other);
    // Given up, and another one taken instead.
    await other.keyspace('visits').clear();
    puts = 0;
    await expect(restoreBackup(one, target, visits)).rejects.toMatchObject({ code: 'KF_DISK_FULL' });
    expect(await other.restore(join(dir, 'two'), { ...visits, restart: true })).toMatchObject([{ keyCount: 51, goesOn: false }]);
    puts = 0;
    await other.keyspace('visits').clear();
    await expect(restoreBackup(one, target, visits)).rejects.toMatchObject({ code: 'KF_DISK_FULL' });
    await other.keyspace('visits').clear();
    expect(await other.command('visits', 'page 1', counter.add())).toBe(1);
    checkCounts(other);
  });

  test('that dies in its second keyspace goes on there; what it refuses, it refuses before it has read the backup', async () => {
    const store = await opened();
    await fill(store);
    await store.backup(dir);
    const other = await opened();
    const inner = new StoreBackupTarget(other.node);
    const target: BackupTarget = {
      check: (...check) => inner.check(...check),
      begin: (...begin) => inner.begin(...begin),
      put: async (...put) => {
        if (put[0] === 'visits') throw new KeyfleetError('KF_DISK_FULL', 'as asked');
        await inner.put(...put);
      },
      end: (...end) => inner.end(...end),
    };
    await expect(restoreBackup(dir, target)).rejects.toMatchObject({ code: 'KF_DISK_FULL' });
    const key1 = (of: Filled) => of.keyspace('default').query('key 1', args('GET', 'key 1'));
    await other.keyspace('default').command('key 1', args('SET', 'key 1', 'later'));
    const later = await key1(other);
    expect(later).not.toEqual(await key1(store));
    expect(await other.restore(dir)).toMatchObject([{ name: 'texts' }, { name: 'visits', keyCount: 50, goesOn: true }]);
    expect(await key1(other)).toEqual(later);
    rmSync(join(dir, (await readManifest(dir)).keyspaces[0]!.parts[0]!.file));
    await expect(other.restore(dir)).rejects.toMatchObject({ code: 'KF_KEYSPACE_NOT_EMPTY' });
    await expect(other.restore(dir, { keyspaces: ['visits'], as: 'texts' })).rejects.toMatchObject({ code: 'KF_KEYSPACE_MISMATCH' });
    await other.keyspace('default').clear();
    await expect(other.restore(dir)).rejects.toMatchObject({ code: 'KF_BACKUP_DAMAGED' });
  });

  test('puts several blocks at a time, up to 4 MiB, and none is under way any more when it has failed', async () => {
    const store = await opened(1);
    for (let i = 0; i < 32; i++) void store.command('texts', `text ${i}`, plain.set(new Uint8Array(250_000).fill(i)));
    await store.command('texts', 'last', plain.set(utf8('one')));
    await store.backup(dir, { keyspaces: ['texts'] });
    const other = await opened(1);
    const inner = new StoreBackupTarget(other.node);
    let [bytes, count, mostBytes, mostCount, failing] = [0, 0, 0, 0, true];
    const target: BackupTarget = {
      check: (...check) => inner.check(...check),
      begin: (...begin) => inner.begin(...begin),
      put: async (...put) => {
        mostBytes = Math.max(mostBytes, (bytes += put[2].length));
        mostCount = Math.max(mostCount, ++count);
        // Long enough for the next block to be read, where there is room for it.
        for (let i = 0; i < 50 && mostCount < 3; i++) await new Promise((resolve) => setTimeout(resolve, 5));
        if (!failing) await inner.put(...put);
        bytes -= put[2].length;
        count--;
        if (failing && mostCount > 2) throw new KeyfleetError('KF_NOT_LOADING', 'as asked');
      },
      end: (...end) => inner.end(...end),
    };
    await expect(restoreBackup(dir, target)).rejects.toMatchObject({ code: 'KF_NOT_LOADING' });
    expect(count).toBe(0);
    failing = false;
    let told = { bytes: 0, expectedBytes: 1 };
    const onProgress = (progress: RestoreProgress): void => {
      told = { ...progress };
    };
    expect(await restoreBackup(dir, target, { onProgress })).toMatchObject([{ keyCount: 33, goesOn: true }]);
    expect(told.bytes).toBe(told.expectedBytes);
    expect(mostCount).toBeGreaterThan(2);
    expect(mostBytes).toBeLessThanOrEqual(4 * 1024 * 1024);
    expect(await contents(other)).toEqual(await contents(store));
  });

  test('is over when it is over: what comes late or twice changes nothing', async () => {
    const store = await opened();
    await fill(store);
    await store.backup(dir);
    const other = await opened();
    const inner = new StoreBackupTarget(other.node);
    const blocks: Parameters<BackupTarget['put']>[] = [];
    const target: BackupTarget = {
      check: (...check) => inner.check(...check),
      begin: (...begin) => inner.begin(...begin),
      put: async (...put) => {
        blocks.push(put);
        await inner.put(...put);
        await inner.put(...put);
      },
      end: (...end) => inner.end(...end),
    };
    await restoreBackup(dir, target);
    checkCounts(other);
    expect(await contents(other)).toEqual(await contents(store));
    await other.keyspace('default').command('a hash', args('DEL', 'a hash'));
    await other.command('visits', 'page 3', counter.add());
    await other.workflows('visits').split(other.shards('visits')[0]!.id);
    for (const put of blocks) await inner.put(...put);
    expect(await other.query('visits', 'page 3', counter.get())).toBe(5);
    expect(await other.keyspace('default').query('a hash', args('HLEN', 'a hash'))).toEqual(
      await other.keyspace('default').query('none', args('HLEN', 'none')),
    );
    await expect(inner.put('visits', 'another/restore', blocks.at(-1)![2])).rejects.toMatchObject({ code: 'KF_NOT_LOADING' });
    checkCounts(other);
  });
});
