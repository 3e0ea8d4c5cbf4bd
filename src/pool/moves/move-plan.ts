import type { Bytes } from '../../base/bytes.ts';
import { KeyfleetError } from '../../base/errors.ts';
import type { KeyRangeConfig, PoolConfig, PoolServer } from '../pool-config.ts';
import { PoolMap } from '../pool-map.ts';
import type { PlannedMove } from './move-records.ts';

/** What must move so that a pool has other servers. */
export interface ChangePlan {
  readonly title: string;
  /** Epoch of the map it was made from. */
  readonly base: number;
  /** As now, over the servers of before and after, and slots fine enough for both. */
  readonly start: PoolMap;
  /** The owners afterwards, over the same servers and slots. */
  readonly target: PoolMap;
  readonly serversAfter: readonly PoolServer[];
  /** One for every pair of servers between which slots move. */
  readonly moves: readonly PlannedMove[];
  slotsOf(move: PlannedMove): number[];
}

/**
 * Plans the change of a pool's servers to `serversAfter`, told apart by name. Rings, moduli and the other algorithms place slots as they would for a
 * new pool of these servers; the table of `slots` moves as few of them as can be, and ranges stay where they are unless `ranges` says others.
 *
 * @throws KF_POOL_PLAN when nothing changes or no server is left; KF_POOL_MAP where keys have no home (`random`).
 */
export function planChange(
  map: PoolMap,
  config: PoolConfig,
  serversAfter: readonly PoolServer[],
  title: string,
  ranges?: readonly KeyRangeConfig[],
): ChangePlan {
  if (map.hasMoves) throw new KeyfleetError('KF_POOL_MOVES_RUNNING', 'moves are under way; wait for them or cancel them first');
  if (serversAfter.length === 0) throw new KeyfleetError('KF_POOL_PLAN', 'a pool keeps at least one server');
  const names = new Set(serversAfter.map(({ name }) => name));
  if (names.size < serversAfter.length) throw new KeyfleetError('KF_POOL_PLAN', 'two servers have the same name');
  const union = [...map.servers, ...serversAfter.filter(({ name }) => !map.servers.some((server) => server.name === name))];
  if (config.distribution === 'slots') {
    const start = map.withServersByName(union);
    return planOf(map, start, stickySlots(start, serversAfter), serversAfter, title);
  }
  if (config.distribution === 'ranges' && ranges === undefined) {
    const leaving = map.servers.find(({ name }, index) => !names.has(name) && map.slotsOf(index).length > 0);
    if (leaving !== undefined)
      throw new KeyfleetError(
        'KF_POOL_PLAN',
        `${leaving.name} has ranges: say in the file which servers they go to, then give \`keyfleet pool apply FILE\``,
      );
    return planOf(map, map.withServersByName(union), map.withServersByName(union), serversAfter, title);
  }
  const pure = PoolMap.of({ ...config, servers: serversAfter, ...(ranges === undefined ? {} : { ranges }) });
  const start = map.refinedFor(pure).withServersByName(union);
  return planOf(map, start, pure.refinedFor(start).withServersByName(union), serversAfter, title);
}

/** Plans the way to a map that is already made: other owners of the same slots. */
export function planOwners(map: PoolMap, target: PoolMap, title: string): ChangePlan {
  return planOf(map, map, target, map.servers, title);
}

/** The slots that lie on `from` in one map and on `to` in the other. */
export function slotsBetween(start: PoolMap, target: PoolMap, { from, to }: { readonly from: string; readonly to: string }): number[] {
  const index = (name: string): number => start.servers.findIndex((server) => server.name === name);
  const [fromIndex, toIndex] = [index(from), index(to)];
  const slots: number[] = [];
  for (let slot = 0; slot < start.slotCount; slot++)
    if (start.ownerOf(slot) === fromIndex && target.ownerOf(slot) === toIndex) slots.push(slot);
  return slots;
}

/** Whether a key is in one of the slots. */
export function movingIn(map: PoolMap, slots: readonly number[]): (key: Bytes) => boolean {
  const set = new Uint8Array(map.slotCount);
  for (const slot of slots) set[slot] = 1;
  return (key) => set[map.slotOf(key)] === 1;
}

function planOf(map: PoolMap, start: PoolMap, target: PoolMap, serversAfter: readonly PoolServer[], title: string): ChangePlan {
  const counts = new Map<string, { from: string; to: string; slotCount: number }>();
  for (let slot = 0; slot < start.slotCount; slot++) {
    const [a, b] = [start.ownerOf(slot), target.ownerOf(slot)];
    if (a === b) continue;
    const [from, to] = [start.servers[a]!.name, target.servers[b]!.name];
    const pair = `${a} ${b}`;
    const found = counts.get(pair);
    if (found) found.slotCount++;
    else counts.set(pair, { from, to, slotCount: 1 });
  }
  const moves = [...counts.values()].map((move, index) => ({ id: `${map.pool}.${map.epoch}.${index + 1}`, ...move }));
  const same = serversAfter.length === map.servers.length && map.servers.every((server, index) => sameServer(server, serversAfter[index]));
  if (moves.length === 0 && same) throw new KeyfleetError('KF_POOL_PLAN', 'nothing changes');
  return { title, base: map.epoch, start, target, serversAfter, moves, slotsOf: (move) => slotsBetween(start, target, move) };
}

function sameServer(a: PoolServer, b: PoolServer | undefined): boolean {
  return JSON.stringify(a) === JSON.stringify(b);
}

/** Every server gets its share by weight, and no slot moves that need not. */
function stickySlots(start: PoolMap, serversAfter: readonly PoolServer[]): PoolMap {
  const total = serversAfter.reduce((sum, { weight }) => sum + weight, 0);
  const shares = start.servers.map(({ name }) => {
    const weight = serversAfter.find((server) => server.name === name)?.weight ?? 0;
    return (start.slotCount * weight) / total;
  });
  const targets = shares.map(Math.floor);
  const held = start.servers.map((_, index) => start.slotsOf(index));
  // The slots that rounding left over go where they already are, then to the largest remainders.
  const order = shares
    .map((share, index) => ({ index, rest: share - targets[index]!, spare: Number(held[index]!.length > targets[index]!) }))
    .filter(({ index }) => shares[index]! > 0)
    .sort((a, b) => b.spare * Math.ceil(b.rest) - a.spare * Math.ceil(a.rest) || b.rest - a.rest || a.index - b.index);
  const left = start.slotCount - targets.reduce((sum, target) => sum + target, 0);
  for (const { index } of order.slice(0, left)) targets[index]!++;
  const surplus = held.flatMap((slots, index) => slots.slice(targets[index]!));
  let map = start;
  for (const [index, slots] of held.entries()) {
    const wanted = targets[index]! - slots.length;
    if (wanted > 0) map = map.withOwner(surplus.splice(0, wanted), index);
  }
  return map;
}
