import type { Socket } from 'node:net';
import type { Bytes } from '../base/bytes.ts';
import { messageOf } from '../base/errors.ts';
import { MIB, showDuration } from '../base/units.ts';
import { REPLY_BROKEN, REPLY_WHOLE, ReplyScanner } from '../resp/codec/reply-scanner.ts';
import { BackendError } from './backend-error.ts';
import { type Flushable, flushSoon } from './flush-queue.ts';
import { latin1Slice } from './latin1.ts';
import { Outbox } from './outbox.ts';
import { PendingRequests } from './pending-requests.ts';
import type { BackendTls, ServerAddress } from './pool-config.ts';
import type { EncodedRequest, ReplySink } from './reply-sink.ts';
import { encodeRequest } from './request-encoder.ts';
import { introductionOf, openSocket } from './server-socket.ts';

/** How to reach a server, and how much may wait for it. */
export interface BackendOptions {
  /** Names the server in errors. */
  readonly name: string;
  readonly address: ServerAddress;
  readonly auth?: string | undefined;
  readonly username?: string | undefined;
  readonly db?: number | undefined;
  /** `CLIENT SETNAME`, by which the connection can be found and ended at the server. */
  readonly clientName?: string | undefined;
  /** Ask the server which of its clients this connection is: {@link BackendConnection.idAtServer}. */
  readonly asksId?: boolean | undefined;
  /** Asked once the connection stands: while it is false, nothing of what waits is sent. */
  readonly maySend?: (() => boolean) | undefined;
  /** Ask for RESP3 (HELLO 3). RESP2 when absent. */
  readonly resp3?: boolean | undefined;
  /** Send PING before anything else, and stand only once it is answered well: for a server that failed before. */
  readonly probe?: boolean | undefined;
  readonly tls?: BackendTls | undefined;
  readonly tcpKeepalive?: boolean | undefined;
  readonly connectTimeoutMs?: number | undefined;
  /** How long the oldest request may wait for its answer; for ever when absent. */
  readonly timeoutMs?: number | undefined;
  readonly limits?: Partial<BackendLimits> | undefined;
}

export interface BackendLimits {
  /** The most requests without an answer on one connection. */
  readonly pendingRequests: number;
  /** The most bytes of requests that the server has not taken yet, on one connection. */
  readonly pendingBytes: number;
  /** The longest string in an answer. */
  readonly replyBytes: number;
}

export const BACKEND_LIMITS: BackendLimits = { pendingRequests: 1 << 17, pendingBytes: 64 * MIB, replyBytes: 512 * MIB };
const CONNECT_TIMEOUT_MS = 5_000;
/** How often a connection that stands, but may not be used, looks again. */
const LOOK_MS = 5;

/** What its owner hears of a connection. */
export interface ConnectionEvents {
  onReady?(): void;
  /** Once, at the end, after every pending request has failed. `error` is absent after {@link BackendConnection.close}. */
  onClose?(error: BackendError | undefined): void;
  /** A RESP3 push, or on a subscribed RESP2 connection any frame that no request waits for. */
  onPush?(bytes: Bytes, start: number, end: number): void;
  /** What waited to be written has gone out. */
  onDrain?(): void;
}

/**
 * One connection to a Redis-like server. Requests go out in one write at the end of each turn of the event loop, and answers come back
 * in their order, each to its sink. What is sent before the connection stands waits for it.
 *
 * Promise: every request taken is answered exactly once, by the server or by a {@link BackendError} that says whether it can have been
 * carried out. Memory is bounded by {@link BackendLimits}; beyond, {@link send} says `KF_BACKEND_BUSY` at once. A server that leaves the oldest
 * request without an answer for `timeoutMs`, or says what is no RESP, is disconnected: a later answer would go to the wrong request.
 */
export class BackendConnection implements Flushable {
  readonly options: BackendOptions;
  readonly #limits: BackendLimits;
  readonly #events: ConnectionEvents;
  readonly #scanner: ReplyScanner;
  #socket: Socket | undefined;
  #state: 'connecting' | 'ready' | 'closed' = 'connecting';
  /** While connecting the limit of that, then of the oldest request. */
  #timer: NodeJS.Timeout | undefined;

  readonly #pending = new PendingRequests();
  /** When the oldest request began to be it. */
  #headSinceMs = 0;

  readonly #outbox = new Outbox();
  #flushing = false;
  /** Set in subscribed mode: frames belong to no request. */
  pushing = false;
  /** `CLIENT ID`, when it was asked for and the server knows of such. */
  idAtServer: number | undefined;
  /** It ended while the server had requests without an answer: it may still carry them out. */
  leftUnanswered = false;

  constructor(options: BackendOptions, events: ConnectionEvents = {}) {
    this.options = options;
    this.#events = events;
    this.#limits = { ...BACKEND_LIMITS, ...options.limits };
    this.#scanner = new ReplyScanner({ maxStringBytes: this.#limits.replyBytes });
    this.#connect();
  }

  get state(): 'connecting' | 'ready' | 'closed' {
    return this.#state;
  }

  /** Requests without an answer. */
  get pending(): number {
    return this.#pending.length;
  }

  /** Bytes of requests that the server has not taken. */
  get unsentBytes(): number {
    return this.#outbox.length + (this.#socket?.writableLength ?? 0);
  }

  /** Nothing more is taken until answers come. */
  get isFull(): boolean {
    return this.pending >= this.#limits.pendingRequests || this.unsentBytes >= this.#limits.pendingBytes;
  }

  /**
   * Sends one request whose answer goes to `sink` with `token`; `bytes` given must not change until the answer. Never throws: a connection
   * that is closed or full answers with a failure before this returns.
   */
  send<Token>(request: EncodedRequest, sink: ReplySink<Token>, token: Token): void {
    if (!this.#takes(sink as ReplySink, token)) return;
    this.write(request);
  }

  /** {@link send} of the whole request that is `bytes[start … end)`. A short one is copied at once; the bytes of a long one must not change. */
  sendFrame<Token>(bytes: Bytes, start: number, end: number, sink: ReplySink<Token>, token: Token): void {
    if (!this.#takes(sink as ReplySink, token)) return;
    this.#outbox.addBytes(bytes, start, end);
    this.#flushLater();
  }

  /** Writes what brings no answer of its own (SUBSCRIBE on a pushing connection). */
  write(request: EncodedRequest): void {
    this.#outbox.add(request);
    this.#flushLater();
  }

  /** Resolves once everything taken so far is answered, or has failed. */
  answered(): Promise<void> {
    if (this.#pending.length === 0) return Promise.resolve();
    return new Promise((resolve) => {
      // However much waits already: a barrier must not be turned away.
      this.#expect({ onReply: () => resolve(), onFailure: () => resolve() }, undefined);
      this.write('*1\r\n$4\r\nPING\r\n');
    });
  }

  /** Ends the connection; requests without an answer fail. */
  close(): void {
    this.#end(undefined);
  }

  /** Keeps the process alive or not. */
  ref(on: boolean): void {
    if (on) this.#socket?.ref();
    else this.#socket?.unref();
  }

  pause(): void {
    this.#socket?.pause();
  }

  resume(): void {
    this.#socket?.resume();
  }

  flush(): void {
    this.#flushing = false;
    const socket = this.#socket;
    if (socket === undefined || this.#state !== 'ready') return;
    this.#pending.markWritten();
    this.#outbox.flush(socket);
  }

  #flushLater(): void {
    if (this.#flushing || this.#state !== 'ready') return;
    this.#flushing = true;
    flushSoon(this);
  }

  /** Takes its place among the pending, or has failed already. */
  #takes(sink: ReplySink, token: unknown): boolean {
    if (this.#state !== 'closed' && !this.isFull) {
      this.#expect(sink, token);
      return true;
    }
    const closed = this.#state === 'closed';
    const what = closed ? 'the connection is closed' : `${this.pending} requests and ${this.unsentBytes} bytes wait for it`;
    sink.onFailure(token, this.#error(closed ? 'KF_BACKEND_DOWN' : 'KF_BACKEND_BUSY', what));
    return false;
  }

  #expect(sink: ReplySink, token: unknown): void {
    if (this.#pending.length === 0) {
      this.#headSinceMs = performance.now();
      this.#watch();
    }
    this.#pending.push(sink, token);
  }

  #connect(): void {
    const { address, tls, tcpKeepalive } = this.options;
    let socket: Socket;
    try {
      socket = openSocket(address, tls);
    } catch (error) {
      // A file of the TLS settings that cannot be read: told later, as every other failure to connect.
      setImmediate(() => this.#end(this.#error('KF_BACKEND_REFUSED', messageOf(error), error)));
      return;
    }
    this.#socket = socket;
    if (tcpKeepalive === true) socket.setKeepAlive(true, 60_000);
    this.#timer = setTimeout(() => this.#lost('no connection', undefined), this.options.connectTimeoutMs ?? CONNECT_TIMEOUT_MS);
    socket.once(tls ? 'secureConnect' : 'connect', () => this.#greet());
    socket.on('error', (error: NodeJS.ErrnoException) => {
      // What is neither a number of the system nor a lost connection is said by TLS: a certificate that cannot be trusted, no common protocol.
      const isTls = tls !== undefined && this.#state === 'connecting' && (error.errno === undefined || error.code === 'EPROTO');
      if (isTls && error.code !== 'ECONNRESET') this.#end(this.#error('KF_BACKEND_REFUSED', messageOf(error), error));
      else this.#lost(messageOf(error), error);
    });
    socket.on('close', () => this.#lost('the server closed the connection', undefined));
    socket.on('data', (chunk: Bytes) => this.#receive(chunk));
    socket.on('drain', () => this.#events.onDrain?.());
  }

  /** AUTH, SELECT, HELLO and PING, before anything else. */
  #greet(): void {
    const { probe, asksId } = this.options;
    const greeting = introductionOf(this.options);
    const idTurn = asksId === true ? greeting.push(['CLIENT', 'ID']) - 1 : -1;
    if (probe === true) greeting.push(['PING']);
    if (greeting.length === 0) {
      this.#stand();
      return;
    }
    // Their answers come first: they stand before all that waits already.
    const sink: ReplySink<number> = {
      onReply: (turn, bytes, start, end) => {
        if (turn === idTurn && bytes[start] === 0x3a) this.idAtServer = Number(latin1Slice(bytes, start + 1, end - 2));
        if (bytes[start] === 0x2d && turn !== idTurn) this.#end(this.#error('KF_BACKEND_REFUSED', latin1Slice(bytes, start + 1, end - 2)));
        else if (turn === greeting.length - 1) this.#stand();
      },
      onFailure: () => undefined,
    };
    this.#pending.unshift(sink as ReplySink, [...greeting.keys()]);
    this.#socket!.write(
      greeting.map((args) => Buffer.from(encodeRequest(args) as string, 'latin1')).reduce((a, b) => Buffer.concat([a, b])),
    );
  }

  #stand(): void {
    if (this.#state === 'closed') return;
    // It may any moment: what waits goes on waiting, as long as connecting may take.
    if (this.pending > 0 && this.options.maySend?.() === false) {
      setTimeout(() => this.#stand(), LOOK_MS).unref();
      return;
    }
    this.#state = 'ready';
    clearTimeout(this.#timer);
    this.#timer = undefined;
    this.#headSinceMs = performance.now();
    this.#watch();
    this.flush();
    this.#events.onReady?.();
  }

  /** Sees to it that a timer looks at the oldest request; cheap enough for every request. */
  #watch(): void {
    const { timeoutMs } = this.options;
    if (timeoutMs === undefined || this.#timer !== undefined || this.#state !== 'ready' || this.#pending.length === 0) return;
    const leftMs = this.#headSinceMs + timeoutMs - performance.now();
    this.#timer = setTimeout(() => this.#look(), Math.max(1, Math.ceil(leftMs)));
  }

  #look(): void {
    this.#timer = undefined;
    const { timeoutMs } = this.options;
    if (this.#pending.length === 0) return;
    const waitedMs = performance.now() - this.#headSinceMs;
    if (waitedMs < timeoutMs!) this.#watch();
    else this.#lost(`no answer for ${showDuration(waitedMs)}`, undefined);
  }

  #receive(chunk: Bytes): void {
    const scanner = this.#scanner;
    scanner.push(chunk);
    let answered = 0;
    for (;;) {
      const found = scanner.next();
      if (found === REPLY_WHOLE) {
        const { bytes, start, end } = scanner;
        if (bytes[start] === 0x3e || (this.pushing && this.#pending.length === 0)) {
          this.#events.onPush?.(bytes, start, end);
          continue;
        }
        if (this.#pending.length === 0) {
          this.#lost('an answer that nobody asked for', undefined);
          return;
        }
        answered++;
        this.#pending.answer(bytes, start, end);
        if (this.#state === 'closed') return;
        continue;
      }
      if (found === REPLY_BROKEN) {
        this.#lost(`what it says is no RESP: ${scanner.error}`, undefined);
        return;
      }
      break;
    }
    if (answered > 0 || this.pending > 0) this.#headSinceMs = performance.now();
  }

  #lost(what: string, cause: unknown): void {
    this.#end(this.#error('KF_BACKEND_DOWN', what, cause));
  }

  #end(error: BackendError | undefined): void {
    if (this.#state === 'closed') return;
    this.#state = 'closed';
    clearTimeout(this.#timer);
    this.#timer = undefined;
    this.#socket?.destroy();
    this.#outbox.clear();
    const unsent = error ?? this.#error('KF_BACKEND_DOWN', 'the connection was closed');
    const sent = this.#error(
      'KF_OUTCOME_UNKNOWN',
      `${unsent.message.slice(this.options.name.length + 2)}; the request may have been carried out`,
      error?.cause,
    );
    this.leftUnanswered = this.#pending.writtenLength > 0;
    for (const { sink, token, isWritten } of this.#pending.drain()) sink.onFailure(token, isWritten ? sent : unsent);
    this.#events.onClose?.(error);
  }

  #error(code: ConstructorParameters<typeof BackendError>[0], what: string, cause?: unknown): BackendError {
    return new BackendError(code, this.options.name, what, cause);
  }
}
