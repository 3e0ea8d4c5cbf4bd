import type { Bytes } from '../../base/bytes.ts';

/**
 * A reply of the Redis value module, in the terms of RESP3; the door writes it as RESP2 or RESP3 for its client.
 * The common ones are plain JavaScript values so that the hot path allocates little: a number is an integer reply (safe range; a bigint
 * beyond), bytes are a bulk string, `null` is the nil bulk string, an array is an array.
 */
export type Reply = number | bigint | Bytes | null | readonly Reply[] | TaggedReply;

export type TaggedReply =
  /** `+OK`. The shared {@link OK} for the most common. */
  | { readonly kind: 'status'; readonly text: string }
  /** `-ERR …`, the text with its code word and without the dash. */
  | { readonly kind: 'error'; readonly text: string }
  /** RESP2: a bulk string; `text` is already written as Redis writes doubles. */
  | { readonly kind: 'double'; readonly text: string }
  /** RESP2: 0 or 1. */
  | { readonly kind: 'boolean'; readonly value: boolean }
  /** RESP2: the nil array `*-1`; RESP3: `_`. */
  | { readonly kind: 'null-array' }
  /** RESP2: a flat array of keys and values. */
  | { readonly kind: 'map'; readonly pairs: readonly (readonly [Reply, Reply])[] }
  /** RESP2: a flat array, as a map; RESP3: an array of arrays of two (HRANDFIELD WITHVALUES). */
  | { readonly kind: 'pairs'; readonly pairs: readonly (readonly [Reply, Reply])[] }
  /** RESP2: an array. */
  | { readonly kind: 'set'; readonly items: readonly Reply[] }
  /** RESP3 only; RESP2: a bulk string. `format` has three letters. */
  | { readonly kind: 'verbatim'; readonly format: 'txt' | 'mkd'; readonly text: Bytes }
  /** RESP3 out-of-band message; RESP2: an array. */
  | { readonly kind: 'push'; readonly items: readonly Reply[] };

export const OK: TaggedReply = { kind: 'status', text: 'OK' };
export const NULL_ARRAY: TaggedReply = { kind: 'null-array' };

export function errorReply(text: string): TaggedReply {
  return { kind: 'error', text };
}
