import { Packr, UnpackrStream } from 'msgpackr';
import type { Bytes } from '../base/bytes.ts';
import { KeyfleetError, messageOf } from '../base/errors.ts';

// What travels between the master and the volumes when many small values move at once: MessagePack, one document a request, and for
// values a stream of documents.

export const packr = new Packr({ useRecords: false });

/** A batch request from the master to the target of a move: fetch these from `from` and store them. */
export interface PullRequest {
  readonly from: string;
  readonly values: readonly { readonly key: Bytes; readonly version: number }[];
}

/** Per value of a {@link PullRequest}: what is now stored, or why not. `absent`: the source has none. */
export type PullResult =
  | { readonly ok: true; readonly sha256: string; readonly sizeBytes: number }
  | { readonly ok: false; readonly code: 'absent' | string; readonly message: string };

/** One value of a batch read. */
export type WireValue =
  | { readonly key: Bytes; readonly body: Bytes; readonly contentType: string; readonly sha256: string }
  | { readonly key: Bytes; readonly missing: true }
  | { readonly key: Bytes; readonly error: string; readonly message: string };

export function decode<T>(bytes: Bytes): T {
  try {
    return packr.unpack(bytes) as T;
  } catch (error) {
    throw new KeyfleetError('KF_BAD_REQUEST', `the body is not MessagePack: ${messageOf(error)}`, { cause: error });
  }
}

/** A transform from bytes to the documents in them. */
export function documents(): UnpackrStream {
  return new UnpackrStream({ useRecords: false });
}
