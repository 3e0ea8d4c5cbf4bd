import { describe, expect, test } from 'vitest';
import { utf8 } from '../base/bytes.ts';
import { MemoryStorage } from '../storage/memory.ts';
import { Metakeys, type Suspicion } from './metakeys.ts';

const suspicion = (key: string): Suspicion => ({ volume: 2, key: utf8(key), version: 1_025 });
const suspected = (metakeys: Metakeys): string[] =>
  metakeys.suspicions(undefined, 10).suspicions.map(({ volume, key, version }) => `${Buffer.from(key)} on ${volume} to ${version}`);

describe('suspicions written down together', () => {
  test('are gone when they are settled, but for those that stay suspect', async () => {
    const metakeys = new Metakeys(new MemoryStorage());
    const together = metakeys.suspectTogether(['a', 'b', 'c'].map(suspicion));
    metakeys.settleTogether(together, ({ key }) => Buffer.from(key).equals(utf8('b')));
    await metakeys.commit();
    expect(suspected(metakeys)).toEqual(['b on 2 to 1025']);
  });

  test('of a master that died are found by the next one, each by itself', async () => {
    const storage = new MemoryStorage();
    const dead = new Metakeys(storage);
    await dead.beginEpoch();
    const settled = dead.suspectTogether([suspicion('z')]);
    dead.suspectTogether(['a', 'x'.repeat(2_000)].map(suspicion));
    dead.suspectTogether([suspicion('b')]);
    dead.settleTogether(settled, () => false);
    await dead.commit();
    const next = new Metakeys(storage.crash());
    await next.beginEpoch();
    expect(suspected(next).sort()).toEqual(['a', 'b', 'x'.repeat(2_000)].map((key) => `${key} on 2 to 1025`));
    // Its own do not meet theirs.
    next.settleTogether(next.suspectTogether([suspicion('c')]), () => false);
    expect(suspected(next).length).toBe(3);
  });
});
