import { expect, test } from 'vitest';
import { utf8 } from '../base/bytes.ts';
import { Transaction, WatchedKeys } from './transaction.ts';

test('a client that watches the same key again and again is told of it once, and remembered once', () => {
  const watched = new WatchedKeys();
  const transaction = new Transaction();
  let told = 0;
  for (const name of ['a', 'b', 'a', 'a']) {
    transaction.watch(utf8(name), (key) =>
      watched.add(key, () => {
        told++;
      }),
    );
  }
  watched.changed(utf8('a'));
  expect(told).toBe(1);
  transaction.unwatch();
  watched.changed(undefined);
  expect(told).toBe(1);
});
