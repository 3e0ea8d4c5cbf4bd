import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import { Prng } from '../../src/base/prng.ts';
import { showDuration } from '../../src/base/units.ts';
import { findNatsServer } from '../../src/nats/find-server.ts';
import { canMount, SmallDisk } from '../small-disk.ts';
import { ClusterProcesses } from './cluster-processes.ts';
import { LedgerClients, type LedgerCounts } from './ledger-clients.ts';
import { ClientDoor } from './ledger-doors.ts';
import { type Fault, faultsOf, SMALL_NATS, SMALL_NODE } from './soak-faults.ts';

// npm run soak:cluster -- [--seconds N] [--seed N] [--only TEXT]: faults by chance on a cluster of real processes, one or two at a time, while clients write. After each
// the cluster must answer again; every minute or so the answers of all clients are judged. A seed repeats what chance decided, not what the machine's timing did.
// --only: faults whose name has this text, such as "disk".

const ROUND_MS = 45_000;
/** Over HTTP. */
const CLIENTS = 8;
/** That have the map and ask the leaders themselves, from the beginning to the end. */
const CLUSTER_CLIENTS = 3;
const ANSWERS_AFTER = 40;
/** Room for the data of the node, and of the nats-server, with a small disk of its own. */
const SMALL_DISK_BYTES = 160 * 1024 * 1024;

interface Tally {
  count: number;
  slowestMs: number;
}

export async function soak(options: {
  readonly seconds: number;
  readonly seed: number;
  /** In the names of the faults that may happen. */
  readonly only: string;
  readonly say: (text: string) => void;
}): Promise<string[]> {
  const { seconds, seed, only, say } = options;
  const chance = new Prng(seed);
  const ofThisClone = join(process.cwd(), 'node_modules', '.cache', 'nats-server', 'nats-server');
  const binary = await findNatsServer({ path: existsSync(ofThisClone) ? ofThisClone : undefined });
  const [nodeDisk, natsDisk] = canMount ? [new SmallDisk(SMALL_DISK_BYTES), new SmallDisk(SMALL_DISK_BYTES)] : [];
  if (!nodeDisk) say('left out: full disks, since only root on Linux may mount small ones');
  const removeDisks = (): void => {
    nodeDisk?.remove();
    natsDisk?.remove();
  };
  const cluster = await ClusterProcesses.start({
    binary: binary.path,
    hasLinks: true,
    dirOf: (index) => (index === SMALL_NODE ? nodeDisk?.dir : undefined),
    storeDirOf: (index) => (index === SMALL_NATS && natsDisk ? join(natsDisk.dir, 'streams') : undefined),
  });
  // Ended by hand, it leaves nothing behind either.
  for (const name of ['SIGINT', 'SIGTERM'] as const) {
    process.once(name, () => {
      void cluster.stop().then(() => {
        removeDisks();
        process.exit(130);
      });
    });
  }
  const tallies = new Map<string, Tally>();
  let [answered, retried, unknown] = [0, 0, 0];
  const doors: ClientDoor[] = [];
  let wrong: string[] = [];
  try {
    for (let i = 0; i < CLUSTER_CLIENTS; i++) doors.push(await ClientDoor.open(cluster.nats.ports, chance));
    const faults = faultsOf({ cluster, chance, doors, nodeDisk, natsDisk }).filter(({ name }) => name.includes(only));
    if (faults.length === 0) throw new Error(`no fault is called ${JSON.stringify(only)}`);
    const endMs = Date.now() + seconds * 1_000;
    while (Date.now() < endMs && wrong.length === 0) {
      const work = new LedgerClients({ urls: () => cluster.urls, clients: CLIENTS, chance, doors });
      const roundEndMs = Math.min(endMs, Date.now() + ROUND_MS);
      try {
        await work.answers(ANSWERS_AFTER, 120_000);
        while (Date.now() < roundEndMs) {
          const fault = choose(faults, chance);
          work.lap();
          await fault.run(chance.below(3), work);
          await work.answers(ANSWERS_AFTER, 120_000).catch((error: Error) => {
            throw new Error(`after ${fault.name}: ${error.message}`);
          });
          const tally = tallies.get(fault.name) ?? { count: 0, slowestMs: 0 };
          const slowestMs = work.lap();
          tallies.set(fault.name, { count: tally.count + 1, slowestMs: Math.max(tally.slowestMs, slowestMs) });
          say(`${fault.name}: slowest request ${showDuration(slowestMs)}`);
        }
        wrong = await work.judge();
      } catch (error) {
        wrong = [error instanceof Error ? error.message : String(error)];
        await work.abandon();
      }
      answered += work.counts.answered;
      retried += work.counts.retried;
      unknown += work.counts.unknown;
      say(`judged: ${shown(work.counts)}, ${wrong.length} wrong`);
    }
    if (wrong.length > 0) for (const [i, id] of cluster.ids.entries()) wrong.push(`${id}: ${cluster.logOf(i).slice(-2_000)}`);
  } finally {
    await Promise.all(doors.map((door) => door.close()));
    await cluster.stop();
    removeDisks();
  }
  say(`${shown({ answered, retried, unknown })}; the slowest request with each fault:`);
  for (const [name, { count, slowestMs }] of tallies) say(`  ${String(count).padStart(4)} × ${name.padEnd(44)} ${showDuration(slowestMs)}`);
  return wrong;
}

function shown({ answered, retried, unknown }: Pick<LedgerCounts, 'answered' | 'retried' | 'unknown'>): string {
  return `${answered} answers, ${retried} asked again, ${unknown} of unknown outcome`;
}

function choose(faults: readonly Fault[], chance: Prng): Fault {
  let at = chance.below(faults.reduce((sum, { weight }) => sum + weight, 0));
  return faults.find(({ weight }) => (at -= weight) < 0)!;
}

const { values } = parseArgs({
  options: {
    seconds: { type: 'string', default: '60' },
    seed: { type: 'string', default: String(Math.floor(Math.random() * 1e9)) },
    only: { type: 'string', default: '' },
  },
});
const [seconds, seed] = [Number(values.seconds), Number(values.seed)];
if (!(seconds > 0) || !Number.isInteger(seed)) {
  console.error('--seconds and --seed are numbers above 0');
  process.exit(2);
}
console.log(`seed ${seed}`);
const wrong = await soak({ seconds, seed, only: values.only, say: (text) => console.log(text) });
for (const one of wrong) console.error(one);
const again = `--seconds ${seconds} --seed ${seed}${values.only === '' ? '' : ` --only ${JSON.stringify(values.only)}`}`;
if (wrong.length > 0) console.error(`again: npm run soak:cluster -- ${again}`);
process.exit(wrong.length === 0 ? 0 : 1);
