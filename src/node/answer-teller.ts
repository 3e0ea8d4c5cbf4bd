import type { Bytes } from '../base/bytes.ts';
import { KeyfleetError, messageOf } from '../base/errors.ts';
import type { ReplySink } from '../shard/reply-sink.ts';
import type { LeaderHook } from './leader-hook.ts';

/** Tells a hook of an answered query, in a later turn of the event loop, and reports what it throws. */
export function answerTeller<C, Q, A>(
  keyspace: string,
  hook: LeaderHook<C, Q, A>,
  onError: (error: Error) => void,
): (key: Bytes, query: Q, answer: A) => void {
  return (key, query, answer) => {
    setImmediate(async () => {
      try {
        await hook.onQueryAnswered?.({ keyspace, key, query, answer });
      } catch (error) {
        onError(
          new KeyfleetError('KF_HOOK_FAILED', `the hook of keyspace ${keyspace} failed at a query: ${messageOf(error)}`, { cause: error }),
        );
      }
    });
  };
}

/** Passes an answer on, and tells of it then. */
export function tellingSink<A>(sink: ReplySink<A>, tell: (answer: A) => void): ReplySink<A> {
  return {
    settled(token, answer) {
      sink.settled(token, answer);
      tell(answer);
    },
    failed: (token, error) => sink.failed(token, error),
  };
}
