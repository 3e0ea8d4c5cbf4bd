import { KeyfleetError } from '../../base/errors.ts';

/** What is wrong with a command line; names the flag. */
export function usage(message: string): KeyfleetError {
  return new KeyfleetError('KF_USAGE', message);
}
