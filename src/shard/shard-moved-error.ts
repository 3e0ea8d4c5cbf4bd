import { KeyfleetError } from '../base/errors.ts';
import type { ShardState } from './shard-state.ts';

/** The shard stopped for good, since what came next does not follow from its state. */
export function faulted(id: number, applied: number): KeyfleetError {
  return new KeyfleetError('KF_SHARD_FAULTED', `shard ${id} stopped at entry ${applied}: the next one does not follow from its state`);
}

/**
 * A redirect: the shard does not serve that key, or not now. The command was not run and is not recorded, so whoever routes finds out which
 * shard has the key and asks that one. Doors and the TypeScript client do so by themselves.
 */
export class ShardMovedError extends KeyfleetError {
  /** The shard that was asked. */
  readonly shard: number;

  constructor(state: ShardState, position: number | undefined) {
    const { id, range, status } = state;
    const what = position === undefined ? 'its keys' : `position ${position}`;
    super('KF_SHARD_MOVED', `shard ${id} does not serve ${what}: it has [${range.from}, ${range.to}) and is ${status}; ask again`, {
      retryable: true,
    });
    this.shard = id;
  }
}
