import { InvariantError } from '../base/assert.ts';
import { KeyfleetError } from '../base/errors.ts';
import type { ControlOutcome } from './control-command.ts';

/** What a command came to: a reply, or an error that every replica has alike. */
export type Outcome<Reply> = { readonly kind: 'reply'; readonly reply: Reply } | { readonly kind: 'error'; readonly error: unknown };

/** What a storage refuses a write with. */
const STORAGE_TROUBLES: readonly string[] = ['KF_DISK_FULL', 'KF_STORAGE_FAILED', 'KF_STORAGE_BEHIND'];

/** The storage's troubles and our own mistakes are this replica's alone; what the module says, every replica says. */
export function isOursAlone(error: unknown): boolean {
  if (!(error instanceof Error) || error instanceof InvariantError) return true;
  return error instanceof KeyfleetError && STORAGE_TROUBLES.includes(error.code);
}

/** @throws what is this replica's alone. */
export function outcomeOf<Reply>(run: () => Reply): Outcome<Reply> {
  try {
    return { kind: 'reply', reply: run() };
  } catch (error) {
    if (isOursAlone(error)) throw error;
    return { kind: 'error', error };
  }
}

/** The reply, or the error thrown. */
export function told<Reply>(outcome: Outcome<Reply>): Reply {
  if (outcome.kind === 'error') throw outcome.error;
  return outcome.reply;
}

/** What became of an entry from a log. */
export type Applied<Reply> =
  /**
   * `replies` has one for each command; an Error for one that failed, and undefined for those that answer nobody. `changed`: whether it changed
   * something, which a request does not that failed or was answered only.
   */
  | {
      readonly kind: 'applied';
      readonly replies: readonly (Reply | Error | undefined)[];
      readonly changed: readonly boolean[];
      readonly control?: ControlOutcome;
    }
  /** Of a leader that has been replaced, or behind another entry than it was meant for: in the log, and without effect. */
  | { readonly kind: 'stale' }
  /** Not the entry behind the last one: entries are missing, or it was run before. */
  | { readonly kind: 'gap'; readonly expectedSeq: number }
  /** It takes over another shard, of which this replica must first run entry `seq`. */
  | { readonly kind: 'waits'; readonly shard: number; readonly seq: number }
  /** It follows from another past than ours. The shard is faulted from now on. */
  | { readonly kind: 'fault' };
