// npm run soak:pool -- [--seconds N] [--seed S]: keys to and fro between servers under a workload that knows every answer, while movers, owners, routers and servers are killed and
// the mover's connections are cut and delayed. Each of the two stresses runs for N seconds. A seed repeats what chance decided, not what the machine's timing did.
import { parseArgs } from 'node:util';
import { bin, ensureBuilt, ensureInstalled, run } from './ready.mjs';

const { values } = parseArgs({
  options: { seconds: { type: 'string', default: '60' }, seed: { type: 'string', default: String(Math.floor(Math.random() * 1e9)) } },
});
for (const name of ['seconds', 'seed']) {
  if (/^\d{1,9}$/.test(values[name])) continue;
  console.error(`--${name} wants a whole number, not ${values[name]}`);
  process.exit(2);
}
ensureInstalled();
ensureBuilt();
console.log(`seed ${values.seed}`);
run(bin('vitest'), ['run', '--no-file-parallelism', 'test/pool/move-stress.test.ts', 'test/pool/move-faults.test.ts'], {
  KEYFLEET_POOL_SECONDS: values.seconds,
  KEYFLEET_POOL_SEED: values.seed,
});
