import { describe, expect, test } from 'vitest';
import { toHex, utf8 } from '../base/bytes.ts';
import { murmur3Position } from '../partition/hash/murmur3-x86-128.ts';
import { stateKey } from '../shard/key-layout.ts';
import { plain, plainBytes } from '../shard/plain-bytes.ts';
import { ShardMachine } from '../shard/shard-machine.ts';
import { decodeShardState, newShardState } from '../shard/shard-state.ts';
import { MemoryStorage } from '../storage/memory.ts';
import { GroupCommit } from './group-commit.ts';
import type { NodeClock } from './node-clock.ts';
import { type SnapshotAnswer, SnapshotFetch, type SnapshotRequest, SnapshotSource } from './snapshot-transfer.ts';

const WHOLE = { from: 0, to: 0x1_0000_0000 };
const SHARD = 7;
const SLOT_SHIFT = 16;

/** A clock whose timers ring when the test says so. */
function testClock() {
  let nowMs = 0;
  let timers: { readonly atMs: number; readonly callback: () => void }[] = [];
  const clock: NodeClock = {
    now: () => ({ monoMs: nowMs, wallMs: nowMs }),
    after: (ms, callback) => {
      const timer = { atMs: nowMs + ms, callback };
      timers.push(timer);
      return () => {
        timers = timers.filter((one) => one !== timer);
      };
    },
    atTurnEnd: (callback) => setImmediate(callback),
  };
  const pass = (ms: number): void => {
    nowMs += ms;
    for (const timer of timers.filter(({ atMs }) => atMs <= nowMs)) {
      timers = timers.filter((one) => one !== timer);
      timer.callback();
    }
  };
  return { clock, pass };
}

function machineOn(storage: MemoryStorage, name: string) {
  const stored = storage.get(stateKey(SHARD));
  const state = stored ? decodeShardState(stored) : newShardState({ id: SHARD, range: WHOLE, table: 4, leader: name });
  return new ShardMachine({
    storage,
    module: plainBytes,
    positionOf: murmur3Position,
    state,
    maxValueBytes: 1 << 20,
    slotShift: SLOT_SHIFT,
  });
}

/** Keys with and without an expiry, some of them large, by requests with ids. */
function fill(storage: MemoryStorage, name: string, keys: number, requestsFrom = 0): void {
  const machine = machineOn(storage, name);
  machine.openEntry(1_000);
  for (let i = 0; i < keys; i++) {
    const key = utf8(`${name} key ${i} ${'x'.repeat(i % 50 === 0 ? 900 : 0)}`);
    const request = { clientId: utf8(`client ${i % 5}`), requestSeq: requestsFrom + i, ackedBelow: 0 };
    const value = utf8('v'.repeat(i % 100 === 0 ? 200_000 : 60));
    machine.runOnce(request, key, murmur3Position(key), plain.set(value, i % 3 === 0 ? { ttlMs: 5_000 + i } : {}));
  }
  machine.closeEntry();
  storage.commit();
}

const dump = (storage: MemoryStorage): string[] =>
  [...storage.scan({ from: Uint8Array.of(0) })].map(({ key, value }) => `${toHex(key)} ${toHex(value)}`);

function setUp(change: (answer: SnapshotAnswer, count: number) => readonly SnapshotAnswer[] = (answer) => [answer]) {
  const { clock, pass } = testClock();
  const from = new MemoryStorage();
  const to = new MemoryStorage();
  fill(from, 'giver', 400);
  const source = new SnapshotSource({ storage: from, commits: new GroupCommit(from, clock), clock, keyspaceIdOf: () => 0 });
  const mail: (() => void)[] = [];
  let done = false;
  let answers = 0;
  const requests: SnapshotRequest[] = [];
  let fetch: SnapshotFetch | undefined;
  const begin = (): void => {
    fetch = new SnapshotFetch({
      shard: SHARD,
      keyspaceId: 0,
      storage: to,
      commits: new GroupCommit(to, clock),
      clock,
      peers: () => ['giver'],
      send: (_peer, request) => {
        requests.push(request);
        mail.push(() => {
          const answer = source.answer('taker', request);
          if (answer) for (const one of change(answer, ++answers)) mail.push(() => fetch?.answered('giver', one));
        });
      },
      onDone: () => {
        done = true;
      },
    });
  };
  const run = (rounds: number): void => {
    for (let round = 0; round < rounds && !done; round++) {
      while (mail.length > 0) mail.shift()!();
      pass(1_000);
    }
  };
  return { from, to, begin, run, requests, isDone: () => done };
}

describe('a snapshot', () => {
  test('brings a shard over, with its sessions, its counts and its order of expiry, to the byte, whatever was there', () => {
    const { from, to, begin, run, requests, isDone } = setUp();
    fill(to, 'taker', 300);
    begin();
    run(20);
    expect(isDone()).toBe(true);
    expect(requests.length).toBeGreaterThan(3);
    expect(dump(to)).toEqual(dump(from));
  });

  test('arrives though answers get lost and come twice', () => {
    const { from, to, begin, run, isDone } = setUp((answer, count) =>
      count % 3 === 0 ? [] : count % 3 === 1 ? [answer, answer] : [answer],
    );
    begin();
    run(40);
    expect(isDone()).toBe(true);
    expect(dump(to)).toEqual(dump(from));
  });

  test('is of one moment, whatever is written while it is sent', () => {
    const { from, to, begin, run, isDone } = setUp((answer, count) => {
      if (count === 2) from.put(utf8('\0\0\0\x04later'), utf8('later'));
      if (count === 2) from.commit();
      return [answer];
    });
    const before = dump(from);
    begin();
    run(20);
    expect(isDone()).toBe(true);
    expect(dump(to)).toEqual(before);
  });

  test('is not given while the giver does not know of which keyspace the shard is: its sessions would be missing', () => {
    const { clock } = testClock();
    const storage = new MemoryStorage();
    fill(storage, 'giver', 3);
    let keyspaceId: number | undefined;
    const commits = new GroupCommit(storage, clock);
    const source = new SnapshotSource({ storage, commits, clock, keyspaceIdOf: () => keyspaceId });
    expect(source.answer('taker', { shard: SHARD, transfer: 1, index: 0 })).toBeUndefined();
    keyspaceId = 0;
    expect(source.answer('taker', { shard: SHARD, transfer: 1, index: 0 })).toMatchObject({ shard: SHARD, index: 0 });
  });

  test('of no later entry than its taker has is left alone, and the next peer is asked', () => {
    const { clock, pass } = testClock();
    const stores = { behind: new MemoryStorage(), ahead: new MemoryStorage(), taker: new MemoryStorage() };
    fill(stores.behind, 'behind', 3);
    fill(stores.ahead, 'ahead', 3);
    fill(stores.ahead, 'ahead', 5, 1);
    fill(stores.taker, 'taker', 2);
    const commits = (storage: MemoryStorage) => new GroupCommit(storage, clock);
    const source = (storage: MemoryStorage) => new SnapshotSource({ storage, commits: commits(storage), clock, keyspaceIdOf: () => 0 });
    const sources = { behind: source(stores.behind), ahead: source(stores.ahead) };
    const mail: (() => void)[] = [];
    let isDone = false;
    const fetch: SnapshotFetch = new SnapshotFetch({
      shard: SHARD,
      keyspaceId: 0,
      storage: stores.taker,
      commits: commits(stores.taker),
      clock,
      peers: () => ['behind', 'ahead'],
      beyond: 1,
      send: (peer, request) =>
        mail.push(() => {
          const answer = sources[peer as 'behind' | 'ahead'].answer('taker', request);
          if (answer) fetch.answered(peer, answer);
        }),
      onDone: () => {
        isDone = true;
      },
    });
    for (let round = 0; round < 20 && !isDone; round++) {
      while (mail.length > 0) mail.shift()!();
      pass(1_000);
    }
    expect(isDone).toBe(true);
    expect(dump(stores.taker)).toEqual(dump(stores.ahead));
  });

  test('counts for nothing until it is whole, and begins anew when a chunk was damaged', () => {
    const flip = (chunk: Uint8Array): Uint8Array => chunk.map((byte, at) => (at === chunk.length - 1 ? byte ^ 1 : byte));
    const seen: string[] = [];
    const { from, to, begin, run, isDone } = setUp((answer, count) => {
      const stored = to.get(stateKey(SHARD));
      if (stored) seen.push(decodeShardState(stored).status);
      return [count === 2 && answer.chunk ? { ...answer, chunk: flip(answer.chunk) } : answer];
    });
    fill(to, 'taker', 10);
    begin();
    run(60);
    expect(isDone()).toBe(true);
    expect(dump(to)).toEqual(dump(from));
    expect(seen[0]).toBe('serving');
    expect(new Set(seen.slice(1))).toEqual(new Set(['faulted']));
  });
});
