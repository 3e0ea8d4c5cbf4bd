// npm run soak:kill -- [--seconds N]: the kill -9 loop for as long as you like. Exit code 0: nothing was lost.
import { parseArgs } from 'node:util';
import { killLoop } from './kill-loop.ts';

const { values } = parseArgs({ options: { seconds: { type: 'string', default: '60' } } });
const seconds = Number(values.seconds);
if (!(seconds > 0)) {
  console.error(`--seconds is a number above 0, not ${values.seconds}`);
  process.exit(2);
}
const until = Date.now() + seconds * 1_000;
let saidAt = 0;
const result = await killLoop({
  root: process.env['KEYFLEET_ROOT'] ?? process.cwd(),
  goOn: () => Date.now() < until,
  chance: Math.random,
  minRunMs: 20,
  maxRunMs: 1_500,
  onCycle: ({ cycles, acknowledged, unknownDone, unknownNotDone }) => {
    if (Date.now() - saidAt < 5_000) return;
    saidAt = Date.now();
    console.log(
      `${cycles} kills, ${acknowledged} acknowledged writes, ${unknownDone} + ${unknownNotDone} of unknown outcome (done + not done)`,
    );
  },
});
console.log(
  `${result.cycles} kills, up to ${result.mostShards} shards, ${result.acknowledged} acknowledged writes, ${result.faults.length} faults`,
);
for (const fault of result.faults) console.error(fault);
process.exit(result.faults.length === 0 ? 0 : 1);
