import { describe, expect, test } from 'vitest';
import { ModuleStore } from '../../../test/redis-differential/module-store.ts';
import { fromUtf8, utf8 } from '../../base/bytes.ts';
import { Prng } from '../../base/prng.ts';
import type { Reply } from './reply.ts';

function run(store: ModuleStore, ...args: string[]): Reply {
  return store.run(args.map(utf8));
}

function all(store: ModuleStore): string[] {
  return (run(store, 'LRANGE', 'l', '0', '-1') as Uint8Array[]).map(fromUtf8);
}

describe('a list in cells', () => {
  test('is the array it stands for, whatever is done at its ends and in the middle', () => {
    const store = new ModuleStore();
    const prng = new Prng(5);
    let twin: string[] = [];
    for (let step = 0; step < 1_500; step++) {
      const item = `i${prng.below(9)}`;
      switch (prng.below(twin.length > 60 ? 9 : 7)) {
        case 0:
        case 1:
          run(store, 'LPUSH', 'l', item);
          twin.unshift(item);
          break;
        case 2:
        case 3:
          run(store, 'RPUSH', 'l', item);
          twin.push(item);
          break;
        case 4: {
          const pivot = twin.indexOf(item);
          run(store, 'LINSERT', 'l', 'BEFORE', item, 'new');
          if (pivot >= 0) twin.splice(pivot, 0, 'new');
          break;
        }
        case 5: {
          const pivot = twin.indexOf(item);
          run(store, 'LINSERT', 'l', 'AFTER', item, 'new');
          if (pivot >= 0) twin.splice(pivot + 1, 0, 'new');
          break;
        }
        case 6: {
          const count = prng.below(3);
          run(store, 'LREM', 'l', String(count), item);
          let left = count === 0 ? twin.length : count;
          twin = twin.filter((one) => one !== item || left-- <= 0);
          break;
        }
        case 7: {
          const from = prng.below(twin.length);
          run(store, 'LTRIM', 'l', String(from), String(from + 30));
          twin = twin.slice(from, from + 31);
          break;
        }
        default:
          run(store, 'LPOP', 'l', '3');
          twin = twin.slice(3);
      }
      if (step % 10 === 0) expect(all(store)).toEqual(twin);
    }
    expect(all(store)).toEqual(twin);
  });

  test('leaves nothing behind when it is empty', () => {
    const store = new ModuleStore();
    run(store, 'RPUSH', 'l', 'a', 'b', 'c');
    run(store, 'LREM', 'l', '0', 'b');
    run(store, 'RPOPLPUSH', 'l', 'l');
    expect(all(store)).toEqual(['c', 'a']);
    run(store, 'LPOP', 'l', '9');
    expect(run(store, 'EXISTS', 'l')).toBe(0);
    expect(store.sizeOf(utf8('l'))).toBe(0);
  });
});
