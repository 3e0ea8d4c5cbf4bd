import { type Bytes, fromUtf8 } from '../../base/bytes.ts';
import { refusalOfDatabase } from '../../shard/redis/database-index.ts';
import { SYNTAX_ERROR, wrongArityError } from '../../shard/redis/error-replies.ts';
import { OK, type Reply } from '../../shard/redis/reply.ts';
import { HELLO_NEEDS_PASSWORD, helloReply, NO_PASSWORD_SET, readHello, WRONG_PASSWORD } from '../codec/connection-words.ts';
import type { Connection } from '../connection.ts';
import type { Door } from '../door.ts';
import { afterEarlier, atOnce, type LocalCall, type LocalCommand } from '../local-command.ts';
import { status } from './reply-text.ts';

// HELLO, AUTH, PING, ECHO, QUIT, RESET, SELECT.

const PONG = status('PONG');

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
  conn.readsReplicas = false;
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

function hello({ door, conn, args }: LocalCall): Reply {
  const asked = readHello(args, conn.version, (user, password) => logIn(door, conn, user, password));
  if ('kind' in asked) return asked;
  if (!conn.authenticated) return HELLO_NEEDS_PASSWORD;
  if (asked.name !== undefined) conn.name = asked.name;
  conn.version = asked.version;
  return helloReply(conn.id, asked.version, door.cluster ? 'cluster' : 'standalone');
}
