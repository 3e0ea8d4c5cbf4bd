// The process that gets killed: WRITERS writers, each with one operation at a time, over the built store. Says `<writer> <n>` on its
// standard output for each operation whose promise has resolved, and nothing else.
import { writeSync } from 'node:fs';
import { operation, WRITERS } from './workload.ts';

const [distUrl, dir, ...starts] = process.argv.slice(2) as [string, string, ...string[]];
const { openStorage, openStore, plain, plainBytes } = (await import(distUrl)) as typeof import('../../src/node/index.ts');

// Small, so that segments change and memtables are flushed all the time.
const storage = await openStorage({ dir, memtableBytes: 512 * 1024, segmentBytes: 256 * 1024 });
const store = await openStore({ storage, keyspaces: { known: { module: plainBytes, shards: 5 } } });
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

await Promise.all(Array.from({ length: WRITERS }, (_, writer) => write(writer, Number(starts[writer]))));
