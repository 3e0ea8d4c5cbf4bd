/**
 * Errors of the world: bad input, a missing node, a full disk. Each carries a stable `KF_…` code, the only field to branch on;
 * `docs/errors.md` lists them all. A subclass exists only where some caller does something different because of it.
 * Our own mistakes are not errors of this kind: see {@link ./assert.ts}.
 */
export class KeyfleetError extends Error {
  override readonly name: string = 'KeyfleetError';
  readonly code: ErrorCode;
  /** The very same request may succeed later. */
  readonly retryable: boolean;

  constructor(code: ErrorCode, message: string, options: { readonly cause?: unknown; readonly retryable?: boolean } = {}) {
    super(message, options.cause === undefined ? undefined : { cause: options.cause });
    this.code = code;
    this.retryable = options.retryable ?? false;
  }
}

export type ErrorCode = `KF_${string}`;

export function isKeyfleetError(error: unknown): error is KeyfleetError {
  return error instanceof KeyfleetError;
}

/** The text of anything thrown, for the message of an error that wraps it. */
export function messageOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}
