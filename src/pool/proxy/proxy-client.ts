import type { Socket } from 'node:net';
import type { Bytes } from '../../base/bytes.ts';
import type { KeyfleetError } from '../../base/errors.ts';
import type { RespVersion } from '../../resp/codec/reply-writer.ts';
import { NEED_MORE, REQUEST, RequestScanner } from '../../resp/codec/request-scanner.ts';
import { errorReply, type Reply } from '../../shard/redis/reply.ts';
import type { RoutedCommand } from '../command-table.ts';
import { type Flushable, flushSoon } from '../flush-queue.ts';
import { latin1Slice } from '../latin1.ts';
import type { ReplySink } from '../reply-sink.ts';
import { dispatch } from './proxy-dispatch.ts';
import { GatherBuffer } from './proxy-gather.ts';
import type { ProxyPool } from './proxy-pool.ts';
import { ReplyRing } from './proxy-reply-ring.ts';
import type { PrivateSession } from './proxy-session.ts';
import { encodeReply, encodeRequest, failureReply } from './proxy-wire.ts';

/** The token of a request whose answer the client does not want (CLIENT REPLY OFF). */
const MUTED = -1;
/** A place in the statistics of servers that stands for none of them. */
export const NO_SERVER = 0xffff;

/** All that is written to clients goes through one buffer in turn. */
const gather = new GatherBuffer();
/** Up to so many bytes of answers are written to one client in a turn. */
const TURN_BYTES = 4 * 1024 * 1024;
/** So many requests may always be in flight; more only while their answers will not be longer than this in all. */
const FREE_REQUESTS = 16;
const EXPECTED_BYTES = 8 * 1024 * 1024;
/** Chunks up to this length are made text as a whole. */
const TEXT_BYTES = 128 * 1024;

/**
 * One client of the proxy. Its requests are read in order and started at once, wherever they go; the answers leave in that order.
 *
 * Memory is bounded: while too many requests are in flight, or too many bytes wait for the client to take them, no more requests are started and
 * its socket is not read. Who takes nothing for long, or lets very much pile up, is closed.
 */
export class ProxyClient implements ReplySink<number>, Flushable {
  readonly id: number;
  readonly pool: ProxyPool;
  readonly address: string;
  readonly localAddress: string;
  readonly createdMs = Date.now();
  lastMs = Date.now();
  version: RespVersion = 2;
  isAuthenticated: boolean;
  name = '';
  libName = '';
  libVersion = '';
  replyMode: 'on' | 'off' | 'skip' = 'on';
  /** ASKING was sent: the next command is taken even if its slot is another's. */
  isAsking = false;
  /** It has asked for the slots of the servers, so it can be sent to them. */
  isRouting = false;
  /** MULTI, WATCH, subscriptions: a connection of its own. */
  session: PrivateSession | undefined;
  /** A blocking command waits: nothing behind it starts. */
  isBlocked = false;
  /** Ends what waits at a server for this client, when it goes. */
  abandon: (() => void) | undefined;
  lastCommand: RoutedCommand | undefined;
  readonly scanner: RequestScanner;

  readonly #socket: Socket;
  readonly #ring = new ReplyRing();
  #mutedInFlight = 0;
  /** The current request of the scanner waits to be started. */
  #held: 'no' | 'drained' | 'room' = 'no';
  #isQueued = false;
  #isRunning = false;
  #isPaused = false;
  #hasEnded = false;
  #isClosing = false;
  #isClosed = false;
  #closingSinceMs = 0;
  #text = '';
  #textOf: Bytes | undefined;
  /** About how long its answers are; a guess at first. */
  #usualBytes = 8 * 1024;
  #takenBytes = 0;
  #takenMs = Date.now();

  constructor(pool: ProxyPool, socket: Socket, id: number) {
    this.pool = pool;
    this.#socket = socket;
    this.id = id;
    this.address = `${socket.remoteAddress ?? 'unix'}:${socket.remotePort ?? 0}`;
    this.localAddress = `${socket.localAddress ?? 'unix'}:${socket.localPort ?? 0}`;
    this.isAuthenticated = pool.password === undefined;
    this.scanner = new RequestScanner({ bulkBytes: pool.limits.bulkBytes });
    this.scanner.authenticated = this.isAuthenticated;
    socket.on('data', (chunk: Buffer) => this.#onData(chunk));
    socket.on('end', () => this.finish());
    socket.on('drain', () => this.flush());
    socket.on('error', () => this.destroy());
    socket.on('close', () => this.destroy());
  }

  /** Requests without an answer. */
  get inFlight(): number {
    return this.#ring.inFlight + this.#mutedInFlight;
  }

  /** Bytes that wait for the client to take them. */
  get outputBytes(): number {
    return this.#ring.waitingBytes + this.#socket.writableLength;
  }

  get isClosed(): boolean {
    return this.#isClosed;
  }

  setAuthenticated(is: boolean): void {
    this.isAuthenticated = is;
    this.scanner.authenticated = is;
  }

  // ── requests ──

  #onData(chunk: Buffer): void {
    const { stats } = this.pool;
    stats.clientBytesIn += chunk.length;
    if (this.#isClosing) return;
    this.lastMs = Date.now();
    this.scanner.push(chunk);
    this.run();
  }

  /** Starts what can be started, and reads on or not. */
  run(): void {
    if (this.#isRunning || this.#isClosed) return;
    this.#isRunning = true;
    this.pool.lookForCongestion();
    const { scanner } = this;
    let usedUp = false;
    while (!this.#mustWait()) {
      if (this.#held !== 'no') {
        if (this.#held === 'drained' && this.inFlight > 0) break;
        this.#held = 'no';
        dispatch(this);
        if (this.#waitsForRoom()) break;
        continue;
      }
      const scanned = scanner.next();
      if (scanned === REQUEST) {
        dispatch(this);
        if (this.#waitsForRoom()) break;
        continue;
      }
      if (scanned === NEED_MORE) {
        usedUp = true;
        break;
      }
      this.pool.stats.protocolErrors++;
      this.replyAlways(errorReply(scanner.error));
      this.#isClosing = true;
    }
    this.#isRunning = false;
    if (this.#isClosed) return;
    // A blocked client is read on, or nobody would notice that it has gone.
    const wanted = usedUp || (this.isBlocked && this.#held === 'no' && scanner.pendingBytes < this.pool.limits.outputPauseBytes);
    if (scanner.pendingBytes > this.pool.limits.queryBytes) this.destroy();
    else if ((this.#isClosing || (usedUp && this.#hasEnded)) && this.#isIdle()) this.#close();
    else if (!this.#hasEnded) this.#read(wanted);
  }

  /** In a method of its own, since dispatching changes it behind the compiler's back. */
  #waitsForRoom(): boolean {
    return this.#held === 'room';
  }

  #isIdle(): boolean {
    return this.#ring.length === 0 && this.#mutedInFlight === 0 && !this.isBlocked;
  }

  #mustWait(): boolean {
    if (this.#isClosing || this.isBlocked) return true;
    const { limits } = this.pool;
    const { inFlight } = this;
    // What is in flight will come, and nothing can stop it: large answers are asked for a few at a time.
    if (inFlight >= FREE_REQUESTS && inFlight * this.#usualBytes > EXPECTED_BYTES) return true;
    return inFlight >= limits.pipelineRequests || this.outputBytes > limits.outputPauseBytes;
  }

  #read(wanted: boolean): void {
    if (this.#isPaused !== wanted) return;
    this.#isPaused = !wanted;
    if (wanted) this.#socket.resume();
    else this.#socket.pause();
  }

  /** Has the request just read wait until all earlier ones are answered, or until a backend takes more; it is then started again. */
  hold(until: 'drained' | 'room'): void {
    this.#held = until;
  }

  /** What {@link hold} waited for has come. */
  release(): void {
    this.run();
  }

  /** The whole request just read, as it goes on the wire. */
  frame(): string | Bytes {
    const { scanner } = this;
    const { bytes } = scanner;
    const end = scanner.ends[scanner.argCount - 1]! + 2;
    const start = end - scanner.requestBytes;
    // Typed by hand: its arguments stand in a buffer of their own.
    if (end > bytes.length || start < 0 || bytes[start] !== 42) return encodeRequest(scanner.args());
    if (bytes.length <= TEXT_BYTES && bytes instanceof Buffer) {
      if (bytes !== this.#textOf) {
        this.#textOf = bytes;
        this.#text = latin1Slice(bytes);
      }
      return start === 0 && end === bytes.length ? this.#text : this.#text.substring(start, end);
    }
    return bytes.subarray(start, end);
  }

  // ── answers ──

  /** Takes a place for the answer to the request just read. */
  open(command: RoutedCommand, server: number, keyIndex = 0): number {
    const { pool } = this;
    this.lastCommand = command;
    pool.stats.commands[command.index]! += 1;
    if (this.replyMode !== 'on') {
      if (this.replyMode === 'skip') this.replyMode = 'on';
      this.#mutedInFlight++;
      return MUTED;
    }
    const { scanner } = this;
    const at = keyIndex < scanner.argCount ? keyIndex : 0;
    return this.#ring.open(command.index, server, pool.clock.nowMs, scanner.bytes, scanner.starts[at]!, scanner.ends[at]!);
  }

  onReply(token: number, bytes: Bytes, start: number, end: number): void {
    if (this.#isClosed) return;
    if (token === MUTED) {
      this.#mutedInFlight--;
    } else {
      const ring = this.#ring;
      this.#usualBytes += (end - start - this.#usualBytes) / 16;
      const tookMs = this.pool.clock.nowMs - ring.sinceMsAt(token);
      const command = ring.commandAt(token);
      const { stats } = this.pool;
      stats.answered(command, ring.serverAt(token), tookMs, end - start, bytes[start] === 45);
      if (tookMs >= stats.slowMs) stats.slow(command, tookMs, ring.keyAt(token), this);
      ring.settle(token, bytes, start, end);
    }
    if (!this.#isQueued) this.#queue();
  }

  onFailure(token: number, error: KeyfleetError): void {
    this.pool.stats.forwardErrors++;
    this.answer(token, failureReply(error));
  }

  /** Answers the request of `token` with a reply of our own. */
  answer(token: number, reply: Reply): void {
    const bytes = encodeReply(reply, this.version);
    this.onReply(token, bytes, 0, bytes.length);
  }

  /** Answers the request just read here and now. */
  reply(command: RoutedCommand, reply: Reply): void {
    this.answer(this.open(command, NO_SERVER), reply);
  }

  replyBytes(command: RoutedCommand, bytes: Bytes): void {
    this.onReply(this.open(command, NO_SERVER), bytes, 0, bytes.length);
  }

  /** Answers whatever the reply mode is. */
  replyAlways(reply: Reply): void {
    const bytes = encodeReply(reply, this.version);
    this.push(bytes, 0, bytes.length);
  }

  /** Writes what is no answer: a message to a subscriber. It takes its place between the answers. */
  push(bytes: Bytes, start: number, end: number): void {
    if (this.#isClosed) return;
    const token = this.#ring.open(0, NO_SERVER, 0, undefined, 0, 0);
    this.#ring.settle(token, bytes, start, end);
    if (!this.#isQueued) this.#queue();
  }

  #queue(): void {
    this.#isQueued = true;
    flushSoon(this);
  }

  /** Hands the answers whose turn it is to the socket. */
  flush(): void {
    this.#isQueued = false;
    if (this.#isClosed) return;
    const ring = this.#ring;
    const { limits, stats } = this.pool;
    if (ring.hasReady && this.#socket.writableLength <= limits.outputPauseBytes) {
      ring.take(gather, TURN_BYTES);
      if (this.#socket.writableLength === 0) this.#takenMs = this.lastMs;
      stats.clientBytesOut += gather.send(this.#socket);
      if (ring.hasReady && this.#socket.writableLength === 0 && !this.#isQueued) this.#queue();
    }
    if (this.outputBytes > limits.outputHardBytes) {
      stats.closedOutputLimit++;
      this.destroy();
      return;
    }
    if (this.#isPaused || this.#held !== 'no' || this.#isClosing || this.#hasEnded || this.scanner.pendingBytes > 0) this.run();
  }

  // ── the end ──

  /** Reads no more, answers what was received, then closes. */
  finish(): void {
    this.#hasEnded = true;
    if (this.session || this.isBlocked) {
      // Nobody is left to hear the message, or to take the element.
      this.session?.end();
      if (this.isBlocked) this.destroy();
    }
    this.run();
  }

  closeAfterReplies(): void {
    this.#isClosing = true;
    if (!this.#isRunning) this.run();
  }

  #close(): void {
    if (this.#closingSinceMs !== 0) return;
    this.#closingSinceMs = Date.now();
    this.#isClosing = true;
    this.#socket.end();
    this.#isPaused = false;
    this.#socket.resume();
  }

  destroy(): void {
    if (this.#isClosed) return;
    this.#isClosed = true;
    this.#socket.destroy();
    this.#ring.clear();
    this.scanner.clear();
    this.#textOf = undefined;
    this.#text = '';
    this.session?.end();
    this.session = undefined;
    this.abandon?.();
    this.abandon = undefined;
    this.pool.forget(this);
  }

  /** Twice a second: closes those that take nothing, and those that do not end. */
  check(nowMs: number): void {
    const { limits, stats } = this.pool;
    if (this.#closingSinceMs !== 0 && nowMs - this.#closingSinceMs > 1_000) {
      this.destroy();
      return;
    }
    // The text of the last chunk would else stay as long as an idle client does.
    if (this.inFlight === 0 && this.#textOf !== undefined) {
      this.#textOf = undefined;
      this.#text = '';
    }
    const taken = this.#socket.bytesWritten - this.#socket.writableLength;
    if (taken !== this.#takenBytes || this.#socket.writableLength === 0) {
      this.#takenBytes = taken;
      this.#takenMs = nowMs;
    } else if (limits.outputStallMs > 0 && nowMs - this.#takenMs > limits.outputStallMs) {
      stats.closedStalled++;
      this.destroy();
    }
  }
}
