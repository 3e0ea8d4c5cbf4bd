import fc from 'fast-check';
import { expect } from 'vitest';
import { type Bytes, toHex } from '../base/bytes.ts';
import type { Storage, StorageReader, StorageSnapshot } from './storage.ts';

/** What the model test needs of an adapter. */
export interface ModelledStorage {
  /** Closes `storage` and opens what it kept. */
  reopen(storage: Storage): Promise<Storage>;
  /** Something that moves data about behind the scenes, such as a flush; called between the steps. */
  stir?(storage: Storage): Promise<void>;
}

/** The value of `key` as a viewer sees it. */
export function shown(reader: StorageReader, key: Bytes): string | undefined {
  let seen: string | undefined;
  const isThere = reader.show(key, { view: (bytes, from, to) => (seen = toHex(bytes.subarray(from, to))) });
  expect(isThere).toBe(seen !== undefined);
  return seen;
}

type Step =
  | { readonly do: 'put'; readonly key: Bytes; readonly value: Bytes }
  | { readonly do: 'delete' | 'get'; readonly key: Bytes }
  | { readonly do: 'put-row' | 'delete-row'; readonly first: number; readonly count: number }
  | { readonly do: 'savepoint' | 'rollback' | 'commit' | 'snapshot' | 'release' | 'stir' | 'settle' | 'reopen' }
  | { readonly do: 'scan'; readonly from: Bytes; readonly to: Bytes | undefined; readonly reverse: boolean; readonly limit: number };

// Few distinct keys, so that steps meet; among them prefixes of each other and the extreme bytes.
const keys = fc.oneof(
  { weight: 4, arbitrary: fc.integer({ min: 0, max: 30 }).map((n) => Uint8Array.of(0x61, n * 8)) },
  { weight: 1, arbitrary: fc.uint8Array({ minLength: 1, maxLength: 4 }) },
);
/** What may be done to a storage. */
export const storageStep: fc.Arbitrary<Step> = fc.oneof(
  { weight: 12, arbitrary: fc.record({ do: fc.constant('put' as const), key: keys, value: fc.uint8Array({ maxLength: 12 }) }) },
  { weight: 5, arbitrary: fc.record({ do: fc.constant('delete' as const), key: keys }) },
  { weight: 3, arbitrary: fc.record({ do: fc.constant('get' as const), key: keys }) },
  {
    weight: 3,
    arbitrary: fc.record({
      do: fc.constantFrom('put-row' as const, 'delete-row' as const, 'delete-row' as const),
      first: fc.integer({ min: 0, max: 200 }),
      count: fc.integer({ min: 10, max: 100 }),
    }),
  },
  {
    weight: 5,
    arbitrary: fc.record({
      do: fc.constant('scan' as const),
      from: fc.oneof(fc.constant(new Uint8Array(0)), keys),
      to: fc.option(keys, { nil: undefined }),
      reverse: fc.boolean(),
      limit: fc.oneof(fc.constant(1_000), fc.integer({ min: 0, max: 5 })),
    }),
  },
  { weight: 2, arbitrary: fc.record({ do: fc.constantFrom('savepoint' as const, 'rollback' as const) }) },
  { weight: 5, arbitrary: fc.record({ do: fc.constant('commit' as const) }) },
  { weight: 2, arbitrary: fc.record({ do: fc.constantFrom('snapshot' as const, 'release' as const) }) },
  { weight: 2, arbitrary: fc.record({ do: fc.constantFrom('stir' as const, 'settle' as const) }) },
  { weight: 1, arbitrary: fc.record({ do: fc.constant('reopen' as const) }) },
);

type Model = ReadonlyMap<string, Bytes>;

/** The oracle: sorts everything and filters. */
function modelScan(model: Model, { from, to, reverse, limit }: Step & { readonly do: 'scan' }): string[] {
  const found = [...model]
    .filter(([key]) => key >= toHex(from) && (to === undefined || key < toHex(to)))
    .sort(([a], [b]) => (a < b ? -1 : 1))
    .map(([key, value]) => `${key}=${toHex(value)}`);
  return (reverse ? found.reverse() : found).slice(0, limit);
}

function realScan(reader: StorageReader, { from, to, reverse, limit }: Step & { readonly do: 'scan' }): string[] {
  const options = { from, reverse, limit };
  return [...reader.scan(to ? { ...options, to } : options)].map(({ key, value }) => `${toHex(key)}=${toHex(value)}`);
}

/** Takes each step on a storage and on a sorted list, and compares what both answer. @param onReopen - Told of the storage that goes on after a reopening. */
export async function playAgainstModel(
  steps: readonly Step[],
  adapter: ModelledStorage,
  opened: Storage,
  onReopen: (storage: Storage) => void,
): Promise<void> {
  let storage = opened;
  let model = new Map<string, Bytes>();
  let closedModel: Model = new Map();
  let committed = 0;
  let openWrites = 0;
  let savepoints: { readonly number: number; readonly writes: number; readonly model: Model }[] = [];
  let snapshots: { readonly real: StorageSnapshot; readonly model: Model }[] = [];
  const commit = (): void => {
    if (openWrites > 0) committed++;
    expect(storage.commit()).toBe(committed);
    closedModel = new Map(model);
    openWrites = 0;
    savepoints = [];
  };
  for (const one of steps) {
    switch (one.do) {
      case 'put':
        storage.put(one.key, one.value);
        model.set(toHex(one.key), one.value);
        openWrites++;
        break;
      case 'delete':
        storage.delete(one.key);
        model.delete(toHex(one.key));
        openWrites++;
        break;
      // Many side by side, so that scans find long stretches of deleted keys.
      case 'put-row':
      case 'delete-row':
        for (let n = one.first; n < Math.min(256, one.first + one.count); n++) {
          const key = Uint8Array.of(0x61, n);
          if (one.do === 'put-row') {
            storage.put(key, key);
            model.set(toHex(key), key);
          } else {
            storage.delete(key);
            model.delete(toHex(key));
          }
          openWrites++;
        }
        break;
      case 'get': {
        const expected = model.get(toHex(one.key));
        const found = storage.get(one.key);
        expect(found && toHex(found)).toBe(expected && toHex(expected));
        expect(storage.has(one.key)).toBe(expected !== undefined);
        expect(shown(storage, one.key)).toBe(expected && toHex(expected));
        break;
      }
      case 'scan':
        expect(realScan(storage, one)).toEqual(modelScan(model, one));
        for (const { real, model: kept } of snapshots) expect(realScan(real, one)).toEqual(modelScan(kept, one));
        break;
      case 'savepoint':
        savepoints.push({ number: storage.savepoint(), writes: openWrites, model: new Map(model) });
        break;
      case 'rollback': {
        const to = savepoints.pop() ?? { number: 0, writes: 0, model: closedModel };
        storage.rollback(to.number);
        openWrites = to.writes;
        model = new Map(to.model);
        break;
      }
      case 'commit':
        commit();
        break;
      case 'snapshot':
        commit();
        snapshots.push({ real: storage.snapshot(), model: new Map(model) });
        break;
      case 'release':
        snapshots.splice(openWrites % (snapshots.length || 1), 1)[0]?.real.release();
        break;
      case 'stir':
        await adapter.stir?.(storage);
        break;
      case 'settle':
        await storage.whenDurable(committed);
        break;
      case 'reopen':
        commit();
        for (const { real } of snapshots) real.release();
        snapshots = [];
        storage = await adapter.reopen(storage);
        onReopen(storage);
        expect([storage.committed, storage.durable]).toEqual([committed, committed]);
        break;
    }
  }
  const all = { do: 'scan', from: new Uint8Array(0), to: undefined, reverse: false, limit: 1_000 } as const;
  expect(realScan(storage, all)).toEqual(modelScan(model, all));
  for (const { real, model: kept } of snapshots) {
    expect(realScan(real, all)).toEqual(modelScan(kept, all));
    real.release();
  }
}
