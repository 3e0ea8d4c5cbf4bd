import { describe, expect, test } from 'vitest';
import { KIB, MIB } from '../../base/units.ts';
import { PutWindow } from './put-window.ts';

const BLOCK = 256 * KIB;

/** Puts blocks one after the other that take `ms` each, until `untilMs`; returns when the last was done. */
function puts(window: PutWindow, count: number, ms: number, fromMs = 0): number {
  let nowMs = fromMs;
  for (let i = 0; i < count; i++) {
    window.took(BLOCK, nowMs, nowMs + ms);
    nowMs += ms;
  }
  return nowMs;
}

describe('what is under way of a restore', () => {
  test('grows to 4 MiB while blocks take no longer for it', () => {
    const window = new PutWindow();
    expect(window.limitBytes).toBe(BLOCK);
    puts(window, 1, 20);
    expect(window.limitBytes).toBe(2 * BLOCK);
    puts(window, 100, 120);
    expect(window.limitBytes).toBe(4 * MIB);
  });

  test('is halved when blocks take much longer than the fastest, once for those that were under way then', () => {
    const window = new PutWindow();
    const nowMs = puts(window, 100, 20);
    for (let i = 0; i < 16; i++) window.took(BLOCK, nowMs + i, nowMs + 400 + i);
    expect(window.limitBytes).toBe(2 * MIB);
    window.took(BLOCK, nowMs + 500, nowMs + 900);
    expect(window.limitBytes).toBe(MIB);
    // Then it grows by a block for each window that is put.
    puts(window, 4, 20, nowMs + 1_000);
    expect(window.limitBytes).toBeGreaterThan(1.2 * MIB);
    expect(window.limitBytes).toBeLessThanOrEqual(1.25 * MIB);
  });

  test('is one block at least, and of a disk that is slow for one block as much as of a fast one', () => {
    const window = new PutWindow();
    for (let i = 0; i < 10; i++) window.failed(1_000 * i, 1_000 * i + 999);
    expect(window.limitBytes).toBe(BLOCK);
    puts(window, 1_000, 700, 20_000);
    expect(window.limitBytes).toBe(4 * MIB);
  });

  test('is never more than the limit, but for a block that is larger, which is alone', async () => {
    const window = new PutWindow();
    const entered: number[] = [];
    const enter = (bytes: number): void => void window.enter(bytes).then(() => entered.push(bytes));
    const turn = (): Promise<void> => new Promise((resolve) => setImmediate(resolve));
    enter(BLOCK - 1);
    enter(5 * MIB);
    enter(2);
    await turn();
    expect(entered).toEqual([BLOCK - 1]);
    window.leave(BLOCK - 1);
    await turn();
    expect(entered).toEqual([BLOCK - 1, 5 * MIB]);
    window.leave(5 * MIB);
    await turn();
    expect(entered).toEqual([BLOCK - 1, 5 * MIB, 2]);
  });
});
