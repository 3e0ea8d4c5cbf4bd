import { DiscardPolicy, type Placement, RetentionPolicy, StorageType, type StreamConfig } from '@nats-io/jetstream';
import { KeyfleetError } from '../base/errors.ts';

/** What a stream must be to be a shard's log, and what it may not have: each of these would let entries go or change behind our back. */
export interface LogStream {
  /** Of the stream. Its one subject has the same name. */
  readonly name: string;
  /** 1, 3 or 5 servers hold it. */
  readonly replicas: number;
  /** Where NATS may put it: a cluster, tags. */
  readonly placement?: Placement;
  /** Of a new one: who it is. */
  readonly description?: string;
}

export function streamConfig(log: LogStream): Partial<StreamConfig> & { name: string } {
  return {
    name: log.name,
    subjects: [log.name],
    storage: StorageType.File,
    retention: RetentionPolicy.Limits,
    discard: DiscardPolicy.New,
    num_replicas: log.replicas,
    max_age: 0,
    max_msgs: -1,
    max_bytes: -1,
    max_msgs_per_subject: -1,
    max_msg_size: -1,
    deny_delete: true,
    deny_purge: false,
    allow_rollup_hdrs: false,
    allow_direct: false,
    ...(log.placement === undefined ? {} : { placement: log.placement }),
    ...(log.description === undefined ? {} : { description: log.description }),
  };
}

const FIXED = [
  'storage',
  'retention',
  'discard',
  'max_age',
  'max_msgs',
  'max_bytes',
  'max_msgs_per_subject',
  'max_msg_size',
  'deny_delete',
  'deny_purge',
  'allow_rollup_hdrs',
  'allow_direct',
] as const;

/** Checks a stream that is there already. Its number of replicas may be another one: that changes while nodes come and go. @throws KF_LOG_UNSAFE */
export function checkStream(log: LogStream, found: StreamConfig): void {
  const wanted = streamConfig(log) as Partial<StreamConfig>;
  const wrong: string[] = [];
  for (const field of FIXED) {
    // Older servers leave out what is false.
    const value = found[field] ?? false;
    if (value !== wanted[field]) wrong.push(`${field} is ${JSON.stringify(value)} and must be ${JSON.stringify(wanted[field])}`);
  }
  if (found.subjects.length !== 1 || found.subjects[0] !== log.name) wrong.push(`its subjects are ${found.subjects.join(', ')}`);
  if (found.compression !== undefined && found.compression !== 'none') wrong.push(`it is compressed (${found.compression})`);
  if (found.sealed || found.mirror || (found.sources?.length ?? 0) > 0) wrong.push('it is sealed, a mirror, or fed from other streams');
  if (wrong.length > 0) throw new KeyfleetError('KF_LOG_UNSAFE', `stream ${log.name} cannot be a shard's log: ${wrong.join('; ')}`);
}
