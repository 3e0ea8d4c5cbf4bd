import type { KeyfleetError } from '../../base/errors.ts';
import type { PoolConfig, PoolServer } from '../pool-config.ts';
import type { PoolMap } from '../pool-map.ts';
import type { ServerAddress } from './move-link.ts';
import type { PaceLimits } from './move-pace.ts';
import type { MoveState } from './move-records.ts';
import type { WalkLimits } from './move-walk.ts';

/** All routers of a pool, as the engine sees them. */
export interface RouterBarrier {
  /**
   * Resolves once every router goes by `map` and everything that each began before is answered, or the router is fenced out for good: none of its operations can reach a
   * server any more.
   */
  publish(map: PoolMap): Promise<void>;
  /** The foreground's p99 of the last moment, in ms; undefined when nobody measured. */
  foregroundP99Ms?(): number | undefined;
}

export interface MoveEngineOptions {
  readonly config: PoolConfig;
  /** The map that the pool goes by, when the journal has none that is newer. */
  readonly map: PoolMap;
  readonly routers: RouterBarrier;
  readonly journalPath: string;
  /** Keeps a map before routers see it. */
  readonly saveMap: (map: PoolMap) => void | Promise<void>;
  /** How to be let in by a server. */
  readonly addressOf: (server: PoolServer) => ServerAddress;
  readonly limits?: Partial<WalkLimits>;
  readonly pace?: PaceLimits;
  readonly onEvent?: (event: MoveEvent) => void;
  readonly timeoutMs?: number;
}

/** For logs, and for tests that want to end the process at a certain step. */
export type MoveEvent =
  | { readonly kind: 'state'; readonly move: string; readonly state: MoveState }
  | { readonly kind: 'step'; readonly move: string; readonly step: string }
  | { readonly kind: 'trouble'; readonly error: KeyfleetError };
