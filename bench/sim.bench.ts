// How fast does simulated time pass, by what the runs are after? Seeds from 1 on, one after the other, in one process, clients and the judging of
// their histories included. The number to quote is simulated seconds a second; on a machine with other work, that a second of its processor.
//
//   npm run bench -- sim [--large] [--seeds N] [--seconds S]
import { cpus, loadavg } from 'node:os';
import { parseArgs } from 'node:util';
import { simulateCluster } from '../sim/cluster/cluster-simulation.ts';
import { HUNTS, simulate } from '../sim/simulation.ts';
import type { SimulationResult } from '../sim/simulation-result.ts';
import { showCount } from '../src/base/units.ts';

const { values: flags } = parseArgs({
  options: { large: { type: 'boolean', default: false }, seeds: { type: 'string' }, seconds: { type: 'string' } },
});
const seeds = Number(flags.seeds ?? (flags.large ? 60 : 2));
const seconds = Number(flags.seconds ?? (flags.large ? 60 : 5));
let checksum = 0;
// As `npm run sim` does with many seeds.
Error.stackTraceLimit = 0;

async function measure(name: string, run: (seed: number) => Promise<SimulationResult>): Promise<void> {
  await run(1);
  const [beganMs, beganCpu] = [performance.now(), process.cpuUsage()];
  let [simulatedMs, events, answered, faults] = [0, 0, 0, 0];
  for (let seed = 1; seed <= seeds; seed++) {
    const result = await run(seed);
    if (result.failure !== undefined) console.log(`${name}, seed ${seed}: ${result.failure}`);
    simulatedMs += result.simulatedMs;
    events += result.events;
    answered += result.answered;
    for (const count of result.faults.values()) faults += count;
    checksum = (checksum * 31 + Number.parseInt(result.traceHash, 16)) >>> 0;
  }
  const wallMs = performance.now() - beganMs;
  const { user, system } = process.cpuUsage(beganCpu);
  const cells = [simulatedMs / wallMs, simulatedMs / ((user + system) / 1_000), events / (wallMs / 1_000), answered, faults];
  console.log(`${name.padEnd(16)}${cells.map((cell) => showCount(cell).padStart(14)).join('')}`);
}

const model = cpus()[0]?.model ?? 'unknown processor';
console.log(
  `${model}, ${cpus().length} cores, load ${loadavg()[0]!.toFixed(1)}, Node ${process.versions.node}; ${seeds} seeds of ${seconds} s`,
);
console.log(`${''.padEnd(16)}${['s per s', 's per CPU s', 'events per s', 'answers', 'faults'].map((name) => name.padStart(14)).join('')}`);
await measure('all mixed', (seed) => simulate({ seed, seconds }));
for (const hunt of HUNTS) await measure(hunt, (seed) => simulate({ seed, seconds, hunt }));
await measure('no faults', (seed) => simulate({ seed, seconds, hunt: 'nothing', faults: [] }));
await measure('a whole cluster', (seed) => simulateCluster({ seed, seconds }));
console.log(`checksum ${checksum.toString(16)} (of the traces)`);
