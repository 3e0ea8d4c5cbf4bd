import type { Cells } from '../value-module.ts';
import type { RedisValue } from './value.ts';

/** Where a collection lies: the context of a command on one key, or one of the records of a command over several. */
export interface CellHost {
  readonly cells: Cells;
  /** Of the collection as it is now, cells included. */
  readonly sizeBytes: number;
}

/** What an edit of a collection leaves: no value when it has become empty. */
export interface Edited {
  readonly value: RedisValue | undefined;
  readonly sizeBytes: number;
}
