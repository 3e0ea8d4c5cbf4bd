// The process that gets killed: WRITERS writers, each with one operation at a time, over the built store. Says `<writer> <n>` on its
// standard output for each operation whose promise has resolved, and nothing else.
import { writeSync } from 'node:fs';
import { operation, WRITERS } from './workload.ts';

const [distUrl, dir, ...starts] = process.argv.slice(2) as [string, string, ...string[]];
const { isKeyfleetError, openStorage, openStore, plain, plainBytes } = (await import(distUrl)) as typeof import('../../src/node/index.ts');

// Small, so that segments change and memtables are flushed all the time.
const storage = await openStorage({ dir, memtableBytes: 512 * 1024, segmentBytes: 256 * 1024 });
// A step of a split or merge is now and then left for later, so that each can be the last before the end.
const unsteady: object = { mayTakeStep: () => Math.random() < 0.8 };
const store = await openStore({ storage, keyspaces: { known: { module: plainBytes, shards: 5, policy: { minShards: 1 } } }, ...unsteady });
const known = store.keyspace('known');

let acknowledged = '';
function tell(line: string): void {
  if (acknowledged === '') setImmediate(flush);
  acknowledged += line;
}
function flush(): void {
  const text = acknowledged;
  acknowledged = '';
  writeSync(1, text);
}

async function write(writer: number, from: number): Promise<void> {
  for (let n = from; ; n++) {
    const { key, value } = operation(writer, n);
    await known.command(key, value ? plain.set(value) : plain.delete());
    tell(`${writer} ${n}\n`);
  }
}

/** Splits and merges shards all the time. */
async function unsettle(): Promise<void> {
  const workflows = store.workflows('known');
  while (true) {
    const shards = known.shards();
    const { id } = shards[Math.floor(Math.random() * shards.length)]!;
    try {
      await (Math.random() * 16 > shards.length ? workflows.split(id) : workflows.merge(id));
    } catch (error) {
      // Busy, or the last one: another one then.
      if (!isKeyfleetError(error) || !['KF_SHARD_BUSY', 'KF_NO_SHARD', 'KF_BAD_SPLIT_POINT'].includes(error.code)) throw error;
    }
    await new Promise((resolve) => setImmediate(resolve));
  }
}
unsettle().catch((error) => {
  console.error(error);
  process.exit(1);
});

await Promise.all(Array.from({ length: WRITERS }, (_, writer) => write(writer, Number(starts[writer]))));
