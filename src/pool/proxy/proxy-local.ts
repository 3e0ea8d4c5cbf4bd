import { type Bytes, fromUtf8, utf8 } from '../../base/bytes.ts';
import { isSameSecret } from '../../door/access.ts';
import { integerOf, isWord } from '../../resp/codec/ascii.ts';
import { HELLO_NEEDS_PASSWORD, helloReply, NO_PASSWORD_SET, readHello, WRONG_PASSWORD } from '../../resp/codec/connection-words.ts';
import { SYNTAX_ERROR, unknownSubcommandError, wrongArityError } from '../../shard/redis/error-replies.ts';
import { matchesGlob } from '../../shard/redis/glob.ts';
import { errorReply, OK, type Reply } from '../../shard/redis/reply.ts';
import type { RoutedCommand } from '../command-table.ts';
import type { ProxyClient } from './proxy-client.ts';
import { answerClient } from './proxy-client-commands.ts';
import { answerCluster } from './proxy-cluster.ts';
import { randomKey, scan } from './proxy-fan-out.ts';
import { proxyInfo } from './proxy-info.ts';

// The commands that the proxy answers itself: those about the connection, and about the proxy.

type LocalAnswer = (client: ProxyClient, args: readonly Bytes[], command: RoutedCommand) => Reply | undefined;

const PONG: Reply = { kind: 'status', text: 'PONG' };

/** Those that wait for all earlier answers: they change how the later ones are given. */
const AFTER_EARLIER = new Set(['hello', 'auth', 'quit', 'reset']);

const ANSWERS: Readonly<Record<string, LocalAnswer>> = {
  ping: (client, args) => {
    if (args.length > 2) return wrongArityError('ping');
    return args.length === 2 ? args[1]! : client.session?.isSubscribed && client.version === 2 ? [utf8('pong'), utf8('')] : PONG;
  },
  echo: (_, args) => (args.length === 2 ? args[1]! : wrongArityError('echo')),
  hello,
  auth,
  select,
  quit: (client) => {
    client.session?.end();
    client.closeAfterReplies();
    return OK;
  },
  reset: (client) => {
    client.session?.end();
    client.version = 2;
    client.name = '';
    client.replyMode = 'on';
    client.isAsking = false;
    client.setAuthenticated(client.pool.password === undefined);
    return { kind: 'status', text: 'RESET' };
  },
  client: answerClient,
  config,
  info: (client, args) => {
    const text = utf8(
      proxyInfo(
        client.pool,
        args.slice(1).map((arg) => fromUtf8(arg).toLowerCase()),
      ),
    );
    return { kind: 'verbatim', format: 'txt', text };
  },
  cluster: answerCluster,
  asking: (client) => {
    client.isAsking = true;
    return OK;
  },
  readonly: () => OK,
  readwrite: () => OK,
  role: () => [utf8('master'), 0, []],
  slowlog,
  hotkeys: (client, args) =>
    client.pool.stats
      .hotKeys(args.length > 1 ? (integerOf(args[1]!) ?? 20) : 20)
      .map(([key, count]): Reply => [utf8(key), Math.round(count)]),
};

/** Answers the request just read. */
export function answerLocally(client: ProxyClient, command: RoutedCommand): void {
  if (command.name === 'scan') scan(client, command);
  else if (command.name === 'randomkey') randomKey(client, command);
  else if (AFTER_EARLIER.has(command.name) && client.inFlight > 0) client.hold('drained');
  else {
    const reply = ANSWERS[command.name]!(client, client.scanner.args(), command);
    if (reply !== undefined) client.reply(command, reply);
  }
}

function hello(client: ProxyClient, args: readonly Bytes[]): Reply {
  let { isAuthenticated } = client;
  const asked = readHello(args, client.version, (user, password) => {
    const isRight = isPassword(client, user, password);
    isAuthenticated ||= isRight;
    return isRight;
  });
  if ('kind' in asked) return asked;
  if (!isAuthenticated) return HELLO_NEEDS_PASSWORD;
  client.setAuthenticated(true);
  if (client.session !== undefined && asked.version !== client.version)
    return errorReply('ERR the protocol cannot change inside MULTI, WATCH or a subscription');
  client.version = asked.version;
  if (asked.name !== undefined) client.name = asked.name;
  return helloReply(client.id, asked.version, client.pool.redirects === 'off' ? 'standalone' : 'cluster');
}

function auth(client: ProxyClient, args: readonly Bytes[]): Reply {
  if (args.length < 2 || args.length > 3) return args.length < 2 ? wrongArityError('auth') : SYNTAX_ERROR;
  if (args.length === 2 && client.pool.password === undefined) return NO_PASSWORD_SET;
  const isRight = isPassword(client, args.length === 3 ? args[1]! : utf8(client.pool.config.username ?? 'default'), args.at(-1)!);
  if (!isRight) return WRONG_PASSWORD;
  client.setAuthenticated(true);
  return OK;
}

/** Without a password any is right, for the user `default`, as in Redis. */
function isPassword(client: ProxyClient, user: Bytes, password: Bytes): boolean {
  const wanted = client.pool.password;
  const name = fromUtf8(user);
  const isUser = name === 'default' || name === client.pool.config.username;
  const isRight = isUser && (wanted === undefined || isSameSecret(wanted, password));
  if (!isRight) client.pool.stats.authFailures++;
  return isRight;
}

function select(client: ProxyClient, args: readonly Bytes[]): Reply {
  if (args.length !== 2) return wrongArityError('select');
  const database = integerOf(args[1]!);
  if (database === undefined) return errorReply('ERR value is not an integer or out of range');
  if (database === 0) return OK;
  return errorReply(`ERR DB index is out of range: a pool has one database, number ${client.pool.config.db} of its servers (redis_db)`);
}

function config(client: ProxyClient, args: readonly Bytes[]): Reply {
  if (args.length < 2) return wrongArityError('config');
  const { pool } = client;
  if (isWord(args[1]!, 'get')) {
    if (args.length < 3) return wrongArityError('config|get');
    const all: readonly (readonly [string, string])[] = [
      ['maxclients', String(pool.config.clientConnections)],
      ['databases', '1'],
      ['timeout', '0'],
      ['proto-max-bulk-len', String(pool.limits.bulkBytes)],
      ['slowlog-log-slower-than', String(pool.stats.slowMs * 1_000)],
      ['maxmemory', '0'],
      ['maxmemory-policy', 'noeviction'],
      ['save', ''],
      ['appendonly', 'no'],
      ['cluster-enabled', pool.redirects === 'off' ? 'no' : 'yes'],
      ['port', String(pool.port)],
    ];
    const patterns = args.slice(2).map((pattern) => utf8(fromUtf8(pattern).toLowerCase()));
    const found = all.filter(([name]) => patterns.some((pattern) => matchesGlob(pattern, utf8(name))));
    return { kind: 'map', pairs: found.map(([name, value]) => [utf8(name), utf8(value)]) };
  }
  if (isWord(args[1]!, 'set')) {
    const value = args.length === 4 && isWord(args[2]!, 'slowlog-log-slower-than') ? integerOf(args[3]!) : undefined;
    if (value === undefined)
      return errorReply('ERR CONFIG SET is not served by a pool but for slowlog-log-slower-than: change the pool file and send SIGHUP');
    pool.stats.slowMs = value < 0 ? Number.POSITIVE_INFINITY : value / 1_000;
    return OK;
  }
  if (isWord(args[1]!, 'resetstat'))
    return errorReply('ERR CONFIG RESETSTAT is not served by a pool: its counters only grow, for Prometheus');
  if (isWord(args[1]!, 'rewrite')) return errorReply('ERR CONFIG REWRITE is not served by a pool: its file is yours');
  return unknownSubcommandError('config', args[1]!);
}

function slowlog(client: ProxyClient, args: readonly Bytes[]): Reply {
  const { stats } = client.pool;
  if (args.length < 2) return wrongArityError('slowlog');
  if (isWord(args[1]!, 'len')) return stats.slowEntries().length;
  if (isWord(args[1]!, 'reset')) {
    stats.resetSlow();
    return OK;
  }
  if (!isWord(args[1]!, 'get')) return unknownSubcommandError('slowlog', args[1]!);
  const count = args.length > 2 ? integerOf(args[2]!) : 10;
  if (count === undefined || count < -1) return errorReply('ERR count should be greater than or equal to -1');
  const entries = stats.slowEntries();
  return entries.slice(0, count === -1 ? entries.length : count).map(({ id, atMs, tookMs, command, key, address, clientName }): Reply => {
    const words: Bytes[] = [utf8(command)];
    if (key && fromUtf8(key).toLowerCase() !== command) words.push(key);
    return [id, Math.floor(atMs / 1_000), Math.round(tookMs * 1_000), words, utf8(address), utf8(clientName)];
  });
}
