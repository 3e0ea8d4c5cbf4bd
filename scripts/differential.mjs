// `npm run differential -- [--seconds N] [--seed N]`: random commands against a real redis-server and against Keyfleet, replies compared.
import { parseArgs } from 'node:util';
import { bin, ensureInstalled, run } from './ready.mjs';

const { values } = parseArgs({ options: { seconds: { type: 'string', default: '60' }, seed: { type: 'string' } } });
for (const [name, value] of Object.entries(values)) {
  if (/^\d{1,10}$/.test(value)) continue;
  console.error(`--${name} wants a whole number, not ${value}`);
  process.exit(2);
}
ensureInstalled();
run(bin('vitest'), ['run', 'test/redis-differential'], {
  KEYFLEET_DIFFERENTIAL_SECONDS: values.seconds,
  ...(values.seed === undefined ? {} : { KEYFLEET_DIFFERENTIAL_SEED: values.seed }),
});
