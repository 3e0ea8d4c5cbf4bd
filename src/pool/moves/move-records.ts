import type { PoolServer } from '../pool-config.ts';
import type { PoolMapJson } from '../pool-map.ts';

/**
 * Where a move is. What is written here has been decided; it may have to be done again after a crash.
 *
 * pending → guarded → after → done, and when cancelled guarded → held → returning → before → cancelled.
 */
export type MoveState = 'pending' | 'guarded' | 'after' | 'done' | 'held' | 'returning' | 'before' | 'cancelled';

export interface PlannedMove {
  readonly id: string;
  /** Names of servers. */
  readonly from: string;
  readonly to: string;
  readonly slotCount: number;
}

export type Wish = 'run' | 'pause' | 'cancel';

/** What the journal of a pool's moves holds. */
export type MoveRecord =
  | {
      readonly kind: 'plan';
      readonly id: string;
      readonly atMs: number;
      /** What was asked for, in words. */
      readonly title: string;
      /** The map that the moves start from: the union of servers, slots fine enough. */
      readonly start: PoolMapJson;
      /** The owners they lead to. */
      readonly target: PoolMapJson;
      /** Names. */
      readonly serversBefore: readonly string[];
      readonly serversAfter: readonly PoolServer[];
      readonly moves: readonly PlannedMove[];
      readonly dropStrays: boolean;
    }
  | { readonly kind: 'state'; readonly move: string; readonly state: MoveState }
  | { readonly kind: 'wish'; readonly wish: Wish }
  | { readonly kind: 'token'; readonly number: number }
  /** The process that the source of a move was when the guard went up there. */
  | { readonly kind: 'source'; readonly move: string; readonly runId: string }
  | { readonly kind: 'end'; readonly outcome: 'done' | 'cancelled' };

export interface JournalView {
  readonly plan: Extract<MoveRecord, { kind: 'plan' }> | undefined;
  readonly states: Map<string, MoveState>;
  readonly runIds: Map<string, string>;
  wish: Wish;
  tokenNumber: number;
}

/** What a journal's records come to. */
export function viewOf(records: readonly MoveRecord[]): JournalView {
  let plan: JournalView['plan'];
  let states = new Map<string, MoveState>();
  let runIds = new Map<string, string>();
  let wish: Wish = 'run';
  let tokenNumber = 0;
  for (const record of records) {
    switch (record.kind) {
      case 'plan':
        plan = record;
        states = new Map(record.moves.map(({ id }) => [id, 'pending']));
        runIds = new Map();
        wish = 'run';
        break;
      case 'state':
        states.set(record.move, record.state);
        break;
      case 'wish':
        wish = record.wish;
        break;
      case 'token':
        tokenNumber = Math.max(tokenNumber, record.number);
        break;
      case 'source':
        runIds.set(record.move, record.runId);
        break;
      case 'end':
        plan = undefined;
        break;
    }
  }
  return { plan, states, runIds, wish, tokenNumber };
}
