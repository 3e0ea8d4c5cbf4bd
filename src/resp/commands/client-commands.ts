import { type Bytes, fromUtf8, utf8 } from '../../base/bytes.ts';
import { NOT_AN_INTEGER, SYNTAX_ERROR, wrongArityError } from '../../shard/redis/error-replies.ts';
import { errorReply, OK, type Reply } from '../../shard/redis/reply.ts';
import { integerOf, isWord } from '../codec/ascii.ts';
import { BAD_NAME, clientLine, isName, setClientInfo } from '../codec/connection-words.ts';
import type { Connection } from '../connection.ts';
import { afterEarlier, atOnce, type LocalCall, type LocalCommand, SILENT } from '../local-command.ts';
import { help, verbatim } from './reply-text.ts';

// CLIENT and its subcommands.

export const CLIENT_COMMANDS: readonly (readonly [string, LocalCommand])[] = [
  ['client', atOnce(({ spec }) => wrongArityError(spec.name))],
  ['client|id', atOnce(({ conn }) => conn.id)],
  ['client|info', atOnce(({ conn }) => verbatim(`${describe(conn, Date.now())}\n`))],
  ['client|list', atOnce(list)],
  ['client|getname', atOnce(({ conn }) => (conn.name === '' ? null : utf8(conn.name)))],
  ['client|setname', atOnce(setName)],
  ['client|setinfo', atOnce(setInfo)],
  ['client|no-evict', atOnce((call) => onOff(call, (isOn) => void (call.conn.noEvict = isOn)))],
  ['client|no-touch', atOnce((call) => onOff(call, (isOn) => void (call.conn.noTouch = isOn)))],
  ['client|kill', afterEarlier(kill)],
  ['client|reply', afterEarlier(setReplyMode)],
  ['client|pause', atOnce(pause)],
  ['client|unpause', atOnce(unpause)],
  ['client|unblock', atOnce(unblock)],
  ['client|help', atOnce(({ door, spec }) => help(door.containerOf(spec)))],
];

/** A line of CLIENT LIST. */
function describe(conn: Connection, nowMs: number): string {
  const { isBlocked, transaction, noEvict, noTouch } = conn;
  const flags = `${isBlocked ? 'b' : ''}${transaction.isOpen ? 'x' : ''}${noEvict ? 'e' : ''}${noTouch ? 'T' : ''}`;
  return clientLine(conn, nowMs, flags, transaction.length);
}

const CLIENT_TYPES = ['normal', 'master', 'slave', 'replica', 'pubsub'];

function list({ door, args }: LocalCall): Reply {
  let shown = [...door.connections.values()];
  if (args.length > 2) {
    if (isWord(args[2]!, 'type') && args.length === 4) {
      const type = fromUtf8(args[3]!).toLowerCase();
      if (!CLIENT_TYPES.includes(type)) return unknownType(args[3]!);
      if (type !== 'normal') shown = [];
    } else if (isWord(args[2]!, 'id') && args.length > 3) {
      const ids = args.slice(3).map(integerOf);
      if (ids.some((id) => id === undefined)) return errorReply('ERR Invalid client ID');
      shown = ids.map((id) => door.connections.get(id!)).filter((conn) => conn !== undefined);
    } else return SYNTAX_ERROR;
  }
  const nowMs = Date.now();
  return verbatim(shown.map((conn) => `${describe(conn, nowMs)}\n`).join(''));
}

function unknownType(type: Bytes): Reply {
  return errorReply(`ERR Unknown client type '${fromUtf8(type)}'`);
}

function setName({ conn, args }: LocalCall): Reply {
  if (!isName(args[2]!)) return BAD_NAME;
  conn.name = fromUtf8(args[2]!);
  return OK;
}

function setInfo({ conn, args }: LocalCall): Reply {
  return setClientInfo(conn, args[2]!, args[3]!) ?? OK;
}

function onOff({ args }: LocalCall, set: (isOn: boolean) => void): Reply {
  const isOn = isWord(args[2]!, 'on');
  if (!isOn && !isWord(args[2]!, 'off')) return SYNTAX_ERROR;
  set(isOn);
  return OK;
}

function setReplyMode({ conn, spec, args }: LocalCall): Reply | typeof SILENT {
  if (isWord(args[2]!, 'on')) {
    // The request itself was muted when replies were off, and yet has an answer.
    const wasOff = conn.replyMode === 'off';
    conn.replyMode = 'on';
    if (!wasOff) return OK;
    conn.settled(conn.open(spec), OK);
    return SILENT;
  }
  if (isWord(args[2]!, 'off')) conn.replyMode = 'off';
  else if (isWord(args[2]!, 'skip')) {
    if (conn.replyMode === 'on') conn.replyMode = 'skip';
  } else return SYNTAX_ERROR;
  return SILENT;
}

function pause({ door, args }: LocalCall): Reply {
  const timeoutMs = integerOf(args[2]!);
  const mode = args[3];
  if (args.length > 4) return tooManyArguments(args);
  if (mode && !isWord(mode, 'write') && !isWord(mode, 'all')) return errorReply('ERR CLIENT PAUSE mode must be WRITE or ALL');
  if (timeoutMs === undefined) return errorReply('ERR timeout is not an integer or out of range');
  if (timeoutMs < 0) return errorReply('ERR timeout is negative');
  door.pause(Date.now() + timeoutMs, !mode || isWord(mode, 'all'));
  return OK;
}

/** Redis finds no form of the subcommand that takes so many. */
function tooManyArguments(args: LocalCall['args']): Reply {
  return errorReply(`ERR unknown subcommand or wrong number of arguments for '${fromUtf8(args[1]!)}'. Try CLIENT HELP.`);
}

function unpause({ door }: LocalCall): Reply {
  door.unpause();
  return OK;
}

function unblock({ door, args }: LocalCall): Reply {
  const reason = args[3];
  if (args.length > 4) return tooManyArguments(args);
  const isError = reason !== undefined && isWord(reason, 'error');
  if (reason !== undefined && !isError && !isWord(reason, 'timeout')) {
    return errorReply('ERR CLIENT UNBLOCK reason should be TIMEOUT or ERROR');
  }
  const id = integerOf(args[2]!);
  if (id === undefined) return NOT_AN_INTEGER;
  const conn = door.connections.get(id);
  return conn !== undefined && door.blocked.unblock(conn, isError) ? 1 : 0;
}

/** What CLIENT KILL looks for; absent: anything. */
interface Wanted {
  readonly id?: number;
  readonly type?: string;
  readonly address?: string;
  readonly localAddress?: string;
  readonly user?: string;
}

function kill({ door, conn, args }: LocalCall): Reply {
  const isOldForm = args.length === 3;
  let wanted: Wanted = isOldForm ? { address: fromUtf8(args[2]!) } : {};
  let spareSelf = !isOldForm;
  if (!isOldForm && args.length % 2 !== 0) return SYNTAX_ERROR;
  for (let at = 2; !isOldForm && at < args.length; at += 2) {
    const option = args[at]!;
    const value = args[at + 1]!;
    const text = fromUtf8(value);
    if (isWord(option, 'id')) {
      const id = integerOf(value);
      if (id === undefined || id < 1) return errorReply('ERR client-id should be greater than 0');
      wanted = { ...wanted, id };
    } else if (isWord(option, 'type')) {
      if (!CLIENT_TYPES.includes(text.toLowerCase())) return unknownType(value);
      wanted = { ...wanted, type: text.toLowerCase() };
    } else if (isWord(option, 'addr')) wanted = { ...wanted, address: text };
    else if (isWord(option, 'laddr')) wanted = { ...wanted, localAddress: text };
    else if (isWord(option, 'user')) {
      if (text !== 'default') return errorReply(`ERR No such user '${text}'`);
      wanted = { ...wanted, user: text };
    } else if (isWord(option, 'skipme') && (isWord(value, 'yes') || isWord(value, 'no'))) spareSelf = isWord(value, 'yes');
    else return SYNTAX_ERROR;
  }
  const killed = [...door.connections.values()].filter((one) => matches(one, wanted) && !(spareSelf && one === conn));
  for (const one of killed) {
    // Our own reply still has to leave.
    if (one === conn) one.closeAfterReplies();
    else one.destroy();
  }
  if (isOldForm) return killed.length > 0 ? OK : errorReply('ERR No such client');
  return killed.length;
}

function matches(conn: Connection, wanted: Wanted): boolean {
  return (
    (wanted.id ?? conn.id) === conn.id &&
    (wanted.address ?? conn.address) === conn.address &&
    (wanted.localAddress ?? conn.localAddress) === conn.localAddress &&
    (wanted.type ?? 'normal') === 'normal' &&
    (wanted.user === undefined || conn.authenticated)
  );
}
