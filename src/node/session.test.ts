import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { cutAfter, MemoryFiles } from '../../test/storage/memory-files.ts';
import { KeyfleetError } from '../base/errors.ts';
import { Prng } from '../base/prng.ts';
import { counter, counterModule } from '../shard/counter.ts';
import { sessionRange } from '../shard/key-layout.ts';
import type { RequestId } from '../shard/request-id.ts';
import { openStorage } from '../storage/lmdb.ts';
import { MemoryStorage } from '../storage/memory.ts';
import { openStore } from './open-store.ts';
import { StoreNode } from './store-node.ts';

const keyspaces = { visits: { module: counterModule, shards: 4 } } as const;
const ALL = { from: 0, to: 0x1_0000_0000 };

describe('a session', () => {
  test('runs a request once, however often it is sent, in this process and the next', async () => {
    const storage = new MemoryStorage();
    const store = await openStore({ storage, keyspaces });
    const session = store.session({ clientId: 'worker 1' });
    const request = session.request();
    const visits = store.keyspace('visits');
    expect(await visits.command('home', counter.add(), { request })).toBe(1);
    expect(await visits.command('home', counter.add(), { request })).toBe(1);
    expect(await session.command(visits, 'home', counter.add())).toBe(2);
    expect(await visits.command('home', counter.add(), { request })).toBe(1);
    await store.close();

    const again = await openStore({ storage: storage.crash(), keyspaces });
    await using _ = again;
    const kept = JSON.parse(JSON.stringify({ ...request, clientId: 'worker 1' })) as RequestId;
    expect(await again.keyspace('visits').command('home', counter.add(), { request: { ...kept, clientId: session.clientId } })).toBe(1);
    expect(await again.query('visits', 'home', null)).toBe(2);
    const next = again.session({ clientId: 'worker 1', nextSeq: session.nextSeq });
    expect(await next.command(again.keyspace('visits'), 'home', counter.add())).toBe(3);
  });

  test('keeps results only until they were heard', async () => {
    const storage = new MemoryStorage();
    const store = await openStore({ storage, keyspaces });
    await using _ = store;
    const session = store.session();
    const waiting = session.request();
    for (let i = 0; i < 40; i++) await session.command(store.keyspace('visits'), 'home', counter.add());
    const { id } = store.listKeyspaces()[0]!;
    const pairs = () => [...storage.scan(sessionRange(id, ALL))].length;
    expect(pairs()).toBeGreaterThan(20);
    session.close(waiting);
    await session.command(store.keyspace('visits'), 'home', counter.add());
    expect(pairs()).toBe(1);
  });

  test('retries by itself while the disk is full, and adds once', async () => {
    const storage = new MemoryStorage();
    const store = await openStore({ storage, keyspaces });
    await using _ = store;
    storage.refuse(new KeyfleetError('KF_DISK_FULL', 'full', { retryable: true }));
    const adding = store.session().command(store.keyspace('visits'), 'home', counter.add(), { retries: 1_000, retryIntervalMs: 2 });
    setTimeout(() => storage.refuse(undefined), 20);
    expect(await adding).toBe(1);
  });

  test('has a client id and numbers within their ranges: KF_BAD_REQUEST_ID', async () => {
    const store = await openStore({ storage: new MemoryStorage(), keyspaces });
    await using _ = store;
    for (const options of [{ clientId: '' }, { clientId: 'x'.repeat(256) }, { nextSeq: -1 }, { nextSeq: 1.5 }]) {
      expect(() => store.session(options)).toThrow(expect.objectContaining({ code: 'KF_BAD_REQUEST_ID' }));
    }
  });

  test('is forgotten when it has not been used for so long: KF_SESSION_EXPIRED, and its space is given back', async () => {
    const storage = new MemoryStorage();
    let nowMs = 1_000_000;
    const node = await StoreNode.open({ storage, now: () => nowMs, sessionRetentionMs: 60_000 });
    const visits = await node.registerKeyspace('visits', { module: counterModule, shards: 3 });
    const outcomes: (number | string)[] = [];
    const sink = {
      settled: (_: number, reply: number) => outcomes.push(reply),
      failed: (_: number, error: Error) => outcomes.push((error as KeyfleetError).code),
    };
    const send = async (requestSeq: number, issuedMs: number, client = 'a'): Promise<number | string> => {
      visits.submit(Buffer.from('home'), counter.add(), sink, 0, { clientId: Buffer.from(client), requestSeq, ackedBelow: 0, issuedMs });
      await node.flush();
      return outcomes.pop()!;
    };
    const sweepAll = async (): Promise<void> => {
      for (let i = 0; node.sweep(); i++) expect(i).toBeLessThan(1_000);
      await node.flush();
    };
    const sentMs = nowMs;
    for (let seq = 0; seq < 800; seq++) await send(seq, nowMs);
    expect(await send(5, sentMs)).toBe(6);
    nowMs += 50_000;
    expect(await send(0, nowMs, 'b')).toBe(801);
    await sweepAll();
    expect(await send(5, sentMs)).toBe(6);
    nowMs += 20_000;
    await sweepAll();
    expect([...storage.scan(sessionRange(visits.id, ALL))]).toHaveLength(1);
    expect(await send(5, sentMs)).toBe('KF_SESSION_EXPIRED');
    expect(await send(900, nowMs)).toBe(802);
    expect(await send(0, nowMs - 20_000, 'b')).toBe(801);
    await node.close();
  });
});

test('a session goes with its keys through splits, merges, clearing and restarts', async () => {
  let storage = new MemoryStorage();
  let store = await openStore({ storage, keyspaces });
  const session = store.session({ clientId: 'c' });
  const sent = Array.from({ length: 120 }, (_, i) => ({ key: `page ${i % 40}`, request: session.request() }));
  const resend = async (): Promise<number[]> => {
    const replies: number[] = [];
    for (const { key, request } of sent) replies.push(await store.command('visits', key, counter.add(), { request }));
    return replies;
  };
  const first = await resend();
  expect(first.slice(-40)).toEqual(new Array(40).fill(3));
  const shardIds = () => store.shards('visits').map(({ id }) => id);
  for (const id of shardIds()) await store.node.workflows('visits').split(id);
  await store.node.lookAtShards();
  expect(shardIds()).toHaveLength(8);
  expect(await resend()).toEqual(first);
  await store.close();
  storage = storage.crash();
  store = await openStore({ storage, keyspaces });
  await store.setPolicy('visits', { minShards: 1 });
  for (let i = 0; i < 4; i++) await store.node.workflows('visits').merge(shardIds()[i]!);
  await store.node.lookAtShards();
  expect(shardIds()).toHaveLength(4);
  expect(await resend()).toEqual(first);
  expect(await store.query('visits', 'page 1', null)).toBe(3);
  await store.keyspace('visits').clear();
  expect(await resend()).toEqual(first);
  expect(store.keyspace('visits').keyCount).toBe(0);
  await store.close();
});

describe('on a real disk', () => {
  let dir: string;
  beforeEach(() => {
    dir = mkdtempSync(join(tmpdir(), 'keyfleet-session-'));
  });
  afterEach(() => rmSync(dir, { recursive: true, force: true }));

  test('a request that is sent again after its journal was cut anywhere has been run exactly once', { timeout: 60_000 }, async () => {
    const SENT = 12;
    const send = async (files: MemoryFiles, where: string): Promise<number[]> => {
      const storage = await openStorage({ dir: join(dir, where), files, segmentBytes: 16 * 1024 });
      const store = await openStore({ storage, keyspaces: { visits: { module: counterModule, shards: 1 } } });
      const session = store.session({ clientId: 'c' });
      const replies: number[] = [];
      for (let i = 0; i < SENT; i++) {
        const request = session.request();
        replies.push(await store.keyspace('visits').command(`page ${i % 3}`, counter.add(), { request }));
      }
      await store.close();
      return replies;
    };
    const whole = new MemoryFiles();
    const expected = await send(whole, 'first');
    expect(expected).toEqual([1, 1, 1, 2, 2, 2, 3, 3, 3, 4, 4, 4]);
    const writes = whole.operations.flatMap((operation, at) => (operation.kind === 'write' ? [{ operation, at }] : []));
    const chance = new Prng(5);
    for (let round = 0; round < 25; round++) {
      const { operation, at } = chance.pick(writes.slice(2));
      const kept = cutAfter(whole.operations, at, chance.below(operation.bytes.length + 1));
      const moved = new Map([...kept].map(([path, bytes]) => [path.replace(join(dir, 'first'), join(dir, `${round}`)), bytes] as const));
      expect(await send(new MemoryFiles(moved), `${round}`)).toEqual(expected);
    }
  });
});
