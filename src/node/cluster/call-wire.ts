import { ByteReader, ByteWriter } from '../../base/byte-stream.ts';
import { type Bytes, fromUtf8, utf8 } from '../../base/bytes.ts';
import { KeyfleetError } from '../../base/errors.ts';
import type { AckLevel } from '../../shard/replica/acks.ts';
import type { RequestId } from '../../shard/request-id.ts';
import { decodeError, encodeError } from '../../shard/stored-error.ts';
import type { ReadMode } from '../replica-driver.ts';

// Requests that one node sends another to be run on a shard that the other leads, many in one message, and what became of them.
//
//   calls      [version][call …]
//   call       [kind u8][flags u8][keyspace u32][deadline in ms u32] ([minSeq f64]) ([request id]) [key][body]
//   outcomes   [version][outcome …]
//   outcome    [0][reply]   or   [1][leader][error]      bytes and texts behind their lengths

const VERSION = 1;
const KINDS = ['command', 'command-many', 'query', 'query-many', 'look', 'clear', 'load'] as const;
const READS = ['lease', 'barrier', 'local'] as const satisfies readonly ReadMode[];
const ACKS = ['log+1', 'log', 'log+quorum'] as const satisfies readonly AckLevel[];
const HAS_REQUEST = 0x10;
const HAS_MIN_SEQ = 0x20;

export type CallKind = (typeof KINDS)[number];

export interface WireCall {
  readonly kind: CallKind;
  /** 0: the meta shard. */
  readonly keyspaceId: number;
  /** So long whoever asks still waits. */
  readonly deadlineMs: number;
  readonly key: Bytes;
  /** The command or query. */
  readonly body: Bytes;
  readonly request?: RequestId;
  readonly read: ReadMode;
  readonly ack: AckLevel;
  readonly minSeq: number;
}

export type WireOutcome =
  | { readonly kind: 'done'; readonly reply: Bytes }
  /** `leader`: who leads the shard as far as the other node knows; empty: nobody. */
  | { readonly kind: 'failed'; readonly error: Error; readonly leader: string };

export function encodeCalls(calls: readonly WireCall[]): Bytes {
  const out = new ByteWriter(1024);
  out.u8(VERSION);
  for (const { kind, keyspaceId, deadlineMs, key, body, request, read, ack, minSeq } of calls) {
    out.u8(KINDS.indexOf(kind));
    out.u8(READS.indexOf(read) | (ACKS.indexOf(ack) << 2) | (request ? HAS_REQUEST : 0) | (minSeq > 0 ? HAS_MIN_SEQ : 0));
    out.u32(keyspaceId).u32(Math.max(0, Math.ceil(deadlineMs)));
    if (minSeq > 0) out.f64(minSeq);
    if (request) {
      out.u8(request.clientId.length).bytes(request.clientId).f64(request.requestSeq).f64(request.ackedBelow);
      out.f64(request.issuedMs ?? Number.NaN);
    }
    out.sized(key).sized(body);
  }
  return out.finish();
}

/** @throws KF_NODE_INCOMPATIBLE */
export function decodeCalls(bytes: Bytes): WireCall[] {
  const reader = versioned(bytes);
  const calls: WireCall[] = [];
  while (!reader.atEnd) {
    const kind = KINDS[reader.u8()];
    const flags = reader.u8();
    const read = READS[flags & 3];
    const ack = ACKS[(flags >> 2) & 3];
    if (kind === undefined || read === undefined || ack === undefined) throw incompatible();
    const keyspaceId = reader.u32();
    const deadlineMs = reader.u32();
    const minSeq = flags & HAS_MIN_SEQ ? reader.f64() : 0;
    const request = flags & HAS_REQUEST ? readRequest(reader) : undefined;
    const key = reader.sized();
    calls.push({ kind, keyspaceId, deadlineMs, minSeq, read, ack, ...(request ? { request } : {}), key, body: reader.sized() });
  }
  return calls;
}

export function encodeOutcomes(outcomes: readonly WireOutcome[]): Bytes {
  const out = new ByteWriter(1024);
  out.u8(VERSION);
  for (const outcome of outcomes) {
    if (outcome.kind === 'done') out.u8(0).sized(outcome.reply);
    else out.u8(1).sized(utf8(outcome.leader)).sized(encodeError(outcome.error));
  }
  return out.finish();
}

/** @throws KF_NODE_INCOMPATIBLE */
export function decodeOutcomes(bytes: Bytes): WireOutcome[] {
  const reader = versioned(bytes);
  const outcomes: WireOutcome[] = [];
  while (!reader.atEnd) {
    if (reader.u8() === 0) outcomes.push({ kind: 'done', reply: reader.sized() });
    else outcomes.push({ kind: 'failed', leader: fromUtf8(reader.sized()), error: decodeError(reader.sized()) });
  }
  return outcomes;
}

function readRequest(reader: ByteReader): RequestId {
  const clientId = reader.bytes(reader.u8());
  const requestSeq = reader.f64();
  const ackedBelow = reader.f64();
  const issuedMs = reader.f64();
  return { clientId, requestSeq, ackedBelow, ...(Number.isNaN(issuedMs) ? {} : { issuedMs }) };
}

function versioned(bytes: Bytes): ByteReader {
  const reader = new ByteReader(bytes);
  if (bytes.length === 0 || reader.u8() !== VERSION) throw incompatible();
  return reader;
}

function incompatible(): KeyfleetError {
  return new KeyfleetError('KF_NODE_INCOMPATIBLE', 'a message of another node is none that this release knows');
}
