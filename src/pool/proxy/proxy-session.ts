import { type Bytes, fromUtf8 } from '../../base/bytes.ts';
import { wrongArityError } from '../../shard/redis/error-replies.ts';
import { errorReply, OK, type Reply, type TaggedReply } from '../../shard/redis/reply.ts';
import type { RoutedCommand } from '../command-table.ts';
import type { EncodedRequest } from '../reply-sink.ts';
import { NO_SERVER, type ProxyClient } from './proxy-client.ts';
import { forward, keysOfRequest, oneServer } from './proxy-dispatch.ts';
import { SessionConnection } from './session-connection.ts';

// Transactions and subscriptions: what needs a connection of its own to one server.
//
// A client's requests go over the shared connections, or over its private one, never over both at once: before the first use of the private one,
// and after its last, all earlier answers are awaited. So what a client sends in a row happens in that row, on every key.

const NO_MULTI = errorReply('ERR EXEC without MULTI');
const NO_MULTI_TO_DISCARD = errorReply('ERR DISCARD without MULTI');
const NESTED = errorReply('ERR MULTI calls can not be nested');
const WATCH_INSIDE = errorReply('ERR WATCH inside MULTI is not allowed');
const ABORTED = errorReply('EXECABORT Transaction discarded because of previous errors.');
const LOST = errorReply('EXECABORT Transaction discarded: the connection to its server was lost before EXEC; nothing was carried out');
const MOVED = errorReply(
  'EXECABORT Transaction discarded: its keys are on their way to another server; nothing was carried out, try again (KF_POOL_MOVING)',
);
const TOO_MANY_QUEUED = errorReply('ERR too many commands in MULTI before the first with a key');
const QUEUED: Reply = { kind: 'status', text: 'QUEUED' };

const IN_SUBSCRIBED = new Set([
  'subscribe',
  'unsubscribe',
  'psubscribe',
  'punsubscribe',
  'ssubscribe',
  'sunsubscribe',
  'ping',
  'quit',
  'reset',
]);

/** MULTI, EXEC, WATCH, SUBSCRIBE and their like, from a client that has no session. */
export function beginSession(client: ProxyClient, command: RoutedCommand): void {
  const { scanner } = client;
  switch (command.name) {
    case 'exec':
      client.reply(command, NO_MULTI);
      return;
    case 'discard':
      client.reply(command, NO_MULTI_TO_DISCARD);
      return;
    case 'unwatch':
      client.reply(command, OK);
      return;
    case 'publish':
    case 'pubsub':
      forward(client, command, client.pool.pubSubServer);
      return;
    case 'unsubscribe':
    case 'punsubscribe':
    case 'sunsubscribe':
      unsubscribedAlready(client, command);
      return;
  }
  if (command.name !== 'multi' && scanner.argCount < 2) client.reply(command, wrongArityError(command.name));
  else if (command.name === 'multi' && scanner.argCount > 1) client.reply(command, wrongArityError(command.name));
  else if (client.inFlight > 0) client.hold('drained');
  else new PrivateSession(client).handles(command);
}

function unsubscribedAlready(client: ProxyClient, command: RoutedCommand): void {
  const channels: (Bytes | null)[] = client.scanner.argCount === 1 ? [null] : client.scanner.args(1);
  for (const channel of channels) {
    client.replyAlways({ kind: 'push', items: [Buffer.from(command.name), channel, 0] });
  }
}

interface Transaction {
  /** An error was answered: EXEC refuses. */
  isSpoiled: boolean;
  /** Commands without keys, until one with keys says which server it is. */
  readonly held: EncodedRequest[];
  /** MULTI has been sent. */
  isOpen: boolean;
}

/** What a client with a private connection does; see above. */
export class PrivateSession {
  readonly #client: ProxyClient;
  readonly #own: SessionConnection;
  #transaction: Transaction | undefined;
  #isWatching = false;
  #isSubscribed = false;

  constructor(client: ProxyClient) {
    this.#client = client;
    this.#own = new SessionConnection(client, {
      onPush: (bytes, start, end) => this.#onPush(bytes, start, end),
      onLost: () => this.#onLost(),
    });
    client.session = this;
  }

  get isInTransaction(): boolean {
    return this.#transaction !== undefined;
  }

  get isSubscribed(): boolean {
    return this.#isSubscribed;
  }

  /** Whether a command goes over its own connection for the sake of its keys. */
  wouldTake({ kind, isSplit }: RoutedCommand): boolean {
    if (this.#own.isLost || (kind !== 'keyed' && kind !== 'blocking')) return false;
    return this.#transaction !== undefined || (this.#isWatching && !isSplit);
  }

  /** An error was answered inside MULTI. */
  spoil(): void {
    if (this.#transaction) this.#transaction.isSpoiled = true;
  }

  /** Takes the request just read; false leaves it to the ordinary ways. */
  handles(command: RoutedCommand): boolean {
    const { name } = command;
    if (name === 'quit' || name === 'reset' || name === 'hello' || name === 'auth') return false;
    if (this.#transaction) {
      this.#inTransaction(command, this.#transaction);
      return true;
    }
    if (this.#isSubscribed || name.endsWith('subscribe')) return this.#whileSubscribed(command);
    if (this.#isWatching || name === 'watch' || name === 'multi') return this.#whileWatching(command);
    // Over. What is under way on the private connection comes first.
    if (this.#client.inFlight > 0) {
      this.#client.hold('drained');
      return true;
    }
    this.end();
    return false;
  }

  // ── transactions ──

  #whileWatching(command: RoutedCommand): boolean {
    const client = this.#client;
    switch (command.name) {
      case 'multi':
        if (this.#own.isLost && !this.#isWatching && !this.#own.leave()) return true;
        this.#transaction = { isSpoiled: false, held: [], isOpen: false };
        // Without WATCH the first key says which server it is.
        if (this.#isWatching && !this.#own.isLost) this.#openTransaction(this.#transaction, this.#own.server);
        client.reply(command, OK);
        return true;
      case 'exec':
        client.reply(command, NO_MULTI);
        return true;
      case 'discard':
        client.reply(command, NO_MULTI_TO_DISCARD);
        return true;
      case 'watch': {
        const keys = keysOfRequest(client, command);
        const server = oneServer(client, command, keys, true);
        if (typeof server !== 'number') client.reply(command, server);
        else if (this.#isWatching && !this.#own.isAt(server)) client.reply(command, this.#elsewhere(command));
        else if (this.#isWatching || this.#leaveFor(server)) {
          this.#isWatching = true;
          this.#own.send(command, server, keys);
        }
        return true;
      }
      case 'unwatch':
        this.#isWatching = false;
        if (this.#own.isThere && !this.#own.isLost) this.#own.send(command, this.#own.server);
        else client.reply(command, OK);
        return true;
    }
    // Keys of the watched server go the same way as WATCH did; all others are elsewhere, and go the ordinary way.
    if (command.kind !== 'keyed' || this.#own.isLost) return false;
    const keys = keysOfRequest(client, command);
    // Keys on the move that may lie apart are asked for one by one.
    const isApart = command.isSplit && client.pool.map.hasMoves;
    const server = isApart || keys === undefined || keys.length === 0 ? NO_SERVER : oneServer(client, command, keys, true);
    if (!this.#own.isThere || typeof server !== 'number' || !this.#own.isAt(server)) {
      if (!command.isSplit || client.inFlight === 0) return false;
      client.hold('drained');
      return true;
    }
    this.#own.send(command, server, keys);
    return true;
  }

  #inTransaction(command: RoutedCommand, transaction: Transaction): void {
    const client = this.#client;
    switch (command.name) {
      case 'exec':
        this.#exec(command, transaction);
        return;
      case 'discard':
        this.#transaction = undefined;
        this.#isWatching = false;
        if (transaction.isOpen && !this.#own.isLost) this.#own.send(command, this.#own.server);
        else client.reply(command, OK);
        return;
      case 'multi':
        client.reply(command, NESTED);
        return;
      case 'watch':
        client.reply(command, WATCH_INSIDE);
        return;
    }
    const isKeyed = command.kind === 'keyed' || command.kind === 'blocking';
    const isPlain = command.kind === 'any' || command.name === 'ping' || command.name === 'echo' || command.name === 'publish';
    if (!isKeyed && !isPlain) {
      this.#spoil(command, errorReply(`ERR '${command.name}' inside MULTI is not served by a pool`));
      return;
    }
    const keys = isKeyed ? keysOfRequest(client, command) : [];
    if (keys === undefined || keys.length === 0) {
      if (isKeyed && command.soleKey > 0) this.#spoil(command, wrongArityError(command.name));
      else this.#queueKeyless(command, transaction);
      return;
    }
    const server = oneServer(client, command, keys, true);
    // EXEC says what became of it.
    if (this.#own.isMoved) client.reply(command, QUEUED);
    else if (typeof server !== 'number') this.#spoil(command, server);
    else if (transaction.isOpen || this.#isWatching) {
      if (this.#own.isAt(server)) this.#own.send(command, server, keys);
      else this.#spoil(command, this.#elsewhere(command));
    } else if (this.#leaveFor(server)) {
      this.#openTransaction(transaction, server);
      this.#own.send(command, server, keys);
    }
  }

  /** Sees to it that its connection, if it has one, is a good one to this server; false while answers are under way on another, which come first. */
  #leaveFor(server: number): boolean {
    return (this.#own.isAt(server) && !this.#own.isLost) || this.#own.leave();
  }

  #queueKeyless(command: RoutedCommand, transaction: Transaction): void {
    const client = this.#client;
    if (transaction.isOpen && !this.#own.isMoved) this.#own.send(command, this.#own.server);
    else if (transaction.held.length >= client.pool.limits.queuedCommands) this.#spoil(command, TOO_MANY_QUEUED);
    else {
      transaction.held.push(client.frame());
      client.reply(command, QUEUED);
    }
  }

  #exec(command: RoutedCommand, transaction: Transaction): void {
    const client = this.#client;
    const wasWatching = this.#isWatching;
    this.#transaction = undefined;
    this.#isWatching = false;
    // Whoever watches is told that something has changed, and tries again.
    if (this.#own.isMoved) client.reply(command, wasWatching ? { kind: 'null-array' } : MOVED);
    else if (this.#own.isLost) client.reply(command, LOST);
    else if (transaction.isSpoiled) {
      if (transaction.isOpen) this.#own.sendUnheard('*1\r\n$7\r\nDISCARD\r\n');
      client.reply(command, ABORTED);
    } else if (!transaction.isOpen && transaction.held.length === 0 && !this.#own.isThere) client.reply(command, []);
    else {
      if (!transaction.isOpen)
        this.#openTransaction(transaction, this.#own.isThere ? this.#own.server : Math.max(0, client.pool.anyServer()));
      this.#own.send(command, this.#own.server);
    }
  }

  #openTransaction(transaction: Transaction, server: number): void {
    this.#own.connect(server);
    transaction.isOpen = true;
    this.#own.sendUnheard('*1\r\n$5\r\nMULTI\r\n');
    for (const request of transaction.held) this.#own.sendUnheard(request);
    transaction.held.length = 0;
  }

  #spoil(command: RoutedCommand, error: TaggedReply): void {
    this.spoil();
    this.#client.reply(command, error);
  }

  #elsewhere(command: RoutedCommand): TaggedReply {
    return errorReply(
      `CROSSSLOT Keys in request don't hash to the same slot: the keys of '${command.name}' are not on the server of this transaction's other keys`,
    );
  }

  // ── subscriptions ──

  #whileSubscribed(command: RoutedCommand): boolean {
    const client = this.#client;
    const { name } = command;
    if (!IN_SUBSCRIBED.has(name)) {
      if (client.version === 3) return false;
      client.reply(
        command,
        errorReply(`ERR Can't execute '${name}': only (P|S)SUBSCRIBE / (P|S)UNSUBSCRIBE / PING / QUIT / RESET are allowed in this context`),
      );
      return true;
    }
    if (name === 'ping') {
      if (client.version === 3) return false;
    } else if (client.scanner.argCount < 2 && !name.includes('un')) {
      client.reply(command, wrongArityError(name));
      return true;
    }
    let server = this.#own.isThere ? this.#own.server : client.pool.pubSubServer;
    let channels: readonly Bytes[] = [];
    if (name === 'ssubscribe') {
      channels = keysOfRequest(client, command) ?? [];
      const found = oneServer(client, command, channels, true);
      if (typeof found !== 'number' || !this.#own.isAt(found)) {
        client.reply(command, typeof found === 'number' ? this.#elsewhere(command) : found);
        return true;
      }
      server = found;
    } else if (this.#own.isThere && !name.includes('un') && name !== 'ping' && server !== client.pool.pubSubServer) {
      client.reply(command, errorReply(`ERR '${name}' beside sharded channels of another server is not served by a pool`));
      return true;
    }
    const own = this.#own.connect(server);
    client.pool.privates.stand(own, channels);
    own.connection.pushing = true;
    this.#isSubscribed = true;
    client.lastCommand = command;
    client.pool.stats.commands[command.index]! += 1;
    own.connection.write(client.frame());
    return true;
  }

  #onPush(bytes: Bytes, start: number, end: number): void {
    this.#client.push(bytes, start, end);
    // `… unsubscribe … :0`: nothing is left to hear.
    if (bytes[end - 4] === 58 && bytes[end - 3] === 48 && isUnsubscribed(bytes, start, end)) this.#isSubscribed = false;
  }

  #onLost(): void {
    // Whoever waits for messages must learn that some may have been missed, as from a server that dies.
    if (this.#isSubscribed) this.#client.closeAfterReplies();
  }

  /** Gives the connection back, or ends it when it is in the middle of something. */
  end(): void {
    this.#client.session = undefined;
    this.#own.end(this.#transaction !== undefined || this.#isWatching || this.#isSubscribed);
  }
}

function isUnsubscribed(bytes: Bytes, start: number, end: number): boolean {
  if (end - start > 1024) return false;
  return /^[*>]3\r\n\$\d+\r\n[ps]?unsubscribe\r\n/.test(fromUtf8(bytes.subarray(start, Math.min(end, start + 40))));
}
