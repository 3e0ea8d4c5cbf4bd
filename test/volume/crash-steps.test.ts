import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import type { MoveStep } from '../../src/volume/move-batch.ts';
import { Fleet, names } from './fleet.ts';

// A master dies after each single step of a move; a new one over what its disk had finishes, and everything is exactly as written.

const COUNT = 60;
let fleet: Fleet;
beforeEach(async () => {
  fleet = new Fleet();
  for (let index = 0; index < 2; index++) await fleet.addVolume();
  await fleet.start();
  await fleet.putAll(names(COUNT), (key) => `value of ${key}`);
});
afterEach(() => fleet.close());

/** Lets the master live until it has done `step` for the `nth` time, and leaves it frozen there for ever. */
function frozenAt(step: MoveStep, nth: number): { readonly reached: Promise<void>; readonly onStep: (done: MoveStep) => Promise<void> } {
  let count = 0;
  let reach: () => void;
  const reached = new Promise<void>((resolve) => {
    reach = resolve;
  });
  return {
    reached,
    onStep: (done) => {
      if (done !== step || ++count < nth) return Promise.resolve();
      reach();
      return new Promise(() => {});
    },
  };
}

async function expectAll(): Promise<void> {
  for (const key of names(COUNT)) expect(await fleet.get(key)).toBe(`value of ${key}`);
}

describe.each(['suspected', 'copied', 'referred', 'cleared'] as const)('a master that dies when a batch is %s', (step) => {
  test('has lost nothing: the next one finishes the move, and no copy is left over', async () => {
    await fleet.stopMaster();
    await fleet.addVolume();
    const { reached, onStep } = frozenAt(step, 1);
    await fleet.start({ moves: { concurrency: 1, bytesPerSecond: undefined, onStep } });
    await reached;
    await expectAll();
    // The frozen master never moves again; its successor has what was durable when it died.
    const dead = fleet.master!;
    fleet.storage = fleet.storage.crash();
    await fleet.start();
    await expectAll();
    await fleet.master!.mover.settled();
    await expectAll();
    const files = await Promise.all([0, 1, 2].map((index) => fleet.filesOn(index)));
    expect(files.reduce((sum, count) => sum + count)).toBe(COUNT);
    expect(files[2]).toBeGreaterThan(8);
    for (const index of [0, 1, 2]) expect(fleet.master!.master.ledger.loadOf(index + 1).keyCount).toBe(files[index]);
    void dead;
  });

  test('keeps a write that was made in the middle of the move', async () => {
    await fleet.stopMaster();
    await fleet.addVolume();
    const { reached, onStep } = frozenAt(step, 1);
    await fleet.start({ moves: { concurrency: 1, bytesPerSecond: undefined, onStep } });
    await reached;
    await fleet.putAll(names(COUNT), (key) => `newer ${key}`);
    expect((await fleet.delete('key 5')).status).toBe(200);
    fleet.storage = fleet.storage.crash();
    await fleet.start();
    await fleet.master!.mover.settled();
    for (const key of names(COUNT)) expect(await fleet.get(key)).toBe(key === 'key 5' ? 404 : `newer ${key}`);
    const files = await Promise.all([0, 1, 2].map((index) => fleet.filesOn(index)));
    expect(files.reduce((sum, count) => sum + count)).toBe(COUNT - 1);
  });
});

describe('a volume that is to go again', () => {
  test.each(['suspected', 'copied', 'referred'] as const)('when a batch for it is %s keeps no copy', async (step) => {
    await fleet.stopMaster();
    await fleet.addVolume();
    let drained = false;
    const onStep = async (done: MoveStep): Promise<void> => {
      if (done !== step || drained) return;
      drained = true;
      expect((await fleet.admin('volumes/drain', { volume: '3' })).status).toBe(200);
    };
    await fleet.start({ moves: { concurrency: 1, bytesPerSecond: undefined, onStep } });
    await fleet.master!.mover.settled();
    expect(drained).toBe(true);
    await expectAll();
    const files = await Promise.all([0, 1, 2].map((index) => fleet.filesOn(index)));
    expect([files[0]! + files[1]!, files[2]]).toEqual([COUNT, 0]);
  });
});

describe.each(['suspected', 'copied', 'referred', 'cleared'] as const)('a volume that dies when a batch is %s', (step) => {
  test.each(['source', 'target'] as const)(
    '(the %s) holds up the move until it is back, and loses nothing',
    async (who) => {
      await fleet.stopMaster();
      await fleet.addVolume();
      const victim = who === 'source' ? 0 : 2;
      let port = 0;
      let died = false;
      const onStep = async (done: MoveStep): Promise<void> => {
        if (done !== step || died) return;
        died = true;
        port = await fleet.killVolume(victim);
      };
      await fleet.start({ moves: { concurrency: 1, bytesPerSecond: undefined, onStep } });
      for (let tries = 0; port === 0 && tries < 500; tries++) await new Promise((resolve) => setTimeout(resolve, 10));
      expect(port).toBeGreaterThan(0);
      const written = new Map<string, string>();
      for (const key of names(COUNT).slice(0, 20)) {
        const { status } = await fleet.put(key, `newer ${key}`);
        expect([200, 503]).toContain(status);
        written.set(key, status === 200 ? `newer ${key}` : `value of ${key}`);
      }
      await fleet.reviveVolume(victim, port);
      await fleet.master!.mover.start();
      await fleet.master!.mover.settled();
      for (const key of names(COUNT)) expect(await fleet.get(key), key).toBe(written.get(key) ?? `value of ${key}`);
      const files = await Promise.all([0, 1, 2].map((index) => fleet.filesOn(index)));
      expect(files.reduce((sum, count) => sum + count)).toBe(COUNT);
      expect(files[2]).toBeGreaterThan(8);
    },
    60_000,
  );
});
