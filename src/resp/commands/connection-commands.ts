import { type Bytes, fromUtf8 } from '../../base/bytes.ts';
import { refusalOfDatabase } from '../../shard/redis/database-index.ts';
import { SYNTAX_ERROR, wrongArityError } from '../../shard/redis/error-replies.ts';
import { errorReply, OK, type Reply, type TaggedReply } from '../../shard/redis/reply.ts';
import { integerOf, isWord } from '../codec/ascii.ts';
import type { Connection } from '../connection.ts';
import type { Door } from '../door.ts';
import { afterEarlier, atOnce, type LocalCall, type LocalCommand } from '../local-command.ts';
import { REDIS_VERSION } from '../redis-version.ts';
import { bulk, status } from './reply-text.ts';

// HELLO, AUTH, PING, ECHO, QUIT, RESET, SELECT.

const PONG = status('PONG');
const WRONG_PASSWORD = errorReply('WRONGPASS invalid username-password pair or user is disabled.');
const NO_PASSWORD_SET = errorReply(
  'ERR AUTH <password> called without any password configured for the default user. Are you sure your configuration is correct?',
);
const HELLO_NEEDS_PASSWORD = errorReply(
  'NOAUTH HELLO must be called with the client already authenticated, otherwise the HELLO <proto> AUTH <user> <pass> option can be used to authenticate the client and select the RESP protocol version at the same time',
);
export const BAD_NAME: TaggedReply = errorReply('ERR Client names cannot contain spaces, newlines or special characters.');

export const CONNECTION_COMMANDS: readonly (readonly [string, LocalCommand])[] = [
  ['ping', atOnce(({ args }) => (args.length === 1 ? PONG : args.length === 2 ? args[1]! : wrongArityError('ping')))],
  ['echo', atOnce(({ args }) => args[1]!)],
  ['quit', afterEarlier(quit)],
  ['reset', afterEarlier(reset)],
  ['select', atOnce(({ args }) => refusalOfDatabase(args[1]!) ?? OK)],
  ['auth', afterEarlier(auth)],
  ['hello', afterEarlier(hello)],
];

function quit({ conn }: LocalCall): Reply {
  conn.closeAfterReplies();
  return OK;
}

function reset({ door, conn }: LocalCall): Reply {
  conn.version = 2;
  conn.name = '';
  conn.replyMode = 'on';
  conn.noEvict = false;
  conn.noTouch = false;
  conn.transaction.reset();
  conn.setAuthenticated(door.settings.requirepass === '');
  return status('RESET');
}

function auth({ door, conn, args }: LocalCall): Reply {
  if (args.length > 3) return SYNTAX_ERROR;
  if (args.length === 2 && door.settings.requirepass === '') return NO_PASSWORD_SET;
  return logIn(door, conn, args.length === 3 ? args[1]! : undefined, args.at(-1)!) ? OK : WRONG_PASSWORD;
}

/** There is one user, `default`; without `requirepass` it takes any password. */
function logIn(door: Door, conn: Connection, user: Bytes | undefined, password: Bytes): boolean {
  const isUser = user === undefined || fromUtf8(user) === 'default';
  if (!isUser || (door.settings.requirepass !== '' && !door.isPassword(password))) {
    door.stats.authFailures++;
    return false;
  }
  conn.setAuthenticated(true);
  return true;
}

/** What CLIENT SETNAME takes: printable ASCII without blanks. */
export function isName(bytes: Bytes): boolean {
  return bytes.every((byte) => byte >= 33 && byte <= 126);
}

function hello({ door, conn, args }: LocalCall): Reply {
  let version: 2 | 3 = conn.version;
  if (args.length > 1) {
    const wanted = integerOf(args[1]!);
    if (wanted === undefined) return errorReply('ERR Protocol version is not an integer or out of range');
    if (wanted !== 2 && wanted !== 3) return errorReply('NOPROTO unsupported protocol version');
    version = wanted;
  }
  let name: Bytes | undefined;
  for (let at = 2; at < args.length; at++) {
    const left = args.length - at - 1;
    if (isWord(args[at]!, 'auth') && left >= 2) {
      // Before what follows is looked at, as in Redis.
      if (!logIn(door, conn, args[at + 1]!, args[at + 2]!)) return WRONG_PASSWORD;
      at += 2;
    } else if (isWord(args[at]!, 'setname') && left >= 1) {
      name = args[at + 1]!;
      at++;
    } else return errorReply(`ERR Syntax error in HELLO option '${fromUtf8(args[at]!)}'`);
  }
  if (!conn.authenticated) return HELLO_NEEDS_PASSWORD;
  if (name) {
    if (!isName(name)) return BAD_NAME;
    conn.name = fromUtf8(name);
  }
  conn.version = version;
  return {
    kind: 'map',
    pairs: [
      [bulk('server'), bulk('redis')],
      [bulk('version'), bulk(REDIS_VERSION)],
      [bulk('proto'), version],
      [bulk('id'), conn.id],
      [bulk('mode'), bulk('standalone')],
      [bulk('role'), bulk('master')],
      [bulk('modules'), []],
    ],
  };
}
