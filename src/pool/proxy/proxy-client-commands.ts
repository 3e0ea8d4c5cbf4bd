import { type Bytes, fromUtf8, utf8 } from '../../base/bytes.ts';
import { integerOf, isWord } from '../../resp/codec/ascii.ts';
import { BAD_NAME, clientLine, isName, setClientInfo } from '../../resp/codec/connection-words.ts';
import { SYNTAX_ERROR, wrongArityError } from '../../shard/redis/error-replies.ts';
import { errorReply, OK, type Reply } from '../../shard/redis/reply.ts';
import type { ProxyClient } from './proxy-client.ts';

// CLIENT and its subcommands: about the connections of this process to its clients.

const NO_TRACKING = errorReply("ERR 'client tracking' is not served by a pool: its clients share connections to the servers");

/** Undefined when there is nothing to say (CLIENT REPLY OFF). */
export function answerClient(client: ProxyClient, args: readonly Bytes[]): Reply | undefined {
  if (args.length < 2) return wrongArityError('client');
  const word = fromUtf8(args[1]!).toLowerCase();
  switch (word) {
    case 'id':
      return client.id;
    case 'getname':
      return client.name === '' ? null : utf8(client.name);
    case 'setname':
      if (args.length !== 3) return wrongArityError('client|setname');
      if (!isName(args[2]!)) return BAD_NAME;
      client.name = fromUtf8(args[2]!);
      return OK;
    case 'setinfo':
      return args.length === 4 ? (setClientInfo(client, args[2]!, args[3]!) ?? OK) : wrongArityError('client|setinfo');
    case 'info':
      return text(`${describe(client, Date.now())}\n`);
    case 'list': {
      const nowMs = Date.now();
      return text([...client.pool.clients.values()].map((one) => `${describe(one, nowMs)}\n`).join(''));
    }
    case 'no-evict':
    case 'no-touch':
      return args.length === 3 && (isWord(args[2]!, 'on') || isWord(args[2]!, 'off')) ? OK : SYNTAX_ERROR;
    case 'reply':
      return setReplyMode(client, args);
    case 'kill':
      return kill(client, args);
    case 'getredir':
      return -1;
    case 'tracking':
      return args.length === 3 && isWord(args[2]!, 'off') ? OK : NO_TRACKING;
    case 'trackinginfo':
      return {
        kind: 'map',
        pairs: [
          [utf8('flags'), { kind: 'set', items: [utf8('off')] }],
          [utf8('redirect'), -1],
          [utf8('prefixes'), []],
        ],
      };
    case 'pause':
    case 'unpause':
    case 'unblock':
    case 'caching':
      return errorReply(`ERR 'client ${word}' is not served by a pool`);
    case 'help':
      return [
        'CLIENT ID | INFO | LIST | GETNAME | SETNAME name | SETINFO option value | KILL … | REPLY ON|OFF|SKIP | NO-EVICT | NO-TOUCH',
      ].map((line): Reply => ({ kind: 'status', text: line }));
    default:
      return errorReply(`ERR unknown subcommand '${fromUtf8(args[1]!.subarray(0, 128))}'. Try CLIENT HELP.`);
  }
}

function text(whole: string): Reply {
  return { kind: 'verbatim', format: 'txt', text: utf8(whole) };
}

function describe(client: ProxyClient, nowMs: number): string {
  const { session } = client;
  const isQueueing = session?.isInTransaction === true;
  return clientLine(client, nowMs, session?.isSubscribed ? 'P' : isQueueing ? 'x' : client.isBlocked ? 'b' : '', isQueueing ? 0 : -1);
}

function setReplyMode(client: ProxyClient, args: readonly Bytes[]): Reply | undefined {
  if (args.length !== 3) return wrongArityError('client|reply');
  if (isWord(args[2]!, 'on')) {
    client.replyMode = 'on';
    return OK;
  }
  if (isWord(args[2]!, 'off')) client.replyMode = 'off';
  else if (isWord(args[2]!, 'skip')) {
    if (client.replyMode === 'on') client.replyMode = 'skip';
  } else return SYNTAX_ERROR;
  return undefined;
}

function kill(client: ProxyClient, args: readonly Bytes[]): Reply {
  const isOldForm = args.length === 3;
  let id: number | undefined;
  let address = isOldForm ? fromUtf8(args[2]!) : undefined;
  let sparesSelf = !isOldForm;
  if (args.length < 3 || (!isOldForm && args.length % 2 !== 0)) return SYNTAX_ERROR;
  for (let at = 2; !isOldForm && at < args.length; at += 2) {
    const value = args[at + 1]!;
    if (isWord(args[at]!, 'id')) id = integerOf(value) ?? -1;
    else if (isWord(args[at]!, 'addr')) address = fromUtf8(value);
    else if (isWord(args[at]!, 'skipme')) sparesSelf = isWord(value, 'yes');
    else if (!(isWord(args[at]!, 'type') && isWord(value, 'normal'))) return SYNTAX_ERROR;
  }
  const killed = [...client.pool.clients.values()].filter(
    (one) => (id ?? one.id) === one.id && (address ?? one.address) === one.address && !(sparesSelf && one === client),
  );
  for (const one of killed) {
    if (one === client) one.closeAfterReplies();
    else one.destroy();
  }
  if (isOldForm) return killed.length > 0 ? OK : errorReply('ERR No such client');
  return killed.length;
}
