import { afterEach, describe, expect, test } from 'vitest';
import { utf8 } from '../../src/base/bytes.ts';
import { KeyListeners } from '../../src/node/cluster/key-listeners.ts';
import { CHANGED, KeyWatches, WATCH, type WatchedPlace } from '../../src/node/cluster/key-watches.ts';
import type { NodeClock } from '../../src/node/node-clock.ts';
import { InProcessNetwork } from '../../src/transport/in-process.ts';
import { add, type Counters, InProcessCluster, waitFor } from './in-process-cluster.ts';

/** Time stands still until it is told to go on. */
class StoppedClock implements NodeClock {
  #nowMs = 1_000;
  readonly #due = new Set<{ readonly atMs: number; readonly callback: () => void }>();

  now() {
    return { monoMs: this.#nowMs, wallMs: this.#nowMs };
  }

  after(ms: number, callback: () => void): () => void {
    const one = { atMs: this.#nowMs + ms, callback };
    this.#due.add(one);
    return () => this.#due.delete(one);
  }

  atTurnEnd(callback: () => void): void {
    setImmediate(callback);
  }

  pass(ms: number): void {
    this.#nowMs += ms;
    for (const one of [...this.#due]) {
      if (one.atMs > this.#nowMs) continue;
      this.#due.delete(one);
      one.callback();
    }
  }
}

/** A node that can be asked, and tells. */
async function member(network: InProcessNetwork, id: string) {
  const [clock, transport, listeners] = [new StoppedClock(), network.join(id), new KeyListeners()];
  const watches = new KeyWatches({ clock, transport, listeners });
  const asked: string[] = [];
  await transport.serve(({ from, method, payload }) => {
    if (method === CHANGED) watches.heard(payload);
    if (method !== WATCH) return new Uint8Array(0);
    asked.push(from);
    return watches.asked(from, payload);
  });
  return { clock, watches, asked };
}

const settle = () => new Promise((resolve) => setTimeout(resolve, 20));

describe('a key that is watched from another node', () => {
  test('is told of by the leader as soon as it changes; by the next leader, who is asked in its turn; and no more when nobody waits', async () => {
    const network = new InProcessNetwork();
    const [a, b, c] = [await member(network, 'a'), await member(network, 'b'), await member(network, 'c')];
    let place: WatchedPlace = { leader: 'b' };
    let calls = 0;
    const stop = await a.watches.watch(
      7,
      [utf8('x'), utf8('y')],
      () => place,
      () => calls++,
    );
    expect(b.asked).toEqual(['a']);
    for (const [keyspace, key, expected] of [
      [7, 'x', 1],
      [7, 'y', 2],
      [7, 'z', 2],
      [8, 'x', 2],
      [7, undefined, 3],
    ] as const) {
      b.watches.changed(keyspace, key === undefined ? undefined : utf8(key));
      await settle();
      expect([key, calls]).toEqual([key, expected]);
    }
    place = { leader: 'c' };
    calls = 0;
    a.clock.pass(1_000);
    await settle();
    // Of each key: a look that is due, and one for what may have happened between two leaders.
    expect([c.asked, calls]).toEqual([['a'], 4]);
    calls = 0;
    c.watches.changed(7, utf8('y'));
    await settle();
    expect(calls).toBe(1);
    b.clock.pass(6_000);
    b.watches.changed(7, utf8('y'));
    await settle();
    expect(calls).toBe(1);
    stop();
    a.clock.pass(1_000);
    a.clock.pass(1_000);
    c.watches.changed(7, utf8('y'));
    await settle();
    expect([calls, c.asked]).toEqual([1, ['a']]);
  });

  test('is waited for all the same while its leader does not answer', async () => {
    const network = new InProcessNetwork();
    const a = await member(network, 'a');
    let calls = 0;
    await a.watches.watch(
      7,
      [utf8('x')],
      () => ({ leader: 'gone' }),
      () => calls++,
    );
    a.clock.pass(1_000);
    a.clock.pass(1_000);
    expect(calls).toBe(2);
  });
});

describe('a watch in a cluster', () => {
  const cluster = new InProcessCluster();
  afterEach(() => cluster.stopAll());

  test('hears of a change wherever the shard is, and looks seldom otherwise', async () => {
    const counters: Counters[] = [];
    for (const id of ['a', 'b', 'c']) counters.push(await cluster.counters(await cluster.start(id, { replication: 1 }), { shards: 6 }));
    const keyspace = () => cluster.nodes.get('a')!.view().keyspaces[0]!;
    await waitFor('shards on all nodes', () => new Set(keyspace().shards.map(({ leader }) => leader)).size === 3);
    const [here] = counters;
    const keys = Array.from({ length: 30 }, (_, i) => `key ${i}`);
    const away = keys.find((key) => !here!.where(utf8(key)).isHere)!;
    let calls = 0;
    const stop = await here!.watch([utf8(away)], () => calls++);
    for (let i = 1; i <= 5; i++) {
      const before = calls;
      await add(counters[i % 3]!, away);
      await waitFor('the news', () => calls > before);
    }
    calls = 0;
    const sinceMs = performance.now();
    await new Promise((resolve) => setTimeout(resolve, 500));
    expect(calls).toBeLessThanOrEqual(3 + (performance.now() - sinceMs) / 500);
    stop();
  }, 20_000);
});
