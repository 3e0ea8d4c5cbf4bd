import { isKeyfleetError, KeyfleetError } from '../base/errors.ts';

/** The HTTP status of each code that reaches a client; any other code is a 500. */
const STATUS: Readonly<Record<string, number>> = {
  KF_BAD_REQUEST: 400,
  KF_BAD_RECORD: 400,
  KF_BAD_COMMAND: 400,
  KF_UNAUTHORIZED: 401,
  KF_HOST_REFUSED: 403,
  KF_NOT_FOUND: 404,
  KF_KEY_NOT_FOUND: 404,
  KF_NO_KEYSPACE: 404,
  KF_NO_SHARD: 404,
  KF_BAD_POLICY: 400,
  KF_BAD_SPLIT_POINT: 400,
  KF_KEYSPACE_NOT_EMPTY: 409,
  KF_KEYSPACE_MISMATCH: 409,
  KF_KEYSPACE_LOADING: 503,
  KF_RESTORE_RUNNING: 409,
  KF_NOT_LOADING: 409,
  KF_MODULE_MISSING: 409,
  KF_BACKUP_DAMAGED: 422,
  KF_SHARD_BUSY: 503,
  KF_SHARD_MOVED: 503,
  KF_METHOD_NOT_ALLOWED: 405,
  KF_REQUEST_TIMEOUT: 408,
  KF_WRONG_TYPE: 409,
  KF_NOT_SUPPORTED: 409,
  KF_PATCH_FAILED: 409,
  KF_PRECONDITION_FAILED: 412,
  KF_BODY_TOO_LARGE: 413,
  KF_VALUE_TOO_LARGE: 413,
  KF_KEY_TOO_LARGE: 414,
  KF_REQUEST_MISMATCH: 422,
  KF_URL_TOO_LONG: 431,
  KF_MEDIA_TYPE: 415,
  KF_NO_CLUSTER: 409,
  KF_UNKNOWN_NODE: 404,
  KF_NODE_IN_USE: 409,
  KF_SESSION_EXPIRED: 409,
  KF_UNAVAILABLE: 503,
  KF_NOT_LEADER: 503,
  KF_NODE_UNREACHABLE: 503,
  KF_LOG_LOST: 503,
  KF_LOG_NOT_LOST: 409,
  KF_ENTRY_TOO_LARGE: 413,
  KF_BUSY: 503,
  KF_CLOSED: 503,
  KF_STORAGE_BEHIND: 503,
  KF_STORAGE_FAILED: 503,
  KF_OUTCOME_UNKNOWN: 504,
  KF_DISK_FULL: 507,
};

export function statusOf(error: KeyfleetError): number {
  return STATUS[error.code] ?? 500;
}

/** The body of every answer that is an error. */
export function errorBody(error: KeyfleetError): { readonly error: { readonly code: string; readonly message: string } } {
  return { error: { code: error.code, message: error.message } };
}

/** What Fastify itself and Node throw before a handler runs, in our words; undefined for what is our own fault. */
export function foreignError(error: unknown): KeyfleetError | undefined {
  if (isKeyfleetError(error)) return error;
  const { code = '', statusCode = 500, message = '' } = (error ?? {}) as { code?: string; statusCode?: number; message?: string };
  switch (code) {
    case 'FST_ERR_CTP_BODY_TOO_LARGE':
      return new KeyfleetError('KF_BODY_TOO_LARGE', message);
    case 'FST_ERR_BAD_URL':
      return new KeyfleetError('KF_BAD_REQUEST', 'the URL is malformed: a % needs two hex digits after it');
    case 'HPE_HEADER_OVERFLOW':
      return new KeyfleetError('KF_URL_TOO_LONG', 'URL and headers are too long; send long keys by POST …/batch/get or …/batch/put');
    case 'ERR_HTTP_REQUEST_TIMEOUT':
      return new KeyfleetError('KF_REQUEST_TIMEOUT', 'the request took too long to arrive');
    default:
      if (code.startsWith('HPE_')) return new KeyfleetError('KF_BAD_REQUEST', `this is not HTTP: ${message}`);
      return statusCode >= 400 && statusCode < 500 ? new KeyfleetError('KF_BAD_REQUEST', message) : undefined;
  }
}
