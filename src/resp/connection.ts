import type { Socket } from 'node:net';
import type { Bytes } from '../base/bytes.ts';
import type { ReplySink } from '../node/keyspace-handle.ts';
import type { CommandArgs, CommandSpec } from '../shard/redis/command-table.ts';
import { errorReply, type Reply } from '../shard/redis/reply.ts';
import { ReplyWriter, type RespVersion } from './codec/reply-writer.ts';
import { NEED_MORE, REQUEST, RequestScanner } from './codec/request-scanner.ts';
import type { Door } from './door.ts';
import { replyOfFailure } from './failure-replies.ts';
import { type KeyspaceRequests, OrderedKeyspace } from './ordered-keyspace.ts';
import { readInto } from './read-into.ts';
import { ReplyQueue } from './reply-queue.ts';
import { LATENCY_SAMPLE_EVERY } from './stats.ts';
import { Transaction } from './transaction.ts';

/**
 * One client. Requests are read and started in order; each takes a place in a queue, and answers leave in that order, whenever they come.
 *
 * Memory is bounded: while too many requests are in flight, or too many bytes wait for the client to take them, no more of its requests are
 * started and its socket is not read. Whoever takes nothing for long, or lets large replies pile up, is closed.
 */

/** The token of a request whose answer nobody wants (CLIENT REPLY OFF). */
export const MUTED = -1;

/** A request that has been read and must wait before it starts. */
interface HeldRequest {
  readonly spec: CommandSpec;
  readonly args: CommandArgs;
  /** What it waits for: all earlier answers, or the end of CLIENT PAUSE. */
  readonly until: 'drained' | 'unpaused';
}

export type ReplyMode = 'on' | 'off' | 'skip';

export class Connection implements ReplySink<Reply> {
  readonly id: number;
  readonly address: string;
  readonly localAddress: string;
  readonly createdMs: number;
  lastMs: number;
  name = '';
  libName = '';
  libVersion = '';
  version: RespVersion = 2;
  authenticated: boolean;
  noEvict = false;
  noTouch = false;
  replyMode: ReplyMode = 'on';
  /** It has asked who has which slots, so it can be told to go there. */
  isRouting = false;
  /** READONLY: it takes what a replica has. */
  readsReplicas = false;
  lastCommand: CommandSpec | undefined;
  commandCount = 0;
  readonly scanner: RequestScanner;
  readonly transaction = new Transaction();
  /** The door's keyspace, to which this connection's requests go in their order. */
  readonly keyspace: KeyspaceRequests;
  /** True while it waits in {@link Door.schedule}'s list. */
  isScheduled = false;

  readonly #door: Door;
  readonly #socket: Socket;
  readonly #writer: ReplyWriter;
  readonly #queue = new ReplyQueue();
  #held: HeldRequest | undefined;
  #mutedInFlight = 0;
  #isRunning = false;
  /** No further request is started until an earlier one is answered. */
  #isHeldUp = false;
  #isPaused = false;
  /** Nothing more will be read: the client has ended its side, or the server is closing. */
  #hasEnded = false;
  /** No further request is started: QUIT, a protocol error, CLIENT KILL of itself. */
  #isClosing = false;
  #isClosed = false;
  #closingSinceMs = 0;
  #sampledToken = -1;
  #sampledAt = 0;
  /** For the stall check: bytes the client had taken, and when that last changed. */
  #takenBytes = 0;
  #takenMs: number;

  constructor(door: Door, socket: Socket, id: number) {
    this.#door = door;
    this.keyspace = door.keyspace.isLocal ? door.keyspace : new OrderedKeyspace(door.keyspace);
    this.#socket = socket;
    this.id = id;
    this.address = addressOf(socket.remoteAddress, socket.remotePort, door.unixSocket);
    this.localAddress = addressOf(socket.localAddress, socket.localPort, door.unixSocket);
    this.createdMs = this.lastMs = this.#takenMs = Date.now();
    this.authenticated = door.settings.requirepass === '';
    this.scanner = new RequestScanner({ bulkBytes: door.settings['proto-max-bulk-len'] });
    this.scanner.authenticated = this.authenticated;
    this.#writer = new ReplyWriter(door.buffers);
    const isShared = readInto(socket, door.input, (length) => this.#onInput(door.input, length));
    if (!isShared) socket.on('data', (chunk: Buffer) => this.#onInput(chunk, chunk.length));
    socket.on('end', () => this.finish());
    socket.on('drain', () => this.run());
    socket.on('error', () => socket.destroy());
    socket.on('close', () => this.#onClose());
  }

  /** Requests not answered yet. */
  get inFlight(): number {
    return this.#queue.length + this.#mutedInFlight;
  }

  /** It waits in BLPOP or its like: none of its requests is started meanwhile. */
  get isBlocked(): boolean {
    return this.#door.blocked.isBlocked(this);
  }

  /** Bytes that wait for the client to take them. */
  get outputBytes(): number {
    return this.#writer.length + this.#socket.writableLength + this.#queue.waitingBytes;
  }

  get isClosed(): boolean {
    return this.#isClosed;
  }

  setAuthenticated(authenticated: boolean): void {
    this.authenticated = authenticated;
    this.scanner.authenticated = authenticated;
  }

  // ── requests ──

  /** Bytes have come, which lie in `bytes` for as long as this takes. */
  #onInput(bytes: Bytes, length: number): void {
    this.#door.stats.bytesIn += length;
    if (this.#isClosing) return;
    this.lastMs = Date.now();
    this.scanner.lend(bytes, length);
    this.run(false);
    this.scanner.keep();
  }

  /** Starts what can be started, sends what can be sent (at once, or with what other connections have to say), and reads on or not. */
  run(sendsAtOnce = true): void {
    if (this.#isRunning || this.#isClosed) return;
    this.#isRunning = true;
    const { scanner } = this;
    let usedUp = false;
    while (!this.#mustWait()) {
      const held = this.#held;
      if (held !== undefined) {
        if (held.until === 'drained' ? this.inFlight > 0 : this.#door.isPaused(held.spec)) break;
        this.#held = undefined;
        this.#door.start(this, held.spec, held.args);
        continue;
      }
      const scanned = scanner.next();
      if (scanned === REQUEST) {
        this.#door.request(this);
        continue;
      }
      if (scanned === NEED_MORE) {
        usedUp = true;
        break;
      }
      this.#onBroken(scanner.error);
    }
    this.#isRunning = false;
    if (sendsAtOnce || this.#isClosing || this.#hasEnded) this.flush();
    else if (this.#writer.length > 0) this.#door.schedule(this);
    if (this.#isClosed) return;
    // A client that waits is read on, so that its going is noticed.
    const { isBlocked } = this;
    const receivedBytes = scanner.pendingBytes + this.transaction.queuedBytes;
    if ((usedUp || isBlocked) && receivedBytes > this.#door.settings['client-query-buffer-limit']) {
      this.#door.stats.closedQueryLimit++;
      this.destroy();
    } else if ((this.#isClosing || (usedUp && this.#hasEnded)) && this.inFlight === 0) this.#close();
    else this.#read(usedUp || isBlocked);
  }

  #mustWait(): boolean {
    const { settings } = this.#door;
    if (this.#isClosing || this.#isHeldUp || this.isBlocked || this.inFlight >= settings['client-pipeline-limit']) return true;
    if (this.outputBytes <= settings['client-output-pause-bytes']) return false;
    if (this.#writer.length > 0) this.flush();
    return this.outputBytes > settings['client-output-pause-bytes'] || this.#isClosed;
  }

  #read(wanted: boolean): void {
    if (this.#isPaused !== wanted) return;
    this.#isPaused = !wanted;
    if (wanted) this.#socket.resume();
    else this.#socket.pause();
  }

  #onBroken(error: string): void {
    this.#door.stats.closedProtocolError++;
    this.settled(this.#queue.open(0), errorReply(error));
    this.closeAfterReplies();
  }

  /** Keeps a request for later, and all that follow it. */
  hold(spec: CommandSpec, args: CommandArgs, until: HeldRequest['until']): void {
    this.#held = { spec, args, until };
  }

  /** Starts nothing more until this is over. */
  waitFor(promise: Promise<unknown>): void {
    this.#isHeldUp = true;
    const goOn = (): void => {
      this.#isHeldUp = false;
      this.run();
    };
    promise.then(goOn, goOn);
  }

  // ── answers ──

  /** Takes a place for the answer to the request being started. */
  open(spec: CommandSpec): number {
    this.lastCommand = spec;
    this.commandCount++;
    if (this.replyMode !== 'on') {
      if (this.replyMode === 'skip') this.replyMode = 'on';
      this.#mutedInFlight++;
      return MUTED;
    }
    const token = this.#queue.open(spec.index);
    if (this.#sampledToken < 0 && this.commandCount % LATENCY_SAMPLE_EVERY === 0) {
      this.#sampledToken = token;
      this.#sampledAt = performance.now();
    }
    return token;
  }

  settled(token: number, reply: Reply): void {
    if (token === MUTED) this.#mutedInFlight--;
    else {
      const queue = this.#queue;
      if (token === this.#sampledToken) this.#sample(queue.commandAt(token));
      if (queue.isNext(token)) {
        let next: Reply | undefined = reply;
        do {
          if (isError(next)) this.#countError(queue.commandAt(token), next.text);
          this.#writer.write(next, this.version);
          next = queue.shift();
          token++;
        } while (next !== undefined);
      } else queue.wait(token, reply);
    }
    if (!this.#isRunning) this.#door.schedule(this);
  }

  /** The request of this token, the only one in flight, has no answer. */
  dropped(token: number): void {
    if (token === MUTED) this.#mutedInFlight--;
    else this.#queue.shift();
  }

  failed(token: number, error: Error): void {
    this.settled(token, replyOfFailure(error));
  }

  #sample(command: number): void {
    this.#sampledToken = -1;
    this.#door.stats.sampled(command, (performance.now() - this.#sampledAt) * 1_000);
  }

  #countError(command: number, text: string): void {
    const { stats } = this.#door;
    stats.error(text);
    stats.failed[command]! += 1;
  }

  /** Hands what is written to the socket. */
  flush(): void {
    if (this.#isClosed) return;
    const { length } = this.#writer;
    if (length > 0) {
      const { chunks, buffer } = this.#writer.take();
      const socket = this.#socket;
      this.#door.stats.bytesOut += length;
      if (socket.writableLength === 0) this.#takenMs = this.lastMs;
      if (chunks.length === 1) socket.write(chunks[0]!);
      else {
        socket.cork();
        for (const chunk of chunks) socket.write(chunk);
        socket.uncork();
      }
      // Written at once, as nearly always: nobody looks at the buffer any more.
      if (socket.writableLength === 0) this.#writer.recycle(buffer);
    }
    if (this.outputBytes > this.#door.settings['client-output-hard-bytes']) {
      this.#door.stats.closedOutputLimit++;
      this.destroy();
    }
  }

  // ── the end ──

  /** Reads no more, answers what was received, then closes. */
  finish(): void {
    this.#hasEnded = true;
    if (this.isBlocked) this.destroy();
    else this.run();
  }

  /** Starts no further request; closes once the answers to the earlier ones have left. */
  closeAfterReplies(): void {
    this.#isClosing = true;
    if (!this.#isRunning) this.run();
  }

  #close(): void {
    if (this.#closingSinceMs !== 0) return;
    this.#closingSinceMs = Date.now();
    this.#isClosing = true;
    this.#socket.end();
    // What still arrives is dropped: a socket closed with unread bytes would be reset, and the last replies with it.
    this.#isPaused = false;
    this.#socket.resume();
  }

  destroy(): void {
    this.#socket.destroy();
    this.#onClose();
  }

  #onClose(): void {
    if (this.#isClosed) return;
    this.#isClosed = true;
    this.#writer.clear();
    this.scanner.clear();
    this.#held = undefined;
    this.#door.forget(this);
  }

  /** Once a second or so: closes the idle, the stalled, and those that do not end. */
  check(nowMs: number): void {
    const { settings, stats } = this.#door;
    if (this.#closingSinceMs !== 0) {
      if (nowMs - this.#closingSinceMs > LINGER_MS && this.#socket.writableLength === 0) this.destroy();
    } else if (settings.timeout > 0 && this.inFlight === 0 && this.outputBytes === 0 && nowMs - this.lastMs > settings.timeout * 1_000) {
      stats.closedIdle++;
      this.destroy();
      return;
    }
    const taken = this.#socket.bytesWritten - this.#socket.writableLength;
    if (taken !== this.#takenBytes || this.#socket.writableLength === 0) {
      this.#takenBytes = taken;
      this.#takenMs = nowMs;
    } else if (settings['client-output-stall-timeout'] > 0 && nowMs - this.#takenMs > settings['client-output-stall-timeout'] * 1_000) {
      stats.closedStalled++;
      this.destroy();
    }
  }
}

/** How long a closed connection may take to end its own side. */
const LINGER_MS = 1_000;

function isError(reply: Reply): reply is { readonly kind: 'error'; readonly text: string } {
  return typeof reply === 'object' && reply !== null && 'kind' in reply && reply.kind === 'error';
}

function addressOf(host: string | undefined, port: number | undefined, unixSocket: string | undefined): string {
  if (host === undefined || port === undefined) return `${unixSocket ?? ''}:0`;
  return host.includes(':') ? `[${host.replace(/^::ffff:(?=\d+\.)/, '')}]:${port}`.replace(/^\[([\d.]+)\]/, '$1') : `${host}:${port}`;
}
