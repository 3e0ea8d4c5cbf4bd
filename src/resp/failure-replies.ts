import { isKeyfleetError, messageOf } from '../base/errors.ts';
import { CROSS_SLOT } from '../shard/redis/error-replies.ts';
import { errorReply, type TaggedReply } from '../shard/redis/reply.ts';

/**
 * What a client reads when the store refuses or fails. The first word is one that Redis clients know: `MISCONF` when nothing can be written,
 * `LOADING` while a backup is being restored, `CLUSTERDOWN` when nobody leads the shard of the key for now (cluster clients try again by themselves; nothing was done), `BUSY` when the very
 * same request may succeed later, else `ERR`; then the `KF_…` code and its message.
 */
export function replyOfFailure(error: unknown): TaggedReply {
  if (!isKeyfleetError(error)) return errorReply(`ERR internal error: ${messageOf(error)}`);
  const { code, message } = error;
  if (/^KF_CROSS_(SLOT|SHARD)$/.test(code)) return CROSS_SLOT;
  const word = WORDS[code] ?? (error.retryable ? 'BUSY' : 'ERR');
  return errorReply(`${word} ${code} ${message}`);
}

const WORDS: Readonly<Record<string, string>> = {
  KF_DISK_FULL: 'MISCONF',
  KF_STORAGE_FAILED: 'MISCONF',
  KF_KEYSPACE_LOADING: 'LOADING',
  KF_UNAVAILABLE: 'CLUSTERDOWN',
  KF_NOT_LEADER: 'CLUSTERDOWN',
  KF_NODE_UNREACHABLE: 'CLUSTERDOWN',
};
