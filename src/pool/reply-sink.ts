import type { Bytes } from '../base/bytes.ts';
import type { KeyfleetError } from '../base/errors.ts';

/**
 * Takes the answers to requests, each with the token that went with its request. One object serves any number of requests, so that a
 * request costs no closure and no promise. Exactly one of the two is called for every request taken, in the order of the requests.
 */
export interface ReplySink<Token = unknown> {
  /** The whole reply is `bytes[start … end)`, a view that stays valid; it keeps the received chunk alive, so copy what is kept. */
  onReply(token: Token, bytes: Bytes, start: number, end: number): void;
  onFailure(token: Token, error: KeyfleetError): void;
}

/** A request as it goes on the wire: Latin-1 text (one character a byte) for what is short, bytes for what is long, or several of them. */
export type EncodedRequest = string | Bytes | readonly (string | Bytes)[];
