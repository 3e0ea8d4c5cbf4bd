// The process that gets killed: adds 1 to counter after counter, many at a time, and has a hook. Says `done <n>` for each command whose promise has
// resolved and `told <n> <shard> <epoch> <seq> <index>` for each that the hook was told of.
import { writeSync } from 'node:fs';
import type { CommittedCommand } from '../../src/node/leader-hook.ts';
import type { CounterCommand } from '../../src/shard/counter.ts';

const [distUrl, dir, start] = process.argv.slice(2) as [string, string, string];
const { counter, counterModule, openStore } = (await import(distUrl)) as typeof import('../../src/node/index.ts');

const store = await openStore({
  dir,
  keyspaces: {
    visits: {
      module: counterModule,
      shards: 3,
      hook: {
        async onCommandCommitted({ key, token, index }: CommittedCommand<CounterCommand>) {
          // So that the hook is always behind, and is killed there.
          await new Promise((resolve) => setTimeout(resolve, 1));
          writeSync(1, `told ${Buffer.from(key).toString()} ${token.shard} ${token.epoch} ${token.seq} ${index}\n`);
        },
      },
    },
  },
});
for (let n = Number(start); ; n += 16) {
  await Promise.all(
    Array.from({ length: 16 }, async (_, i) => {
      await store.command('visits', `${n + i}`, counter.add());
      writeSync(1, `done ${n + i}\n`);
    }),
  );
}
