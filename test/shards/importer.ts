// The process that imports, and gets killed: reads back what was acknowledged before, then puts the rest, while one shard splits into sixteen.
//   node importer.mjs DIR RECORDS ACKNOWLEDGED        says "<n>" when all records below n are acknowledged, "lost …", and "done <shards>"
import { writeSync } from 'node:fs';
import { openStore, plain, plainBytes } from '../../src/node/index.ts';

const [dir, recordsText, acknowledgedText] = process.argv.slice(2) as [string, string, string];
const records = Number(recordsText);
const IN_FLIGHT = 1_000;
const text = new TextEncoder();
const value = (n: number): Uint8Array => text.encode(`record ${n}`);
const say = (line: string): void => {
  writeSync(1, `${line}\n`);
};

const store = await openStore({
  dir,
  keyspaces: { known: { module: plainBytes, shards: 1, policy: { maxKeysPerShard: Math.floor(records / 12), maxShards: 16 } } },
});
const known = store.keyspace('known');

async function readBack(upto: number): Promise<void> {
  for (let from = 0; from < upto; from += IN_FLIGHT) {
    await Promise.all(
      Array.from({ length: Math.min(IN_FLIGHT, upto - from) }, async (_, i) => {
        const n = from + i;
        const { value: found } = await known.query(`key ${n}`, plain.get());
        if (!found || Buffer.compare(found, value(n)) !== 0) say(`lost ${n}`);
      }),
    );
  }
}

await readBack(Number(acknowledgedText));
for (let from = Number(acknowledgedText); from < records; from += IN_FLIGHT) {
  const count = Math.min(IN_FLIGHT, records - from);
  await Promise.all(Array.from({ length: count }, (_, i) => known.command(`key ${from + i}`, plain.set(value(from + i)))));
  say(String(from + count));
}
while (known.shards().length < 16) await new Promise((resolve) => setTimeout(resolve, 20));
await readBack(records);
let scanned = 0;
for await (const _ of known) scanned++;
const counted = known.shards().reduce((sum, { keyCount }) => sum + keyCount, 0);
if (scanned !== records || counted !== records) say(`lost: ${scanned} scanned, ${counted} counted`);
await store.close();
say(`done ${known.shards().length}`);
