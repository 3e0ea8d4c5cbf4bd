import { KeyfleetError, messageOf } from '../base/errors.ts';

/** What a failure of the disk is called: KF_DISK_FULL, KF_VOLUME_IO; errors that have a code already stay. */
export function asStorageError(error: unknown): KeyfleetError {
  if (error instanceof KeyfleetError) return error;
  const code = (error as NodeJS.ErrnoException).code;
  if (code === 'ENOSPC' || code === 'EDQUOT')
    return new KeyfleetError('KF_DISK_FULL', 'the volume has no space left; nothing was stored', { cause: error, retryable: true });
  return new KeyfleetError('KF_VOLUME_IO', `the volume cannot be read or written: ${messageOf(error)}`, { cause: error });
}

export function isMissing(error: unknown): boolean {
  return (error as NodeJS.ErrnoException).code === 'ENOENT';
}
