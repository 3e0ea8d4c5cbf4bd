import { expect, test } from 'vitest';
import type { Reply } from '../shard/redis/reply.ts';
import { ReplyQueue } from './reply-queue.ts';

const bytes = (length: number): Uint8Array => new Uint8Array(length);

test.each<[string, Reply, number]>([
  ['a string', bytes(1_000), 1_000],
  ['an array', [bytes(400), null, [bytes(600)]], 1_000],
  ['a map', { kind: 'map', pairs: [[bytes(10), bytes(990)]] }, 1_000],
  ['pairs', { kind: 'pairs', pairs: [[bytes(10), bytes(990)]] }, 1_000],
  ['a set', { kind: 'set', items: [bytes(1), bytes(999)] }, 1_000],
  ['many numbers', Array.from({ length: 1_000 }, (_, i) => i), 8_000],
])('%s that waits for its turn is counted with all that is in it', (_what, reply, least) => {
  const queue = new ReplyQueue();
  queue.open(0);
  const token = queue.open(0);
  queue.wait(token, reply);
  expect(queue.waitingBytes).toBeGreaterThanOrEqual(least);
  expect(queue.waitingBytes).toBeLessThan(100 * least);
  expect(queue.shift()).toBe(reply);
  expect(queue.waitingBytes).toBe(0);
});
