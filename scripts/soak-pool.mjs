// npm run soak:pool -- [--seconds N]: keys to and fro between servers under a workload that knows every answer, while mover and servers are killed.
import { parseArgs } from 'node:util';
import { bin, ensureInstalled, run } from './ready.mjs';

const { values } = parseArgs({ options: { seconds: { type: 'string', default: '60' } } });
if (!/^\d{1,7}$/.test(values.seconds)) {
  console.error(`--seconds wants a whole number, not ${values.seconds}`);
  process.exit(2);
}
ensureInstalled();
run(bin('vitest'), ['run', 'test/pool/move-stress.test.ts'], { KEYFLEET_POOL_SECONDS: values.seconds });
