import { ByteReader, ByteWriter } from '../../base/byte-stream.ts';
import type { Bytes } from '../../base/bytes.ts';
import { KeyfleetError } from '../../base/errors.ts';
import type { Transport } from '../../transport/transport.ts';
import type { NodeClock } from '../node-clock.ts';

// Answers that are longer than a message between nodes may be: the first one says how long the whole is, and the rest is fetched piece by piece.
//
//   answer   [0][bytes]   or   [1][ticket f64][total u32][first bytes]

const PIECE = 'answer-piece';
/** Whoever fetches nothing for so long has given up. */
const KEPT_MS = 30_000;
const HEAD_BYTES = 13;

/** The answering end. */
export class LargeAnswers {
  readonly #clock: NodeClock;
  readonly #pieceBytes: number;
  readonly #kept = new Map<number, { readonly whole: Bytes; usedMs: number }>();
  #lastTicket = 0;

  constructor(clock: NodeClock, maxPayloadBytes: number) {
    this.#clock = clock;
    this.#pieceBytes = maxPayloadBytes - HEAD_BYTES;
  }

  /** What goes into the answer for `whole`. */
  wrap(whole: Bytes): Bytes {
    if (whole.length <= this.#pieceBytes) return new ByteWriter(whole.length + 1).u8(0).bytes(whole).finish();
    const nowMs = this.#clock.now().monoMs;
    for (const [ticket, { usedMs }] of this.#kept) if (nowMs - usedMs > KEPT_MS) this.#kept.delete(ticket);
    const ticket = ++this.#lastTicket;
    this.#kept.set(ticket, { whole, usedMs: nowMs });
    const first = whole.subarray(0, this.#pieceBytes);
    return new ByteWriter(this.#pieceBytes + HEAD_BYTES).u8(1).f64(ticket).u32(whole.length).bytes(first).finish();
  }

  /** A further piece, or undefined when `method` asks for something else. @throws KF_NODE_SILENT when the answer has been forgotten. */
  piece(method: string, payload: Bytes): Bytes | undefined {
    if (method !== PIECE) return undefined;
    const reader = new ByteReader(payload);
    const ticket = reader.f64();
    const from = reader.u32();
    const kept = this.#kept.get(ticket);
    if (!kept) throw new KeyfleetError('KF_NODE_SILENT', 'the rest of a long answer was not fetched in time');
    kept.usedMs = this.#clock.now().monoMs;
    const to = Math.min(from + this.#pieceBytes, kept.whole.length);
    if (to === kept.whole.length) this.#kept.delete(ticket);
    return kept.whole.slice(from, to);
  }
}

/**
 * Asks, and fetches the whole of an answer that {@link LargeAnswers.wrap} has made. `onAnswer`: its beginning is here.
 * @throws as Transport.request
 */
export async function requestWhole(
  transport: Transport,
  to: string,
  method: string,
  payload: Bytes,
  timeoutMs: number,
  onAnswer: () => void = () => {},
): Promise<Bytes> {
  const answer = await transport.request(to, method, payload, { timeoutMs });
  onAnswer();
  const reader = new ByteReader(answer);
  if (reader.u8() === 0) return reader.bytes(answer.length - 1);
  const ticket = reader.f64();
  const whole = new Uint8Array(reader.u32());
  whole.set(answer.subarray(HEAD_BYTES));
  for (let at = answer.length - HEAD_BYTES; at < whole.length; ) {
    const piece = await transport.request(to, PIECE, new ByteWriter(12).f64(ticket).u32(at).finish(), { timeoutMs });
    if (piece.length === 0) throw new KeyfleetError('KF_NODE_SILENT', `node ${to} sent a part of its answer only`);
    whole.set(piece, at);
    at += piece.length;
  }
  return whole;
}
