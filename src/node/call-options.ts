import { isKeyfleetError, KeyfleetError } from '../base/errors.ts';
import type { AckLevel } from '../shard/replica/acks.ts';
import type { RequestId } from '../shard/request-id.ts';
import type { ReadMode } from './keyspace-handle.ts';

// How long a call may take and how often it is tried. One process on one disk has little to wait for, so the defaults let an answer come when
// it comes and report errors at once; they cost nothing then.

export interface CallOptions {
  /** How long one attempt may take. Default: as long as it takes. */
  readonly timeoutMs?: number;
  /** How often it is tried again after an error that says nothing was done; with a request id, also when the outcome is unknown. Default: 0. */
  readonly retries?: number;
  /** Default: 1,000. */
  readonly retryIntervalMs?: number;
  /** How often it is tried again when the key's shard is just being split or merged. Default: 3. */
  readonly shardLockRetries?: number;
  /** Default: 200. */
  readonly shardLockRetryIntervalMs?: number;
}

export interface CommandOptions extends CallOptions {
  /** When it is answered: as the log has it, the leader's disk too, or two disks. On one machine the log is the disk, and all are one. Default: `log+1`. */
  readonly ack?: AckLevel;
  /** Names the request, so that it is run once however often it is sent; see `Store.session`. */
  readonly request?: RequestId;
}

export interface QueryOptions extends CallOptions {
  /** `lease` and `barrier`: linearizable, one way or the other. `local`: what this process sees now, which a crash may yet undo. Default: `lease`. */
  readonly read?: ReadMode;
}

/** What holds where a call says nothing else. */
export const CALL_DEFAULTS = {
  timeoutMs: Number.POSITIVE_INFINITY,
  retries: 0,
  retryIntervalMs: 1_000,
  shardLockRetries: 3,
  shardLockRetryIntervalMs: 200,
} as const satisfies CallOptions;

const ACKS: readonly AckLevel[] = ['log', 'log+1', 'log+quorum'];
const READS: readonly ReadMode[] = ['lease', 'barrier', 'local'];
/** The longest that a timer can wait. */
const MAX_TIMER_MS = 2 ** 31 - 1;

/**
 * Calls `attempt` until it succeeds or the options allow no more. `isRepeatable`: doing it twice is doing it once.
 * @throws KF_BAD_OPTION; what the last attempt threw; when it did not answer in time, KF_TIMED_OUT, or KF_OUTCOME_UNKNOWN when it may have changed something.
 */
export async function callWithRetries<T>(
  attempt: () => Promise<T>,
  options: CommandOptions & QueryOptions,
  call: { readonly isRepeatable: boolean; readonly changes: boolean },
): Promise<T> {
  const settled = checked(options);
  let retries = settled.retries;
  let lockRetries = settled.shardLockRetries;
  while (true) {
    try {
      return await inTime(attempt(), settled.timeoutMs, call.changes);
    } catch (error) {
      if (!isKeyfleetError(error)) throw error;
      if (error.code === 'KF_SHARD_MOVED' && lockRetries-- > 0) await pause(settled.shardLockRetryIntervalMs);
      else if (mayRetry(error, call.isRepeatable) && retries-- > 0) await pause(settled.retryIntervalMs);
      else throw error;
    }
  }
}

function mayRetry(error: KeyfleetError, isRepeatable: boolean): boolean {
  return error.retryable || (isRepeatable && (error.code === 'KF_OUTCOME_UNKNOWN' || error.code === 'KF_TIMED_OUT'));
}

function checked(options: CommandOptions & QueryOptions): Required<CallOptions> {
  mustBeOneOf('ack', options.ack, ACKS);
  mustBeOneOf('read', options.read, READS);
  const settled = {
    timeoutMs: options.timeoutMs ?? CALL_DEFAULTS.timeoutMs,
    retries: options.retries ?? CALL_DEFAULTS.retries,
    retryIntervalMs: options.retryIntervalMs ?? CALL_DEFAULTS.retryIntervalMs,
    shardLockRetries: options.shardLockRetries ?? CALL_DEFAULTS.shardLockRetries,
    shardLockRetryIntervalMs: options.shardLockRetryIntervalMs ?? CALL_DEFAULTS.shardLockRetryIntervalMs,
  };
  mustBeTime('timeoutMs', settled.timeoutMs);
  mustBeCount('retries', settled.retries);
  mustBeTime('retryIntervalMs', settled.retryIntervalMs);
  mustBeCount('shardLockRetries', settled.shardLockRetries);
  mustBeTime('shardLockRetryIntervalMs', settled.shardLockRetryIntervalMs);
  return settled;
}

function mustBeOneOf<T extends string>(name: string, value: T | undefined, known: readonly T[]): void {
  if (value === undefined || known.includes(value)) return;
  throw new KeyfleetError('KF_BAD_OPTION', `${name} is ${known.join(', ')}, not ${JSON.stringify(value)}`);
}

function mustBeTime(name: string, value: number): void {
  if (value >= 0 && (value <= MAX_TIMER_MS || value === Number.POSITIVE_INFINITY)) return;
  throw new KeyfleetError('KF_BAD_OPTION', `${name} is a number of milliseconds from 0, not ${value}`);
}

function mustBeCount(name: string, value: number): void {
  if (value >= 0 && Number.isInteger(value)) return;
  throw new KeyfleetError('KF_BAD_OPTION', `${name} is a whole number from 0, not ${value}`);
}

function inTime<T>(answer: Promise<T>, timeoutMs: number, changes: boolean): Promise<T> {
  if (timeoutMs > MAX_TIMER_MS) return answer;
  return new Promise((resolve, reject) => {
    const timer = setTimeout(() => {
      reject(
        changes
          ? new KeyfleetError('KF_OUTCOME_UNKNOWN', `no answer within ${timeoutMs} ms; the command may have been run`)
          : new KeyfleetError('KF_TIMED_OUT', `no answer within ${timeoutMs} ms`, { retryable: true }),
      );
    }, timeoutMs);
    answer.then(resolve, reject).finally(() => clearTimeout(timer));
  });
}

function pause(ms: number): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, ms));
}
