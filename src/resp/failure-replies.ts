import { isKeyfleetError, messageOf } from '../base/errors.ts';
import { CROSS_SLOT } from '../shard/redis/error-replies.ts';
import { errorReply, type TaggedReply } from '../shard/redis/reply.ts';

/**
 * What a client reads when the store refuses or fails. The first word is one that Redis clients know: `MISCONF` when nothing can be written,
 * `BUSY` when the very same request may succeed later, else `ERR`; then the `KF_…` code and its message.
 */
export function replyOfFailure(error: unknown): TaggedReply {
  if (!isKeyfleetError(error)) return errorReply(`ERR internal error: ${messageOf(error)}`);
  const { code, message } = error;
  if (/^KF_CROSS_(SLOT|SHARD)$/.test(code)) return CROSS_SLOT;
  const word = /^KF_(DISK_FULL|STORAGE_FAILED)$/.test(code) ? 'MISCONF' : error.retryable ? 'BUSY' : 'ERR';
  return errorReply(`${word} ${code} ${message}`);
}
