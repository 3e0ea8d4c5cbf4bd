import { KeyfleetError } from '../base/errors.ts';

/** Why a server gave no answer. */
export type BackendErrorCode =
  /** It cannot be reached, or its connection ended before the request was sent: nothing was done. */
  | 'KF_BACKEND_DOWN'
  /** It lets us in no further: a wrong password, a database that is not there, a broken TLS handshake. Nothing was done. */
  | 'KF_BACKEND_REFUSED'
  /** Too much waits for it. Nothing was done. */
  | 'KF_BACKEND_BUSY'
  /** The request was sent and no answer came: the server stalled, died, or answered what is no RESP. */
  | 'KF_OUTCOME_UNKNOWN';

/** A server of a pool gave no answer. */
export class BackendError extends KeyfleetError {
  /** The server's name. */
  readonly backend: string;

  constructor(code: BackendErrorCode, backend: string, what: string, cause?: unknown) {
    super(code, `${backend}: ${what}`, { cause, retryable: code === 'KF_BACKEND_DOWN' || code === 'KF_BACKEND_BUSY' });
    this.backend = backend;
  }
}
