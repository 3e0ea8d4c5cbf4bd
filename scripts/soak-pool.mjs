// npm run soak:pool -- [--seconds N] [--keys N] [--seed S]: a pool of a million keys grows and shrinks under an application while its mover and a proxy are killed; then keys go
// to and fro between servers under a workload that knows every answer, while movers, owners, routers and servers are killed and the mover's connections are cut and delayed. Each
// of the latter two runs for N seconds. A seed repeats what chance decided, not what the machine's timing did.
import { parseArgs } from 'node:util';
import { bin, ensureBuilt, ensureInstalled, run } from './ready.mjs';

const { values } = parseArgs({
  options: {
    seconds: { type: 'string', default: '60' },
    keys: { type: 'string', default: '1000000' },
    seed: { type: 'string', default: String(Math.floor(Math.random() * 1e9)) },
  },
});
for (const name of ['seconds', 'keys', 'seed']) {
  if (/^\d{1,9}$/.test(values[name])) continue;
  console.error(`--${name} wants a whole number, not ${values[name]}`);
  process.exit(2);
}
ensureInstalled();
ensureBuilt();
console.log(`seed ${values.seed}`);
const tests = ['servers-come-and-go', 'move-stress', 'move-faults'].map((name) => `test/pool/${name}.test.ts`);
run(bin('vitest'), ['run', '--no-file-parallelism', ...tests], {
  KEYFLEET_POOL_KEYS: values.keys,
  KEYFLEET_POOL_SECONDS: values.seconds,
  KEYFLEET_POOL_SEED: values.seed,
});
