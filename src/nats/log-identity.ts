import type { StreamInfo } from '@nats-io/jetstream';
import type { LogBasis } from '../shard/meta/shard-map.ts';

// What a stream says of itself in its description, given when it is made and never changed: servers make no two streams of one name, so of several
// nodes that make one at once a single description stands, and a stream that was deleted and made anew has another.

export interface LogIdentity {
  /** Given by chance. */
  readonly id: string;
  /** The entry behind which the log begins: message 1 is the entry behind that. Undefined: the shard's first. */
  readonly basis: LogBasis | undefined;
}

const DESCRIPTION = /^keyfleet log ([0-9a-f-]+)(?: behind entry (\d+) ([0-9a-f]{32}))?$/;

export function describeLog({ id, basis }: LogIdentity): string {
  return `keyfleet log ${id}${basis ? ` behind entry ${basis.seq} ${basis.hash}` : ''}`;
}

/** A stream without such a description, made by others or by an earlier release, is known by the moment it was made. */
export function identityOf({
  config,
  created,
}: Pick<StreamInfo, 'created'> & { readonly config: { readonly description?: string } }): LogIdentity {
  const [, id, seq, hash] = DESCRIPTION.exec(config.description ?? '') ?? [];
  if (id === undefined) return { id: `made ${created}`, basis: undefined };
  return { id, basis: hash === undefined ? undefined : { seq: Number(seq), hash } };
}
