import { describe, expect, test } from 'vitest';
import { fromUtf8 } from '../base/bytes.ts';
import { KeyfleetError } from '../base/errors.ts';
import { type CounterCommand, counter, counterModule } from '../shard/counter.ts';
import { hookCursorKey, hookOutboxRange } from '../shard/key-layout.ts';
import { MemoryStorage } from '../storage/memory.ts';
import type { CommittedCommand, LeaderHook } from './leader-hook.ts';
import { openStore } from './open-store.ts';

type Hook = LeaderHook<CounterCommand, null, number | undefined>;
type Event = CommittedCommand<CounterCommand>;

async function open(storage: MemoryStorage, hook: Hook, errors: Error[] = []) {
  const store = await openStore({
    storage,
    keyspaces: { visits: { module: counterModule, shards: 3, hook } },
    onBackgroundError: (error) => errors.push(error),
  });
  const { id } = store.listKeyspaces()[0]!;
  const backlog = () => [...(store.node.storage as MemoryStorage).scan(hookOutboxRange(id))].length;
  return { store, visits: store.keyspace('visits'), backlog };
}

/** Waits until `check` holds, for as long as a loaded machine may need. */
async function until(check: () => boolean): Promise<void> {
  await expect.poll(check, { timeout: 20_000, interval: 2 }).toBe(true);
}

const nameOf = ({ key, token, index }: Event): string => `${fromUtf8(key)} ${token.shard}/${token.epoch}/${token.seq}/${index}`;

describe('a hook', () => {
  test('is told of each command that changed something, once, in the order of its shard, with a fencing token', async () => {
    const events: Event[] = [];
    const { store, visits, backlog } = await open(new MemoryStorage(), { onCommandCommitted: (event) => void events.push(event) });
    await using _ = store;
    await Promise.all(Array.from({ length: 300 }, (_, i) => visits.command(`page ${i % 20}`, counter.add(i))));
    await visits.command('none', counter.remove());
    const session = store.session();
    const request = session.request();
    for (let i = 0; i < 3; i++) await visits.command('once', counter.add(7), { request });
    await until(() => events.length >= 301 && backlog() === 0);
    expect(events).toHaveLength(301);
    expect(events.filter(({ key }) => fromUtf8(key) === 'once').map(({ command }) => command)).toEqual([counter.add(7)]);
    expect(new Set(events.map(nameOf)).size).toBe(301);
    for (const shard of new Set(events.map(({ token }) => token.shard))) {
      const places = events.filter(({ token }) => token.shard === shard).map(({ token, index }) => token.seq * 1_000 + index);
      expect(places).toEqual([...places].sort((a, b) => a - b));
      expect(store.node.storage.get(hookCursorKey(shard))).toHaveLength(8);
    }
    for (let page = 0; page < 20; page++) {
      const told = events.filter(({ key }) => fromUtf8(key) === `page ${page}`);
      const sum = told.reduce((total, { command }) => total + (command.kind === 'add' ? command.by : 0), 0);
      expect(await visits.query(`page ${page}`, null)).toBe(sum);
    }
  });

  test('is not told of what changed nothing, with a request id or without', async () => {
    const events: Event[] = [];
    const { store, visits, backlog } = await open(new MemoryStorage(), { onCommandCommitted: (event) => void events.push(event) });
    await using _ = store;
    const session = store.session();
    for (const options of [{}, { request: session.request() }]) {
      await expect(visits.command('failed', counter.add(0.5), options)).rejects.toMatchObject({ code: 'KF_BAD_COMMAND' });
    }
    for (const options of [{}, { request: session.request() }]) expect(await visits.command('absent', counter.remove(), options)).toBe(0);
    // All in one entry, in the middle of it.
    await Promise.all([
      visits.command('page', counter.add(1)),
      visits.command('page', counter.add(0.5), { request: session.request() }).catch(() => {}),
      visits.command('page', counter.add(2), { request: session.request() }),
    ]);
    await until(() => events.length >= 2 && backlog() === 0);
    expect(events.map(({ key, command, index }) => [fromUtf8(key), command, index])).toEqual([
      ['page', counter.add(1), 0],
      ['page', counter.add(2), 1],
    ]);
  });

  test('is told only of what is durable', async () => {
    const storage = new MemoryStorage({ holdDurability: true });
    const release = setInterval(() => storage.release(), 1);
    const events: string[] = [];
    const { store, visits } = await open(storage, { onCommandCommitted: ({ key }) => void events.push(fromUtf8(key)) });
    await visits.command('first', counter.add());
    await until(() => events.length === 1);
    await store.node.flush();
    clearInterval(release);
    const second = visits.command('second', counter.add());
    await new Promise((resolve) => setTimeout(resolve, 30));
    expect(events).toEqual(['first']);
    const again = setInterval(() => storage.release(), 1);
    await second;
    await until(() => events.length === 2);
    await store.close();
    clearInterval(again);
  });

  test('that throws, at once or later, is told again, and holds up nothing', async () => {
    const errors: Error[] = [];
    const told: string[] = [];
    let attempts = 0;
    const { store, visits } = await open(
      new MemoryStorage(),
      {
        onCommandCommitted(event) {
          attempts++;
          if (attempts === 1) throw new Error('at once');
          if (attempts === 2) return Promise.reject(new Error('later'));
          told.push(nameOf(event));
          return undefined;
        },
      },
      errors,
    );
    await using _ = store;
    for (let i = 0; i < 5; i++) expect(await visits.command('home', counter.add())).toBe(i + 1);
    await until(() => told.length === 5);
    expect(new Set(told).size).toBe(5);
    expect(errors.map((error) => [(error as KeyfleetError).code, /at once|later/.exec(error.message)?.[0]])).toEqual([
      ['KF_HOOK_FAILED', 'at once'],
      ['KF_HOOK_FAILED', 'later'],
    ]);
  });

  test('that hangs is given up on after its time and told again; the store closes all the same', async () => {
    const errors: Error[] = [];
    let attempts = 0;
    const hook: Hook = {
      timeoutMs: 15,
      onCommandCommitted: () => {
        attempts++;
        return new Promise(() => {});
      },
    };
    const { store, visits, backlog } = await open(new MemoryStorage(), hook, errors);
    expect(await visits.command('home', counter.add())).toBe(1);
    await until(() => attempts >= 2);
    expect(await visits.command('home', counter.add())).toBe(2);
    expect(errors[0]!.message).toContain('longer than 15 ms');
    expect(backlog()).toBeGreaterThan(0);
    await store.close();
  });

  test('passes over a command after so many attempts, when it may', async () => {
    const errors: Error[] = [];
    const told: string[] = [];
    const hook: Hook = {
      giveUpAfter: 2,
      onCommandCommitted({ key }) {
        if (fromUtf8(key) === 'poison') throw new Error('never');
        told.push(fromUtf8(key));
      },
    };
    const { store, visits, backlog } = await open(new MemoryStorage(), hook, errors);
    await using _ = store;
    await visits.command('poison', counter.add());
    await visits.command('good', counter.add());
    await until(() => told.length === 1 && backlog() === 0);
    expect(errors).toHaveLength(2);
  });

  test('goes on after a restart where it was, with what it had not been told', async () => {
    const storage = new MemoryStorage();
    const told: string[] = [];
    const first = await open(storage, {
      onCommandCommitted(event) {
        if (told.length >= 70) return new Promise(() => {});
        told.push(nameOf(event));
        return undefined;
      },
    });
    for (let i = 0; i < 200; i++) await first.visits.command(`page ${i}`, counter.add());
    await until(() => told.length === 70);
    const before = [...told];
    await first.store.close();
    const second = await open(storage.crash(), { onCommandCommitted: (event) => void told.push(nameOf(event)) });
    await until(() => second.backlog() === 0);
    await second.store.close();
    expect(new Set(told).size).toBe(200);
    // What had been told behind the last cursor came again.
    const again = told.slice(70).filter((name) => before.includes(name));
    expect(told).toHaveLength(200 + again.length);
    expect(again.length).toBeLessThanOrEqual(70);
  });

  test('with best effort stores nothing, and is told of what comes while it runs', async () => {
    const told: string[] = [];
    const errors: Error[] = [];
    const hook: Hook = {
      delivery: 'best-effort',
      onCommandCommitted(event) {
        told.push(nameOf(event));
        if (told.length === 1) throw new Error('no second time');
      },
    };
    const { store, visits, backlog } = await open(new MemoryStorage(), hook, errors);
    await using _ = store;
    for (let i = 0; i < 20; i++) await visits.command('home', counter.add());
    await until(() => told.length === 20);
    expect([backlog(), new Set(told).size, errors.length]).toEqual([0, 20, 1]);
  });

  test('is told of queries after their answers, and what it throws then is reported', async () => {
    const errors: Error[] = [];
    const answers: unknown[] = [];
    const hook: Hook = {
      onQueryAnswered({ key, answer }) {
        answers.push([fromUtf8(key), answer]);
        throw new Error('told');
      },
    };
    const { store, visits } = await open(new MemoryStorage(), hook, errors);
    await using _ = store;
    await visits.command('home', counter.add(4));
    expect(await visits.query('home', null)).toBe(4);
    expect(answers).toEqual([]);
    await until(() => errors.length === 1);
    expect(answers).toEqual([['home', 4]]);
  });

  test('goes with its keyspace, and has sensible options: KF_BAD_OPTION', async () => {
    const storage = new MemoryStorage();
    const { store, visits } = await open(storage, { onCommandCommitted: () => new Promise(() => {}) });
    await using _ = store;
    const { id } = store.listKeyspaces()[0]!;
    for (let i = 0; i < 50; i++) await visits.command('home', counter.add());
    await store.deregisterKeyspace('visits');
    for (let i = 0; store.node.sweep(); i++) expect(i).toBeLessThan(1_000);
    expect([...storage.scan(hookOutboxRange(id))]).toEqual([]);
    for (const hook of [{ timeoutMs: 0 }, { giveUpAfter: 0 }, { delivery: 'perhaps' as never }]) {
      const bad = store.registerKeyspace(`bad-${Object.keys(hook)[0]}`, { module: counterModule, hook });
      await expect(bad).rejects.toThrow(expect.objectContaining({ code: 'KF_BAD_OPTION' }));
    }
    expect(store.listKeyspaces()).toEqual([]);
  });

  test('works on while the disk is full, and is told when there is room', async () => {
    const storage = new MemoryStorage();
    const told: string[] = [];
    const { store, visits, backlog } = await open(storage, {
      onCommandCommitted(event) {
        if (told.length === 0) storage.refuse(new KeyfleetError('KF_DISK_FULL', 'full', { retryable: true }));
        told.push(nameOf(event));
      },
    });
    await using _ = store;
    await visits.command('home', counter.add());
    await until(() => told.length >= 1);
    await new Promise((resolve) => setTimeout(resolve, 20));
    storage.refuse(undefined);
    await until(() => backlog() === 0);
    expect(new Set(told).size).toBe(1);
  });
});
