// npm run soak:ring -- [--seconds N] [--seed S]: threads look up in a SharedRing without pause while it changes, each answer compared with that of the version it came from;
// in the last of three cases threads are killed in the middle of look-ups. Each runs for N seconds. A seed repeats the changes, not the timing of the threads.
import { parseArgs } from 'node:util';
import { bin, ensureInstalled, run } from './ready.mjs';

const { values } = parseArgs({
  options: { seconds: { type: 'string', default: '60' }, seed: { type: 'string', default: String(Math.floor(Math.random() * 1e9)) } },
});
for (const name of ['seconds', 'seed']) {
  if (/^\d{1,9}$/.test(values[name])) continue;
  console.error(`--${name} wants a whole number, not ${values[name]}`);
  process.exit(2);
}
ensureInstalled();
console.log(`seed ${values.seed}`);
run(bin('vitest'), ['run', 'src/partition/shared-ring.test.ts', '-t', 'threads that read while one writes'], {
  KEYFLEET_RING_SECONDS: values.seconds,
  KEYFLEET_RING_SEED: values.seed,
});
