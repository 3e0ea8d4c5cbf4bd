import type { Bytes } from '../../base/bytes.ts';
import { stillLoading } from '../../shard/load.ts';
import { messagePack } from '../../shard/message-pack.ts';
import type { KeyspacePolicy } from '../../shard/policy.ts';
import { ShardMovedError } from '../../shard/shard-moved-error.ts';
import type { PositionRange } from '../../shard/shard-state.ts';
import type { ValueCodec } from '../../shard/value-module.ts';
import type { ScannedRecord } from '../keyspace-handle.ts';
import { cutOf } from '../shard-cut.ts';
import type { AnyModule, HostedShard } from './hosted-shard.ts';

// What can be asked of a whole shard, wherever it is: some of its records, one by chance, or how many there are.

export type LookRequest = { readonly position: number } & (
  | { readonly what: 'scan'; readonly limit: number; readonly end: number }
  /** `unit`: a random number in [0, 1). */
  | { readonly what: 'sample'; readonly unit: number }
  | { readonly what: 'counts' }
  /** Where to cut it in halves. */
  | { readonly what: 'middle'; readonly policy: KeyspacePolicy; readonly loadPerSecond: number }
);

export interface LookAnswer {
  /** Of the shard that was asked. */
  readonly range: PositionRange;
  readonly keyCount: number;
  readonly sizeBytes: number;
  readonly expiringCount: number;
  readonly shard: number;
  /** The number of its last entry. */
  readonly applied: number;
  /** The restore that fills it, or has filled it; empty: none. */
  readonly loadId: string;
  readonly isLoading: boolean;
  readonly records: readonly ScannedRecord<unknown>[];
  /** Where the scan goes on, undefined: at the end of the shard's range; or where to cut the shard, undefined: nowhere. */
  readonly next: number | undefined;
}

/** @throws KF_SHARD_MOVED when the shard does not serve that place. */
export function lookAt(shard: HostedShard, request: LookRequest): LookAnswer {
  const { position } = request;
  const machine = shard.machine!;
  const { id, range, table, keyCount, sizeBytes, expiringCount, applied, loadId, status } = machine.state;
  const isLoading = status === 'loading';
  const isInside = position >= range.from && position < range.to;
  if (!isInside || !(machine.isServing || isLoading)) throw new ShardMovedError(machine.state, position);
  if (isLoading && request.what !== 'counts') throw stillLoading(machine.state);
  const counts = { range, keyCount, sizeBytes, expiringCount, shard: id, applied, loadId, isLoading };
  const nowMs = Math.max(shard.wallMs, machine.state.nowMs);
  switch (request.what) {
    case 'counts':
      return { ...counts, records: [], next: undefined };
    case 'middle':
      return { ...counts, records: [], next: cutOf(machine, request.policy, request.loadPerSecond) };
    case 'sample': {
      const record = shard.scanner.sample({ table, range, unit: request.unit, nowMs });
      return { ...counts, records: record ? [record] : [], next: undefined };
    }
    case 'scan': {
      const end = Math.min(request.end, range.to);
      return { ...counts, ...shard.scanner.page({ table, cursor: position, limit: request.limit, end, nowMs }) };
    }
  }
}

/** Values go as their module writes them. */
export function lookAnswerCodec({ codec }: AnyModule): ValueCodec<unknown> {
  return {
    encode: (value) => {
      const answer = value as LookAnswer;
      const records = answer.records.map((record) => ({ ...record, value: codec.encode(record.value) }));
      return messagePack().encode({ ...answer, records });
    },
    decode: (bytes) => {
      const answer = messagePack<LookAnswer>().decode(bytes);
      return { ...answer, records: answer.records.map((record) => ({ ...record, value: codec.decode(record.value as Bytes) })) };
    },
  };
}
