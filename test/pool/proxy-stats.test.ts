import { expect, test } from 'vitest';
import { utf8 } from '../../src/base/bytes.ts';
import { findRoutedCommand } from '../../src/pool/command-table.ts';
import { ProxyStats } from '../../src/pool/proxy/proxy-stats.ts';

const indexOf = (name: string): number => findRoutedCommand(utf8(name), 0, name.length)!.index;

test('the foreground’s 99th percentile is of what came since it was last asked for, and of commands with keys', () => {
  const stats = new ProxyStats();
  const answer = (name: string, tookMs: number, times: number): void => {
    for (let i = 0; i < times; i++) {
      stats.commands[indexOf(name)]! += 1;
      stats.answered(indexOf(name), 0, tookMs, 10, false);
    }
  };
  expect(stats.p99SinceAskedMs()).toBeUndefined();
  answer('get', 0.3, 98);
  answer('set', 40, 2);
  answer('blpop', 9_000, 50);
  answer('ping', 0, 10_000);
  // 40 ms lie between 2^15 and 2^16 microseconds.
  expect(stats.p99SinceAskedMs()).toBe(65.536);
  expect(stats.p99SinceAskedMs()).toBeUndefined();
  answer('get', 0.3, 1_000);
  answer('get', 40, 1);
  expect(stats.p99SinceAskedMs()).toBe(0.512);
});
