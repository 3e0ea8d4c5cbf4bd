import { messageOf } from '../base/errors.ts';
import { KIB } from '../base/units.ts';
import { spaceOf } from './disk-space.ts';

// What the `lmdb` package throws and rejects with, told apart.

/** A rejected commit: the reason follows in a promise of its own. */
interface CommitError extends Error {
  readonly commitError?: Promise<unknown>;
}

/** LMDB's codes for a full disk: ENOSPC, EDQUOT, EFBIG. */
const FULL_CODES: readonly unknown[] = [28, 122, 27];
/** EIO, which LMDB also says when the system wrote less than it was asked to, as on a disk that is just full. */
const EIO = 5;
/** With less room than this a disk counts as full. */
const LITTLE_ROOM_BYTES = 256 * KIB;
const REASON_MS = 1_000;

/** Hears a rejection, and the one inside it; a rejection that nobody hears ends the process. */
export function hear(error: CommitError): void {
  error.commitError?.catch(() => {});
}

/** The reason of an error of LMDB over `dir`; with the system's code ENOSPC when the disk is full. */
export async function lmdbFailure(dir: string, error: unknown): Promise<Error> {
  const { commitError } = error as CommitError;
  const reason =
    commitError &&
    (await within(
      REASON_MS,
      commitError.then(undefined, (inner: unknown) => inner),
    ));
  return withSystemCode(dir, reason ?? error);
}

/** The same for an error that is thrown, not rejected. */
export function withSystemCode(dir: string, error: unknown): Error {
  const code = (error as { code?: unknown } | undefined)?.code;
  // A failed sync has a text only.
  const hasRoom = (spaceOf(dir)?.freeBytes ?? LITTLE_ROOM_BYTES) >= LITTLE_ROOM_BYTES;
  const isFull = FULL_CODES.includes(code) || ((code === EIO || code === undefined) && !hasRoom);
  const failure: NodeJS.ErrnoException = new Error(isFull ? `no space left on device (${messageOf(error)})` : messageOf(error), {
    cause: error,
  });
  if (isFull) failure.code = 'ENOSPC';
  return failure;
}

/** Whether all of `promises` came to an end, well or badly, within `ms`. */
export async function areSettled(promises: readonly Promise<unknown>[], ms: number): Promise<boolean> {
  return (await within(ms, Promise.allSettled(promises))) !== undefined;
}

/** What `promise` resolves to, or undefined after `ms`. */
async function within<T>(ms: number, promise: Promise<T>): Promise<T | undefined> {
  let timer: NodeJS.Timeout | undefined;
  const late = new Promise<undefined>((resolve) => {
    timer = setTimeout(() => resolve(undefined), ms);
  });
  try {
    return await Promise.race([promise, late]);
  } finally {
    clearTimeout(timer);
  }
}
