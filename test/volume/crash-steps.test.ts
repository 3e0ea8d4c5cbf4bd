import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import type { MoveStep } from '../../src/volume/mover.ts';
import { Fleet, names } from './fleet.ts';

// A master dies after each single step of a move; a new one over what its disk had finishes, and everything is exactly as written.

const COUNT = 60;
let fleet: Fleet;
beforeEach(async () => {
  fleet = new Fleet();
  for (let index = 0; index < 2; index++) await fleet.addVolume();
  await fleet.start();
  await Promise.all(names(COUNT).map((key) => fleet.put(key, `value of ${key}`)));
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
    for (const index of [0, 1, 2]) expect(fleet.master!.master.loadOf(index + 1).keyCount).toBe(files[index]);
    void dead;
  });

  test('keeps a write that was made in the middle of the move', async () => {
    await fleet.stopMaster();
    await fleet.addVolume();
    const { reached, onStep } = frozenAt(step, 1);
    await fleet.start({ moves: { concurrency: 1, bytesPerSecond: undefined, onStep } });
    await reached;
    await Promise.all(names(COUNT).map((key) => fleet.put(key, `newer ${key}`)));
    expect((await fleet.delete('key 5')).status).toBe(200);
    fleet.storage = fleet.storage.crash();
    await fleet.start();
    await fleet.master!.mover.settled();
    for (const key of names(COUNT)) expect(await fleet.get(key)).toBe(key === 'key 5' ? 404 : `newer ${key}`);
    const files = await Promise.all([0, 1, 2].map((index) => fleet.filesOn(index)));
    expect(files.reduce((sum, count) => sum + count)).toBe(COUNT - 1);
  });
});
