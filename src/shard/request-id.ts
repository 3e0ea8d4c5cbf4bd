import { type Bytes, freshBytes } from '../base/bytes.ts';
import { KeyfleetError } from '../base/errors.ts';

/** Names one request of one client, so that however often it arrives it is run once. */
export interface RequestId {
  /** 1 to 255 bytes, the client's own: no two clients share one. */
  readonly clientId: Bytes;
  /** The client's number for the request; a retry has the same one. From 0. */
  readonly requestSeq: number;
  /** All requests of the client below this number have been answered and will never be sent again: their results need not be kept. */
  readonly ackedBelow: number;
  /**
   * When the client first sent the request, milliseconds since 1970; a retry has the same time. It is how a shard knows that it may have
   * forgotten a request; without it a request whose session has expired runs again.
   */
  readonly issuedMs?: number;
}

export const MAX_CLIENT_ID_BYTES = 255;
/** A client's clock may be so much ahead: its requests are remembered for longer, but not for ever. */
const MAX_AHEAD_MS = 24 * 3_600_000;

/** @throws KF_BAD_REQUEST_ID. */
export function checkRequestId(request: RequestId, nowMs: number): void {
  const { clientId, requestSeq, ackedBelow, issuedMs } = request;
  if (clientId.length < 1 || clientId.length > MAX_CLIENT_ID_BYTES) {
    throw bad(`a client id has 1 to ${MAX_CLIENT_ID_BYTES} bytes, not ${clientId.length}`);
  }
  if (!isCount(requestSeq) || !isCount(ackedBelow)) {
    throw bad(`requestSeq and ackedBelow are whole numbers from 0, not ${requestSeq} and ${ackedBelow}`);
  }
  if (ackedBelow > requestSeq) throw bad(`request ${requestSeq} says that it has been answered itself: ackedBelow is ${ackedBelow}`);
  if (issuedMs === undefined) return;
  if (!isCount(issuedMs) || issuedMs > nowMs + MAX_AHEAD_MS) {
    throw bad(`issuedMs is a time in milliseconds since 1970, at most a day ahead of the store's ${nowMs}, not ${issuedMs}`);
  }
}

function isCount(value: number): boolean {
  return Number.isSafeInteger(value) && value >= 0;
}

function bad(message: string): KeyfleetError {
  return new KeyfleetError('KF_BAD_REQUEST_ID', message);
}

/** The length of {@link encodeRequestId}'s answer. */
export function requestIdBytes({ clientId }: RequestId): number {
  return 25 + clientId.length;
}

/** [client id u8 + bytes][requestSeq f64][ackedBelow f64][issuedMs f64, NaN for none]: how a request id stands in an entry. */
export function encodeRequestId(request: RequestId): Bytes {
  const { clientId, requestSeq, ackedBelow, issuedMs } = request;
  const out = freshBytes(requestIdBytes(request));
  out[0] = clientId.length;
  out.set(clientId, 1);
  const view = new DataView(out.buffer, out.byteOffset, out.length);
  view.setFloat64(1 + clientId.length, requestSeq);
  view.setFloat64(9 + clientId.length, ackedBelow);
  view.setFloat64(17 + clientId.length, issuedMs ?? Number.NaN);
  return out;
}
