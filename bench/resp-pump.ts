import { connect, type Socket } from 'node:net';

// A Redis client that costs as little as one can, for measuring what a server does: requests are made beforehand, and answers, which all have the same
// length, are counted and not kept.

export interface PumpOptions {
  readonly port: number;
  /** One request each, as bytes. */
  readonly requests: readonly Buffer[];
  /** How each answer begins, and how long it is. */
  readonly answer: { readonly begins: string; readonly bytes: number };
  /** Requests under way at a time, over all connections. */
  readonly inFlight: number;
  readonly connections: number;
  readonly seconds?: number;
  /** As many requests instead. */
  readonly count?: number;
}

/** Answers that came in the time, and how many a second. @throws when an answer is another one. */
export async function pumpRequests(options: PumpOptions): Promise<{ readonly done: number; readonly perSecond: number }> {
  const { port, requests, answer, inFlight, seconds = Number.POSITIVE_INFINITY, count = Number.POSITIVE_INFINITY } = options;
  const connections = Math.min(options.connections, inFlight);
  const beganMs = performance.now();
  const untilMs = beganMs + seconds * 1_000;
  let started = 0;
  let done = 0;
  const next = (many: number): Buffer => Buffer.concat(Array.from({ length: many }, () => requests[started++ % requests.length]!));
  const run = (depth: number): Promise<void> =>
    new Promise((resolve, reject) => {
      const socket: Socket = connect({ port, host: '127.0.0.1', noDelay: true });
      let left = 0;
      let partBytes = 0;
      const send = (many: number): void => {
        const allowed = performance.now() < untilMs ? Math.min(many, count - started) : 0;
        if (allowed > 0) {
          left += allowed;
          socket.write(next(allowed));
        } else if (left === 0) {
          socket.destroy();
          resolve();
        }
      };
      socket.on('connect', () => send(depth));
      socket.on('error', reject);
      socket.on('close', () => reject(new Error('the server closed the connection')));
      socket.on('data', (chunk: Buffer) => {
        const first = (answer.bytes - partBytes) % answer.bytes;
        if (first < chunk.length && chunk[first] !== answer.begins.charCodeAt(0)) {
          socket.destroy();
          reject(new Error(`the answer is ${chunk.subarray(first, first + 120).toString('latin1')}`));
          return;
        }
        const bytes = partBytes + chunk.length;
        const answered = Math.floor(bytes / answer.bytes);
        partBytes = bytes % answer.bytes;
        left -= answered;
        done += answered;
        send(answered);
      });
    });
  await Promise.all(
    Array.from({ length: connections }, (_, i) => run(Math.floor(inFlight / connections) + (i < inFlight % connections ? 1 : 0))),
  );
  return { done, perSecond: done / ((performance.now() - beganMs) / 1_000) };
}
