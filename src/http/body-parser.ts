import type { ServerResponse } from 'node:http';
import type { FastifyInstance, FastifyRequest } from 'fastify';
import type { Bytes } from '../base/bytes.ts';
import { KeyfleetError } from '../base/errors.ts';
import { showBytes } from '../base/units.ts';

/** Bounds the memory that the bodies of all requests under way and the values that answer them hold together, whatever the clients do. */
export class BodyBudget {
  readonly #totalBytes: number;
  #heldBytes = 0;

  constructor(totalBytes: number) {
    this.#totalBytes = totalBytes;
  }

  get heldBytes(): number {
    return this.#heldBytes;
  }

  /** @throws KF_BUSY when the requests under way already hold all there is. */
  take(bytes: number): void {
    if (this.#heldBytes + bytes > this.#totalBytes) {
      const held = showBytes(this.#heldBytes);
      throw new KeyfleetError('KF_BUSY', `the requests under way already hold ${held}; try again later`, { retryable: true });
    }
    this.#heldBytes += bytes;
  }

  /** Holds the value that answers a request until its response closes. One that is larger than all there is goes alone. @throws KF_BUSY. */
  answer(bytes: number, response: ServerResponse): void {
    if (response.closed) return;
    if (this.#heldBytes > 0) this.take(bytes);
    else this.#heldBytes += bytes;
    response.once('close', () => this.give(bytes));
  }

  give(bytes: number): void {
    this.#heldBytes -= bytes;
  }
}

/**
 * Makes `request.body` the bytes of any body, of whatever content type. A body over `maxBodyBytes` fails with KF_BODY_TOO_LARGE as soon as
 * that is known; one that its sender does not finish never reaches a handler. What a request holds is given back when its response closes.
 */
export function takeBytes(
  server: FastifyInstance,
  { maxBodyBytes, budget }: { readonly maxBodyBytes: number; readonly budget: BodyBudget },
): void {
  const heldBytes = new WeakMap<FastifyRequest, number>();
  server.addHook('onRequest', (request, reply, done) => {
    reply.raw.once('close', () => {
      budget.give(heldBytes.get(request) ?? 0);
      heldBytes.delete(request);
    });
    done();
  });
  server.removeAllContentTypeParsers();
  server.addContentTypeParser('*', (request: FastifyRequest, payload, done) => {
    const chunks: Bytes[] = [];
    let length = 0;
    let isOver = false;
    const end = (error: Error | null, body?: Bytes): void => {
      if (isOver) return;
      isOver = true;
      chunks.length = 0;
      done(error, body);
    };
    const announced = Number(request.headers['content-length'] ?? 0);
    if (announced > maxBodyBytes) return end(tooLarge(maxBodyBytes));
    payload.on('data', (chunk: Bytes) => {
      if (isOver) return;
      try {
        if (length + chunk.length > maxBodyBytes) throw tooLarge(maxBodyBytes);
        budget.take(chunk.length);
        length += chunk.length;
        heldBytes.set(request, length);
        chunks.push(chunk);
      } catch (error) {
        end(error as Error);
      }
    });
    payload.on('end', () => end(null, joined(chunks, length)));
    payload.on('error', () => end(cutShort()));
    payload.on('close', () => end(cutShort()));
  });
}

/** A copy of its own, since a chunk may be a small part of a large read buffer and the store keeps values for long. */
function joined(chunks: readonly Bytes[], length: number): Bytes {
  const whole = Buffer.allocUnsafeSlow(length);
  let at = 0;
  for (const chunk of chunks) {
    whole.set(chunk, at);
    at += chunk.length;
  }
  return whole;
}

function cutShort(): KeyfleetError {
  return new KeyfleetError('KF_BAD_REQUEST', 'the connection ended before the body did; nothing was done');
}

function tooLarge(maxBodyBytes: number): KeyfleetError {
  return new KeyfleetError('KF_BODY_TOO_LARGE', `the body is larger than the limit of ${maxBodyBytes} bytes (http.maxBodyBytes)`);
}

/** The body of a request as {@link takeBytes} leaves it. */
export function bodyOf(request: FastifyRequest): Bytes {
  return (request.body as Bytes | undefined) ?? new Uint8Array(0);
}
