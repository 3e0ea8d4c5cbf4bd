import { KeyfleetError } from '../base/errors.ts';

/** There is a newer version: the caller's is a late copy. */
export class NewerVersionError extends KeyfleetError {
  override readonly name = 'NewerVersionError';
  readonly version: number;
  constructor(version: number) {
    super('KF_NEWER_VERSION', `version ${version} of this value is already here; the older one was not stored`);
    this.version = version;
  }
}
