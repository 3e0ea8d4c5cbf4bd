import { assert } from '../../base/assert.ts';
import type { PoolConfig } from '../pool-config.ts';
import { PoolMap } from '../pool-map.ts';
import { slotsBetween } from './move-plan.ts';
import type { JournalView, PlannedMove } from './move-records.ts';

/** The map as the journal has it: the plan's first, and then every move in the state it is in. */
export function mapOfJournal(config: PoolConfig, map: PoolMap, { plan, states }: JournalView): PoolMap {
  assert(plan !== undefined, () => 'there is a plan');
  let now = PoolMap.fromJson(plan.start, config);
  const index = (name: string): number => now.servers.findIndex((server) => server.name === name);
  for (const move of plan.moves) {
    const state = states.get(move.id)!;
    if (state === 'pending' || state === 'before' || state === 'cancelled') continue;
    const mode = state === 'after' || state === 'done' ? 'guarded' : state;
    now = now.withMove({ id: move.id, from: index(move.from), to: index(move.to), mode }, slotsOfPlan(config, plan, move));
    if (state === 'after' || state === 'done') now = now.withoutMove(move.id, true);
  }
  return now.atEpoch(Math.max(now.epoch, map.epoch + 1));
}

/** The slots of a move of the plan. */
export function slotsOfPlan(config: PoolConfig, plan: NonNullable<JournalView['plan']>, move: PlannedMove): number[] {
  return slotsBetween(PoolMap.fromJson(plan.start, config), PoolMap.fromJson(plan.target, config), move);
}
