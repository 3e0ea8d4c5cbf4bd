import type { Bytes } from '../base/bytes.ts';
import type { ClusterPicture } from './codec/cluster-words.ts';

/** Which clients are told MOVED: those that have asked this connection for the slots (`auto`), all, or none. For the others requests are forwarded. */
export type RedirectPolicy = 'auto' | 'always' | 'never';

/** What the Redis door knows of the cluster that it is a door of. */
export interface ClusterSource {
  /** For CLUSTER SLOTS and its like. */
  picture(): ClusterPicture;
  /** The address of whoever leads the key's shard: undefined when that is this node, or nobody is known to. */
  leaderElsewhere(key: Bytes): string | undefined;
  /** Whether this node has the key's shard, however old. */
  hasReplica(key: Bytes): boolean;
}
