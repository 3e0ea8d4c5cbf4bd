import { type Bytes, concatBytes } from '../base/bytes.ts';
import { KeyfleetError } from '../base/errors.ts';
import { murmur3Position } from '../partition/hash/murmur3-x86-128.ts';
import { sessionKey, sessionResultKey } from './key-layout.ts';
import type { Outcome } from './outcome.ts';
import { checkRequestId, type RequestId } from './request-id.ts';
import { decodeSession, encodeSession, type SessionRecord, type StoredResult } from './session-record.ts';
import type { ShardStorage } from './shard-storage.ts';
import { decodeError, encodeError } from './stored-error.ts';
import type { ValueCodec } from './value-module.ts';

// Sessions: how a request that arrives twice is run once (RIFL, SOSP '15). The result of each request is kept under (place, client, number)
// in the same batch as its effects, and forgotten when the client says that it has heard it.
//
// A *place* is one of 65,536 equal parts of the position space. Ranges are split at the edges of places, so a range of positions has the
// sessions of its keys, and a split or merge need do nothing for them. One record a place and client bounds what an idle client costs.
//
// Expiry is a time in the shard's state, raised by an entry: a session not used since counts as absent from then on, for all replicas at
// once, and its record is removed at leisure. A request first sent before that time of which nothing is known may have been run and
// forgotten, so it is refused rather than run. A record counts as used at the client's time when that is later than the log's, so that no
// request can be forgotten while its own time still lets it in.

/** Positions with the same bits above these have their sessions in one place. */
export const PLACE_SHIFT = 16;
/** So many bytes of a result lie with the session itself … */
const INLINE_BYTES = 64;
/** … and so many such results. */
const INLINE_COUNT = 16;
/** Results that a client may leave unacknowledged in one place. */
export const MAX_UNACKNOWLEDGED = 4_096;

/** What the shard says of time when a request arrives. */
export interface SessionClock {
  readonly nowMs: number;
  /** Sessions not used since have expired. */
  readonly expiredBeforeMs: number;
}

export interface SessionsOptions<Reply> {
  readonly storage: ShardStorage;
  /** The keyspace's number: sessions of one have nothing to do with those of another. */
  readonly keyspaceId: number;
  readonly replyCodec: ValueCodec<Reply>;
}

/** The sessions of one shard. */
export class Sessions<Reply> {
  readonly #options: SessionsOptions<Reply>;

  constructor(options: SessionsOptions<Reply>) {
    this.#options = options;
  }

  /** What is known of the request's client in the place of `position`. Cost: one read. @throws KF_BAD_REQUEST_ID. */
  open(request: RequestId, position: number, clock: SessionClock): OpenSession<Reply> {
    checkRequestId(request, clock.nowMs);
    return new OpenSession(this.#options, request, position, clock);
  }
}

const NOTHING: SessionRecord = { usedMs: 0, floor: 0, results: [] };

/** One client in one place, for the length of one request. */
export class OpenSession<Reply> {
  readonly #options: SessionsOptions<Reply>;
  readonly #request: RequestId;
  readonly #clock: SessionClock;
  readonly #storageKey: Bytes;
  readonly #record: SessionRecord;

  constructor(options: SessionsOptions<Reply>, request: RequestId, position: number, clock: SessionClock) {
    this.#options = options;
    this.#request = request;
    this.#clock = clock;
    this.#storageKey = sessionKey(options.keyspaceId, position - (position % (1 << PLACE_SHIFT)), request.clientId);
    const stored = options.storage.get(this.#storageKey);
    this.#record = stored ? decodeSession(stored) : NOTHING;
  }

  get #isExpired(): boolean {
    return this.#record.usedMs < this.#clock.expiredBeforeMs;
  }

  /**
   * What the request came to when it was run; undefined: it has not been run.
   * @throws KF_REQUEST_MISMATCH, when its number was another request's; KF_SESSION_EXPIRED, when that can no longer be known.
   */
  outcome(fingerprint: number): Outcome<Reply> | undefined {
    const { requestSeq, issuedMs } = this.#request;
    const { expiredBeforeMs } = this.#clock;
    if (!this.#isExpired) {
      const result = this.#record.results.find((one) => one.requestSeq === requestSeq);
      if (result && result.fingerprint !== fingerprint) {
        throw new KeyfleetError('KF_REQUEST_MISMATCH', `request ${requestSeq} of this client was another one: a number is used once`);
      }
      if (result) return this.#decode(result);
      if (requestSeq < this.#record.floor) {
        throw expired(`request ${requestSeq} was answered before, as its client said, and its result is no longer kept`);
      }
    }
    if (issuedMs !== undefined && issuedMs < expiredBeforeMs) {
      throw expired(
        `request ${requestSeq} was first sent at ${issuedMs}; what was run before ${expiredBeforeMs} is no longer remembered: it may have happened`,
      );
    }
    return undefined;
  }

  /** Keeps what the request came to, and forgets what its client has heard. @throws KF_SESSION_FULL, or what the storage throws. */
  keep(fingerprint: number, outcome: Outcome<Reply>): void {
    const { storage } = this.#options;
    const { requestSeq, ackedBelow, issuedMs = 0 } = this.#request;
    const { usedMs, floor: oldFloor, results: old } = this.#record;
    const fresh = this.#isExpired;
    const floor = fresh ? ackedBelow : Math.max(oldFloor, ackedBelow);
    const results: StoredResult[] = [];
    let inline = 0;
    for (const result of old) {
      if (!fresh && result.requestSeq >= floor) {
        results.push(result);
        if (result.body) inline++;
      } else if (!result.body) {
        storage.delete(sessionResultKey(this.#storageKey, result.requestSeq));
      }
    }
    if (results.length >= MAX_UNACKNOWLEDGED) {
      throw new KeyfleetError(
        'KF_SESSION_FULL',
        `a client left ${results.length} results unacknowledged in one place: say by ackedBelow which were heard`,
      );
    }
    const body = this.#encode(outcome);
    const isInline = body.length <= INLINE_BYTES && inline < INLINE_COUNT;
    if (!isInline) storage.put(sessionResultKey(this.#storageKey, requestSeq), body);
    const result: StoredResult = { requestSeq, kind: outcome.kind, fingerprint, body: isInline ? body : undefined };
    let at = results.length;
    while (at > 0 && results[at - 1]!.requestSeq > requestSeq) at--;
    results.splice(at, 0, result);
    storage.put(this.#storageKey, encodeSession({ usedMs: Math.max(usedMs, this.#clock.nowMs, issuedMs), floor, results }));
  }

  #encode(outcome: Outcome<Reply>): Bytes {
    return outcome.kind === 'reply' ? this.#options.replyCodec.encode(outcome.reply) : encodeError(outcome.error);
  }

  #decode({ requestSeq, kind, body: inline }: StoredResult): Outcome<Reply> {
    const body = inline ?? this.#options.storage.get(sessionResultKey(this.#storageKey, requestSeq));
    if (!body) throw new KeyfleetError('KF_DATA_DAMAGED', `the result of request ${requestSeq} is missing from its session`);
    if (kind === 'error') return { kind, error: decodeError(body) };
    return { kind, reply: this.#options.replyCodec.decode(body) };
  }
}

/** Tells requests apart that came under one number by a client's mistake. */
export function fingerprintOf(kind: number, key: Bytes, command: Bytes): number {
  return murmur3Position(concatBytes(Uint8Array.of(kind, key.length, key.length >>> 8), key, command));
}

/** When a session that lies in storage was last used. */
export function sessionUsedMs(stored: Bytes): number {
  return new DataView(stored.buffer, stored.byteOffset, stored.length).getFloat64(1);
}

function expired(message: string): KeyfleetError {
  return new KeyfleetError('KF_SESSION_EXPIRED', message);
}
