import type { Bytes } from '../../base/bytes.ts';
import type { ShardMachine } from '../shard-machine.ts';
import type { PendingRead } from './host.ts';

/** What a read finds in a replica's data at `wallMs`. @throws what the module throws; KF_SHARD_MOVED, KF_SHARD_FAULTED. */
export function answerOf<Value, Command, Reply, Query, Answer>(
  machine: ShardMachine<Value, Command, Reply, Query, Answer>,
  positionOf: (key: Bytes) => number,
  { key, query, many, look }: PendingRead,
  wallMs: number,
): unknown {
  if (look) return look();
  return many ? machine.queryMany(key, query as Query, wallMs) : machine.query(key, positionOf(key), query as Query, wallMs);
}
