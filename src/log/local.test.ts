import { describe, expect, test } from 'vitest';
import { type Bytes, utf8 } from '../base/bytes.ts';
import { KeyfleetError } from '../base/errors.ts';
import { murmur3Position } from '../partition/hash/murmur3-x86-128.ts';
import { type PlainAnswer, type PlainReply, plain, plainBytes } from '../shard/plain-bytes.ts';
import type { ReplySink } from '../shard/reply-sink.ts';
import { ShardMachine } from '../shard/shard-machine.ts';
import { newShardState } from '../shard/shard-state.ts';
import { MemoryStorage } from '../storage/memory.ts';
import { LocalLog } from './local.ts';

/** Writes down what it hears, in words. */
class Listener implements ReplySink<PlainReply | PlainAnswer> {
  readonly heard: string[] = [];

  settled(token: number, reply: PlainReply | PlainAnswer): void {
    this.heard.push('done' in reply ? `${token} ${reply.done ? 'done' : 'refused'}` : `${token} ${reply.present ? 'there' : 'absent'}`);
  }

  failed(token: number, error: Error): void {
    this.heard.push(`${token} ${error instanceof KeyfleetError ? error.code : error.message}`);
  }

  take(): string[] {
    return this.heard.splice(0);
  }
}

/** A log over a storage that becomes durable, and a turn of the event loop that ends, when the test says so. */
function setUp(shardCount = 1) {
  const storage = new MemoryStorage({ holdDurability: true });
  const turns: (() => void)[] = [];
  let nowMs = 1_000;
  const log = new LocalLog({ storage, now: () => nowMs, atTurnEnd: (callback) => turns.push(callback) });
  const shards = Array.from({ length: shardCount }, (_, index) => ({
    machine: new ShardMachine({
      storage,
      module: plainBytes,
      positionOf: murmur3Position,
      state: newShardState({ id: index + 1, range: { from: 0, to: 0x1_0000_0000 }, table: 4 + 2 * index, leader: 'n1' }),
      maxValueBytes: 1_000,
    }),
    lastWrite: 0,
  }));
  const listener = new Listener();
  const key = (name: string): [Bytes, number] => [utf8(name), murmur3Position(name)];
  return {
    storage,
    log,
    shards,
    listener,
    endTurn: () => {
      for (const callback of turns.splice(0)) callback();
    },
    later: (ms: number) => {
      nowMs += ms;
    },
    set: (name: string, token: number, shard = 0, value = 'v') =>
      log.submit(shards[shard]!, ...key(name), plain.set(utf8(value)), listener, token),
    remove: (name: string, token: number) => log.submit(shards[0]!, ...key(name), plain.delete(), listener, token),
    get: (name: string, token: number, shard = 0) => log.ask(shards[shard]!, ...key(name), plain.get(), listener, token),
  };
}

describe('the local log', () => {
  test('says when what a look at many keys has seen is durable, whoever wrote it', async () => {
    const { storage, log, shards, set, endTurn } = setUp(2);
    expect(log.whenDurable(shards)).toBe(undefined);
    set('a', 1, 1);
    let shown = 0;
    const wait = (): void => void log.whenDurable(shards)!.then(() => shown++);
    // In the open batch, in the closed one, and after it is on disk.
    wait();
    endTurn();
    wait();
    await new Promise((resolve) => setImmediate(resolve));
    expect(shown).toBe(0);
    storage.release();
    await new Promise((resolve) => setImmediate(resolve));
    expect([shown, log.whenDurable(shards)]).toEqual([2, undefined]);
  });

  test('answers a command when its batch is durable, and not before', () => {
    const { storage, listener, set, endTurn } = setUp();
    set('a', 1);
    set('b', 2);
    expect(storage.committed).toBe(0);
    endTurn();
    expect([storage.committed, listener.take()]).toEqual([1, []]);
    storage.release();
    expect(listener.take()).toEqual(['1 done', '2 done']);
  });

  test('gives all that arrives during a sync, and in the turn in which it ends, to the next batch', () => {
    const { storage, listener, set, endTurn } = setUp();
    set('a', 1);
    endTurn();
    set('b', 2);
    endTurn();
    set('c', 3);
    expect(storage.committed).toBe(1);
    storage.release();
    expect(listener.take()).toEqual(['1 done']);
    set('d', 4);
    expect(storage.committed).toBe(1);
    endTurn();
    expect([storage.committed, storage.durable]).toEqual([2, 1]);
    storage.release();
    expect(listener.take()).toEqual(['2 done', '3 done', '4 done']);
  });

  test('answers a query at once when what it saw is durable, else when it is', () => {
    const { storage, listener, set, get, endTurn } = setUp(2);
    get('a', 1);
    expect(listener.take()).toEqual(['1 absent']);
    set('a', 2);
    get('a', 3);
    get('b', 4, 1);
    expect(listener.take()).toEqual(['4 absent']);
    endTurn();
    get('a', 5);
    expect(listener.take()).toEqual([]);
    storage.release();
    expect(listener.take()).toEqual(['2 done', '3 there', '5 there']);
    get('a', 6);
    expect(listener.take()).toEqual(['6 there']);
  });

  test('answers a query that saw an earlier batch when that one is durable, even though later ones are not', () => {
    const { storage, listener, set, get, endTurn } = setUp(2);
    set('a', 1);
    endTurn();
    set('b', 2, 1);
    get('a', 3);
    storage.release();
    expect(listener.take()).toEqual(['1 done', '3 there']);
    endTurn();
    expect([storage.committed, storage.durable]).toEqual([2, 1]);
  });

  test('writes nothing for a command that changes nothing, and answers it like a query', () => {
    const { storage, listener, set, remove, endTurn } = setUp();
    remove('a', 1);
    expect(listener.take()).toEqual(['1 refused']);
    endTurn();
    expect(storage.committed).toBe(0);
    set('a', 2);
    remove('b', 3);
    expect(listener.take()).toEqual([]);
    endTurn();
    storage.release();
    expect(listener.take()).toEqual(['2 done', '3 refused']);
  });

  test('opens each entry at the time of its batch', () => {
    const { storage, shards, remove, set, endTurn, later } = setUp();
    remove('a', 1);
    later(500);
    endTurn();
    set('a', 2);
    endTurn();
    storage.release();
    expect(shards[0]!.machine.state).toMatchObject({ nowMs: 1_500, applied: 1 });
  });

  test('refuses a command on a full disk, answers queries, and takes commands again when there is room', () => {
    const { storage, listener, set, get, endTurn } = setUp();
    set('a', 1);
    endTurn();
    storage.release();
    listener.take();
    storage.refuse(new KeyfleetError('KF_DISK_FULL', 'full'));
    set('b', 2);
    get('a', 3);
    expect(listener.take()).toEqual(['2 KF_DISK_FULL', '3 there']);
    endTurn();
    storage.refuse(undefined);
    set('b', 4);
    endTurn();
    storage.release();
    expect(listener.take()).toEqual(['4 done']);
  });

  test('undoes a batch whose entries no longer fit: counts, numbers and records are as before, and everyone hears why', () => {
    const { storage, listener, shards, set, get, endTurn } = setUp(2);
    set('a', 1);
    endTurn();
    storage.release();
    listener.take();
    const before = shards.map(({ machine }) => ({ ...machine.state }));
    set('b', 2);
    set('b', 3, 1);
    get('b', 4);
    storage.refuse(new KeyfleetError('KF_DISK_FULL', 'full'));
    endTurn();
    expect(listener.take()).toEqual(['2 KF_DISK_FULL', '3 KF_DISK_FULL', '4 KF_DISK_FULL']);
    expect(shards.map(({ machine }) => machine.state)).toEqual(before);
    get('b', 5);
    expect(listener.take()).toEqual(['5 absent']);
    storage.refuse(undefined);
    set('b', 6);
    endTurn();
    storage.release();
    expect(listener.take()).toEqual(['6 done']);
    expect(storage.committed).toBe(2);
  });

  test('says of unconfirmed writes that their outcome is unknown when the storage fails, and of open ones that they failed', () => {
    const { storage, listener, set, get, endTurn } = setUp(2);
    set('durable', 1, 1);
    endTurn();
    storage.release();
    set('committed', 2);
    endTurn();
    set('open', 3);
    get('committed', 4);
    listener.take();
    storage.fail(new Error('the disk is gone'));
    expect(listener.take().sort()).toEqual(['2 KF_OUTCOME_UNKNOWN', '3 KF_STORAGE_FAILED', '4 KF_STORAGE_FAILED']);
    set('later', 5);
    get('committed', 6);
    get('durable', 7, 1);
    expect(listener.take()).toEqual(['5 KF_STORAGE_FAILED', '6 KF_STORAGE_FAILED', '7 there']);
  });

  test('goes on telling answers when one of the listeners throws', () => {
    const { storage, log, shards, listener, set, endTurn } = setUp();
    const broken: ReplySink<PlainReply> = {
      settled: () => {
        throw new Error('a door fell');
      },
      failed: () => {},
    };
    log.submit(shards[0]!, utf8('a'), murmur3Position('a'), plain.set(utf8('v')), broken, 1);
    set('b', 2);
    endTurn();
    expect(() => storage.release()).toThrow('a door fell');
    expect(listener.take()).toEqual(['2 done']);
  });

  test('makes everything durable when it closes, and takes nothing more: KF_CLOSED', async () => {
    const { storage, log, listener, set, get, endTurn } = setUp();
    set('a', 1);
    const closed = log.close();
    endTurn();
    storage.release();
    await closed;
    expect(listener.take()).toEqual(['1 done']);
    set('b', 2);
    get('a', 3);
    expect(listener.take()).toEqual(['2 KF_CLOSED', '3 KF_CLOSED']);
  });

  test('abandons the whole open batch when work that must be whole fails', () => {
    const { storage, log, listener, shards, set, endTurn } = setUp();
    set('a', 1);
    expect(() =>
      log.atomically((batch) => {
        batch.put(utf8('x'), utf8('y'));
        log.inEntry(shards[0]!, (machine) => machine.clear(8));
        throw new KeyfleetError('KF_DISK_FULL', 'full');
      }),
    ).toThrow('full');
    endTurn();
    expect([listener.take(), storage.committed, shards[0]!.machine.state.table]).toEqual([['1 KF_DISK_FULL'], 0, 4]);
    expect(storage.get(utf8('x'))).toBe(undefined);
  });

  test('flush waits for what is open, and for nothing when all is durable', async () => {
    const { storage, log, remove, set, endTurn } = setUp();
    await log.flush();
    remove('a', 1);
    const nothing = log.flush();
    endTurn();
    await nothing;
    set('a', 2);
    const something = log.flush();
    let resolved = false;
    something.then(() => {
      resolved = true;
    });
    endTurn();
    await Promise.resolve();
    expect(resolved).toBe(false);
    storage.release();
    await something;
  });
});
