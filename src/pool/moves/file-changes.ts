/** What changes when the file of a pool is read again: what can be taken while the pool works, what becomes a plan, and what cannot be had. */
import { KeyfleetError } from '../../base/errors.ts';
import { formatServer, type KeyRangeConfig, type PoolConfig, type PoolServer, showAddress } from '../pool-config.ts';
import { PoolMap } from '../pool-map.ts';

/** Servers, and for `ranges` the ranges, that a pool is to have. */
export interface WantedServers {
  readonly servers: readonly PoolServer[];
  readonly ranges?: readonly KeyRangeConfig[] | undefined;
}

type Setting = keyof PoolConfig;

/** Settings that say where keys lie, by their names in the file. */
const PLACEMENT: Readonly<Partial<Record<Setting, string>>> = {
  distribution: 'distribution',
  hash: 'hash',
  hashTag: 'hash_tag',
  slots: 'slots',
  rangeBy: 'range_by',
  db: 'redis_db',
  cluster: 'cluster',
};

/** Settings that a proxy looks at when it starts. */
const AT_START: Readonly<Partial<Record<Setting, string>>> = {
  listen: 'listen',
  listenTls: 'listen_tls',
  backlog: 'backlog',
  workers: 'workers',
  redirects: 'redirects',
  control: 'owner',
  stats: 'stats',
  redis: 'redis',
};

/** The settings of a changed file that differ and cannot be taken by what works: `placement` never, the others by the next start. */
export function untaken(before: PoolConfig, after: PoolConfig): { readonly placement: string[]; readonly atStart: string[] } {
  const differing = (settings: Readonly<Partial<Record<Setting, string>>>): string[] =>
    Object.entries(settings)
      .filter(([name]) => !isSame(before[name as Setting], after[name as Setting]))
      .map(([, shown]) => shown);
  return { placement: differing(PLACEMENT), atStart: differing(AT_START) };
}

/** A changed file with all that cannot be taken as it was. */
export function takeable(before: PoolConfig, after: PoolConfig): PoolConfig {
  const kept: Record<string, unknown> = { ...after };
  for (const name of ['servers', 'ranges', ...Object.keys(PLACEMENT), ...Object.keys(AT_START)] as Setting[]) {
    if (before[name] === undefined) delete kept[name];
    else kept[name] = before[name];
  }
  return kept as unknown as PoolConfig;
}

/** @throws KF_POOL_PLAN when settings that say where keys lie have changed. */
export function checkPlacement(before: PoolConfig, after: PoolConfig): void {
  const { placement } = untaken(before, after);
  if (placement.length > 0)
    throw new KeyfleetError(
      'KF_POOL_PLAN',
      `${placement.join(', ')} cannot change while keys are there: they would all lie elsewhere. Make a new pool, and copy the keys`,
    );
}

/** Whether a file asks for other servers, or ranges, than it did. */
export function asksForOthers(before: WantedServers, after: WantedServers): boolean {
  return !isSame(before.servers, after.servers) || !isSame(before.ranges, after.ranges);
}

/**
 * The servers of a pool with what has changed in its file between two readings: added, removed, of another weight or zone. What the file has said all along is not
 * asked for again, since the pool may have gone on without the file.
 */
export function withChanges(now: readonly PoolServer[], before: readonly PoolServer[], after: readonly PoolServer[]): PoolServer[] {
  const named = (list: readonly PoolServer[], name: string): PoolServer | undefined => list.find((server) => server.name === name);
  const stay = now.filter(({ name }) => named(before, name) === undefined || named(after, name) !== undefined);
  const changed = stay.map((server) => {
    const wanted = named(after, server.name);
    return wanted === undefined || isSame(named(before, server.name), wanted) ? server : wanted;
  });
  return [...changed, ...after.filter(({ name }) => named(before, name) === undefined && named(now, name) === undefined)];
}

/** @throws KF_POOL_PLAN when a server is to have another address: it takes its keys with it, which is no matter of slots. */
export function checkAddresses(now: readonly PoolServer[], wanted: readonly PoolServer[]): void {
  for (const server of wanted) {
    const there = now.find(({ name }) => name === server.name);
    if (there !== undefined && !isSame(there.address, server.address))
      throw new KeyfleetError(
        'KF_POOL_PLAN',
        `${server.name} is at ${showAddress(there.address)}: to bring it with its keys to another address, give \`${moveCommand(server)}\` first`,
      );
  }
}

/** Whether a pool is as wanted already. */
export function isThere(map: PoolMap, config: PoolConfig, { servers, ranges }: WantedServers): boolean {
  if (!isSame(map.servers, servers)) return false;
  if (ranges === undefined) return true;
  const wanted = PoolMap.of({ ...config, servers, ranges });
  const now = map.refinedFor(wanted);
  const then = wanted.refinedFor(now);
  for (let slot = 0; slot < now.slotCount; slot++) if (now.ownerOf(slot) !== then.ownerOf(slot)) return false;
  return true;
}

/** The commands that turn the servers of a pool into others while it works, in an order in which they can be given. */
export function changeCommands(now: readonly PoolServer[], wanted: readonly PoolServer[]): string[] {
  const commands: string[] = [];
  for (const server of wanted) {
    const there = now.find(({ name }) => name === server.name);
    if (there === undefined) commands.push(`keyfleet pool add ${quoted(formatServer(server))}`);
    else if (!isSame(there.address, server.address)) commands.push(moveCommand(server));
    if (there !== undefined && there.weight !== server.weight) commands.push(`keyfleet pool reweight ${server.name} ${server.weight}`);
  }
  for (const { name } of now) if (!wanted.some((server) => server.name === name)) commands.push(`keyfleet pool remove ${name}`);
  return commands;
}

function moveCommand({ name, address }: PoolServer): string {
  return `keyfleet pool move ${name} ${showAddress(address)}`;
}

function quoted(text: string): string {
  return text.includes(' ') ? `'${text}'` : text;
}

function isSame(a: unknown, b: unknown): boolean {
  return JSON.stringify(a) === JSON.stringify(b);
}
