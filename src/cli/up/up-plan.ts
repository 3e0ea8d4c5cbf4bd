import { randomBytes } from 'node:crypto';
import { existsSync, readFileSync, renameSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { KeyfleetError, messageOf } from '../../base/errors.ts';
import { makeDirs } from '../../storage/files.ts';
import { usage } from '../terminal/usage.ts';
import { freePorts, isFreePort } from './free-port.ts';

// What `keyfleet up` runs, kept as up.json in its directory, so that the next start finds the same servers at the same ports with their data.

export interface UpNats {
  readonly name: string;
  readonly clientPort: number;
  readonly routePort: number;
  readonly monitorPort: number;
}

export interface UpNode {
  readonly name: string;
  readonly respPort: number;
  readonly httpPort: number;
}

export interface UpPlan {
  readonly version: 1;
  readonly cluster: string;
  /** Other ports are counted from here; 0: any that are free. */
  readonly basePort: number;
  readonly controlPort: number;
  /** Lets `keyfleet up start` and its like in. */
  readonly token: string;
  readonly replication: number;
  readonly nats: readonly UpNats[];
  readonly nodes: readonly UpNode[];
  /** How many there ever were: the name of one that was taken out, and whose data may still lie there, is not given again. */
  readonly nodesMade: number;
  /** For every `keyfleet serve`. */
  readonly serveArgs: readonly string[];
}

export interface UpWishes {
  readonly nodes: number | undefined;
  readonly natsServers: number | undefined;
  readonly replication: number | undefined;
  readonly basePort: number | undefined;
  readonly cluster: string | undefined;
  readonly serveArgs: readonly string[] | undefined;
}

const FILE = 'up.json';
/** The first of which all ports are free is taken. */
const BASE_PORTS = [7400, 8400, 9400, 17_400, 27_400];
const MOST = 99;
// Distances from the base port: of each kind the first server has the next port, and so on.
const RESP = 0;
const HTTP = 100;
const NATS = 200;
const ROUTE = 300;
const MONITOR = 400;

/** The plan of the directory, grown to what is wished for, or a new one. @throws KF_USAGE, KF_CONFIG, KF_LISTEN_FAILED */
export async function settlePlan(dir: string, wishes: UpWishes): Promise<UpPlan> {
  checkCount('--nodes', wishes.nodes, 1, MOST);
  checkCount('--replication', wishes.replication, 1, 5);
  if (wishes.natsServers !== undefined && ![1, 3, 5].includes(wishes.natsServers)) throw usage('--nats-servers is 1, 3 or 5');
  if (wishes.cluster !== undefined && !/^[A-Za-z0-9_-]{1,64}$/.test(wishes.cluster))
    throw usage(`a cluster cannot be called ${JSON.stringify(wishes.cluster)}`);
  let plan = readPlan(dir) ?? (await newPlan(wishes));
  refuseChange('--nats-servers', wishes.natsServers, plan.nats.length, dir);
  refuseChange('--cluster', wishes.cluster, plan.cluster, dir);
  refuseChange('--base-port', wishes.basePort, plan.basePort, dir);
  refuseChange('--replication', wishes.replication, plan.replication, dir);
  if (wishes.nodes !== undefined && wishes.nodes < plan.nodes.length)
    throw usage(`${dir} has ${plan.nodes.length} nodes; drain one and take it out with \`keyfleet up remove NAME\``);
  while (plan.nodes.length < (wishes.nodes ?? 0)) plan = await withAnotherNode(plan);
  if (wishes.serveArgs !== undefined) plan = { ...plan, serveArgs: wishes.serveArgs };
  savePlan(dir, plan);
  return plan;
}

/** @throws KF_CONFIG when it is damaged. */
export function readPlan(dir: string): UpPlan | undefined {
  const path = join(dir, FILE);
  if (!existsSync(path)) return undefined;
  try {
    const plan = JSON.parse(readFileSync(path, 'utf8')) as UpPlan;
    if (plan.version !== 1) throw new Error(`version ${plan.version} is of another release`);
    return plan;
  } catch (error) {
    throw new KeyfleetError('KF_CONFIG', `${path}: ${messageOf(error)}`, { cause: error });
  }
}

export function savePlan(dir: string, plan: UpPlan): void {
  const path = join(dir, FILE);
  try {
    makeDirs(dir, 0o700);
    writeFileSync(`${path}.new`, `${JSON.stringify(plan, null, 2)}\n`, { mode: 0o600 });
    renameSync(`${path}.new`, path);
  } catch (error) {
    throw usage(`--dir: ${messageOf(error)}`);
  }
}

/** A node more, behind the last. */
export async function withAnotherNode(plan: UpPlan): Promise<UpPlan> {
  const number = plan.nodesMade + 1;
  if (number > MOST) throw usage(`at most ${MOST} nodes`);
  const [respPort, httpPort] = await portsFor(plan.basePort, [RESP + number, HTTP + number]);
  return { ...plan, nodesMade: number, nodes: [...plan.nodes, { name: `node-${number}`, respPort: respPort!, httpPort: httpPort! }] };
}

async function newPlan({
  nodes = 3,
  natsServers = 3,
  replication = 3,
  basePort,
  cluster = 'dev',
  serveArgs = [],
}: UpWishes): Promise<UpPlan> {
  checkCount('--base-port', basePort, 0, 65_000);
  const offsets = [0, ...offsetsOf(natsServers, NATS, ROUTE, MONITOR), ...offsetsOf(nodes, RESP, HTTP)];
  const base = basePort ?? (await firstFreeBase(offsets));
  const ports = await portsFor(base, offsets);
  const next = (): number => ports.shift()!;
  const controlPort = next();
  return {
    version: 1,
    cluster,
    basePort: base,
    controlPort,
    token: randomBytes(18).toString('base64url'),
    replication,
    nats: Array.from({ length: natsServers }, (_, i) => ({
      name: `nats-${i + 1}`,
      clientPort: next(),
      routePort: next(),
      monitorPort: next(),
    })),
    nodes: Array.from({ length: nodes }, (_, i) => ({ name: `node-${i + 1}`, respPort: next(), httpPort: next() })),
    nodesMade: nodes,
    serveArgs,
  };
}

function offsetsOf(count: number, ...kinds: readonly number[]): number[] {
  return Array.from({ length: count }, (_, i) => kinds.map((kind) => kind + i + 1)).flat();
}

async function firstFreeBase(offsets: readonly number[]): Promise<number> {
  for (const base of BASE_PORTS) if ((await takenOf(offsets.map((offset) => base + offset))).length === 0) return base;
  return 0;
}

/** @throws KF_LISTEN_FAILED naming those that are taken. */
async function portsFor(base: number, offsets: readonly number[]): Promise<number[]> {
  if (base === 0) return freePorts(offsets.length);
  const ports = offsets.map((offset) => base + offset);
  await refuseTaken(ports);
  return ports;
}

/** @throws KF_LISTEN_FAILED */
export async function refuseTaken(ports: readonly number[]): Promise<void> {
  const taken = await takenOf(ports);
  if (taken.length > 0)
    throw new KeyfleetError(
      'KF_LISTEN_FAILED',
      `another process listens at ${taken.join(', ')}; end it, or give a new --dir another --base-port`,
    );
}

async function takenOf(ports: readonly number[]): Promise<number[]> {
  const free = await Promise.all(ports.map(isFreePort));
  return ports.filter((_, i) => !free[i]);
}

function checkCount(flag: string, value: number | undefined, least: number, most: number): void {
  if (value !== undefined && (!Number.isInteger(value) || value < least || value > most))
    throw usage(`${flag} is a whole number from ${least} to ${most}`);
}

function refuseChange(flag: string, wished: unknown, is: unknown, dir: string): void {
  if (wished !== undefined && wished !== is)
    throw usage(`${flag}: the cluster in ${dir} was made with ${String(is)}; take another --dir for another`);
}
