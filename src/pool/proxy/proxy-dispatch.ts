import { type Bytes, fromUtf8 } from '../../base/bytes.ts';
import { isWord } from '../../resp/codec/ascii.ts';
import { unknownCommandError, wrongArityError } from '../../shard/redis/error-replies.ts';
import { errorReply, type TaggedReply } from '../../shard/redis/reply.ts';
import { findRoutedCommand, keyIndexes, type RoutedCommand } from '../command-table.ts';
import { notTogether } from '../guarded-commands.ts';
import { type CommandPart, splitCommand } from '../joined-answers.ts';
import { encodeRequest } from '../request-encoder.ts';
import { mayWait } from '../waiting-commands.ts';
import { NO_SERVER, type ProxyClient } from './proxy-client.ts';
import { movedReply } from './proxy-cluster.ts';
import { fanOut } from './proxy-fan-out.ts';
import { Join } from './proxy-join.ts';
import { answerLocally } from './proxy-local.ts';
import { beginSession } from './proxy-session.ts';
import { block } from './proxy-waiting.ts';
import { failureReply } from './proxy-wire.ts';

// What is done with a request: answered here, sent to the server of its keys, split over several, or given a connection of its own.

const NOAUTH = errorReply('NOAUTH Authentication required.');
const UNKNOWN: RoutedCommand = findRoutedCommand(Buffer.from('ping'), 0, 4)!;
/** Words of the table that clients may say before they have given the password. */
const BEFORE_AUTH = new Set(['auth', 'hello', 'quit', 'reset']);

/** Starts the request that the client's scanner has just found. */
export function dispatch(client: ProxyClient): void {
  const { scanner, pool } = client;
  const { starts, ends } = scanner;
  const command = findRoutedCommand(scanner.bytes, starts[0]!, ends[0]!);
  if (command === undefined) {
    client.session?.spoil();
    client.reply(UNKNOWN, client.isAuthenticated ? unknownCommandError(scanner.args()) : NOAUTH);
    return;
  }
  if (!client.isAuthenticated && !BEFORE_AUTH.has(command.name)) {
    client.reply(command, NOAUTH);
    return;
  }
  if (pool.isSlow && pool.special?.isActive === true && pool.special.holds(client, command)) return;
  if (client.session?.handles(command)) return;
  const key = command.soleKey;
  if (key === 0) {
    dispatchOther(client, command);
    return;
  }
  if (key >= scanner.argCount) {
    dispatchKeyless(client, command);
    return;
  }
  const from = starts[key]!;
  const keyBytes = new Uint8Array(scanner.bytes.buffer, scanner.bytes.byteOffset + from, ends[key]! - from);
  const server = pool.serverOf(keyBytes);
  if (pool.isSlow && isTaken(client, command, server, [keyBytes])) return;
  if (pool.stats.wantsKey()) pool.stats.sampled(keyBytes);
  const counters = pool.stats.servers[server]!;
  counters.requests++;
  counters.requestBytes += scanner.requestBytes;
  pool.backends(client.version)[server]!.send(client.frame(), client, client.open(command, server, key), client.id);
}

/** Sends the request just read, as it is, to one server. */
export function forward(client: ProxyClient, command: RoutedCommand, server: number, keyIndex = 0): void {
  const { pool } = client;
  const counters = pool.stats.server(server);
  counters.requests++;
  counters.requestBytes += client.scanner.requestBytes;
  pool.backends(client.version)[server]!.send(client.frame(), client, client.open(command, server, keyIndex), client.id);
}

/** Whether the request just read goes another way than over the shared connections now: it waits, is redirected, or is on the move. */
function isTaken(client: ProxyClient, command: RoutedCommand, server: number, keys: readonly Bytes[]): boolean {
  const { pool } = client;
  if (pool.isCongested(server)) {
    pool.wakeWhenDrained(client);
    return true;
  }
  if (keys.length === 0) return false;
  if (client.isRouting && !client.isAsking && pool.redirects === 'backends') {
    client.reply(command, movedReply(pool, keys[0]!, server));
    return true;
  }
  client.isAsking = false;
  return pool.special?.isActive === true && pool.special.takes(client, command, server, keys);
}

function dispatchOther(client: ProxyClient, command: RoutedCommand): void {
  switch (command.kind) {
    case 'keyed':
      dispatchKeyed(client, command);
      return;
    case 'local':
      answerLocally(client, command);
      return;
    case 'any':
      forwardToAny(client, command);
      return;
    case 'all':
      fanOut(client, command);
      return;
    case 'blocking':
      if (mayWait(command.name, client.scanner)) block(client, command);
      else dispatchKeyed(client, command);
      return;
    case 'transaction':
    case 'pubsub':
      beginSession(client, command);
      return;
    case 'refused':
      client.reply(command, errorReply(`ERR '${command.name}' is not served by a pool: ${command.why}`));
      return;
  }
}

/** A keyed command that names no key: its server says what is wrong with it, or, for MEMORY DOCTOR and the like, we do. */
function dispatchKeyless(client: ProxyClient, command: RoutedCommand): void {
  const { scanner } = client;
  if (scanner.argCount === 2 && isWord(scanner.arg(1), 'help')) forwardToAny(client, command);
  else if (scanner.argCount === 2 && command.soleKey === 2) {
    client.reply(command, errorReply(`ERR '${command.name} ${fromUtf8(scanner.arg(1))}' names no key that would tell the server to ask`));
  } else client.reply(command, wrongArityError(command.name));
}

/** Any server that is up answers for all. */
export function forwardToAny(client: ProxyClient, command: RoutedCommand): void {
  const server = client.pool.anyServer();
  if (server < 0) client.reply(command, errorReply('ERR no server of the pool can be reached'));
  else forward(client, command, server);
}

const indexes: number[] = [];

/** The keys of the request just read, copied; undefined when it says no sensible number of them. */
export function keysOfRequest(client: ProxyClient, command: RoutedCommand): Bytes[] | undefined {
  indexes.length = 0;
  if (!keyIndexes(command, client.scanner, indexes)) return undefined;
  return indexes.map((i) => client.scanner.arg(i));
}

/**
 * The one server of all keys; the error that the command deserves else. No keys: any server. `outlives`: for transactions and what waits, which go where
 * keys on the move are going.
 */
export function oneServer(
  client: ProxyClient,
  command: RoutedCommand,
  keys: readonly Bytes[] | undefined,
  outlives = false,
): number | TaggedReply {
  const { pool } = client;
  // A count of keys that is wrong, a word that is missing: for a server to refuse, in its own words.
  if (keys === undefined || keys.length === 0) {
    const server = pool.anyServer();
    return server < 0 ? errorReply('ERR no server of the pool can be reached') : server;
  }
  const serverOf = (key: Bytes): number | undefined => (outlives ? pool.homeOf(key) : pool.serverOf(key));
  const server = serverOf(keys[0]!);
  if (server === undefined) return failureReply(notTogether());
  for (let i = 1; i < keys.length; i++) {
    if (serverOf(keys[i]!) !== server) return crossSlot(command, keys[0]!, keys[i]!);
  }
  return server;
}

function crossSlot(command: RoutedCommand, one: Bytes, other: Bytes): TaggedReply {
  return errorReply(
    `CROSSSLOT Keys in request don't hash to the same slot: '${command.name}' needs all its keys on one server, and ${shown(one)} and ${shown(other)} are not`,
  );
}

export function shown(key: Bytes): string {
  const text = JSON.stringify(fromUtf8(key.length > 64 ? key.subarray(0, 64) : key));
  return key.length > 64 ? `${text}…` : text;
}

function dispatchKeyed(client: ProxyClient, command: RoutedCommand): void {
  const { pool, scanner } = client;
  const refusal = refusalOfArguments(client, command);
  if (refusal) {
    client.reply(command, refusal);
    return;
  }
  const keys = keysOfRequest(client, command);
  if (command.isSplit && keys !== undefined && keys.length > 0) {
    split(client, command, keys);
    return;
  }
  const server = oneServer(client, command, keys);
  if (typeof server !== 'number') {
    client.reply(command, server);
    return;
  }
  if (pool.isSlow && isTaken(client, command, server, keys ?? [])) return;
  forward(client, command, server, scanner.argCount > 1 ? 1 : 0);
}

/** What would look for keys that no argument names. */
function refusalOfArguments(client: ProxyClient, command: RoutedCommand): TaggedReply | undefined {
  if (command.name !== 'sort' && command.name !== 'sort_ro') return undefined;
  const { scanner } = client;
  for (let i = 2; i + 1 < scanner.argCount; i++) {
    const word = scanner.arg(i);
    if (!isWord(word, 'by') && !isWord(word, 'get')) continue;
    const pattern = scanner.arg(++i);
    if (pattern.includes(0x2a)) {
      return errorReply(
        `ERR '${command.name}' with a pattern of other keys (${shown(pattern)}) is not served by a pool: they may lie on other servers`,
      );
    }
  }
  return undefined;
}

/** MGET, MSET, DEL and their like: one command to each server, the answers joined. */
function split(client: ProxyClient, command: RoutedCommand, keys: readonly Bytes[]): void {
  const { pool, scanner } = client;
  const [place] = command.places;
  const step = place!.kind === 'range' ? place!.step : 1;
  if ((scanner.argCount - 1) % step !== 0) {
    client.reply(command, wrongArityError(command.name));
    return;
  }
  const args = scanner.args();
  if (pool.isSlow) {
    const congested = keys.some((key) => pool.isCongested(pool.serverOf(key)));
    if (congested) {
      pool.wakeWhenDrained(client);
      return;
    }
    if (pool.special?.isActive === true && pool.special.takesSplit(client, command, args, keys, step)) return;
  }
  const parts = splitCommand(args, keys, step, (key) => pool.serverOf(key));
  if (parts.length === 1) {
    forward(client, command, parts[0]!.group, 1);
    return;
  }
  sendParts(client, command, parts, ({ group, args: own }, join, index) => {
    pool.stats.server(group).requests++;
    pool.backends(client.version)[group]!.send(encodeRequest(own), join, index, client.id);
  });
}

/** Sends the parts of a command, whose answers `join` makes one. */
export function sendParts(
  client: ProxyClient,
  command: RoutedCommand,
  parts: readonly CommandPart<Bytes, Bytes>[],
  send: (part: CommandPart<Bytes, Bytes>, join: Join, index: number) => void,
): void {
  const token = client.open(command, NO_SERVER, 1);
  const orders = parts.map((part) => part.orders);
  const join = new Join(client, token, command.join!, parts.length, orders);
  for (const [index, part] of parts.entries()) send(part, join, index);
}
