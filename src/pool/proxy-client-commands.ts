import { type Bytes, fromUtf8, utf8 } from '../base/bytes.ts';
import { integerOf, isWord } from '../resp/codec/ascii.ts';
import { SYNTAX_ERROR, wrongArityError } from '../shard/redis/error-replies.ts';
import { errorReply, OK, type Reply } from '../shard/redis/reply.ts';
import type { ProxyClient } from './proxy-client.ts';
import type { ProxyCommand } from './proxy-commands.ts';

// CLIENT and its subcommands: about the connections of this process to its clients.

const BAD_NAME = errorReply('ERR Client names cannot contain spaces, newlines or special characters.');
const NO_TRACKING = errorReply("ERR 'client tracking' is not served by a pool: its clients share connections to the servers");

/** Undefined when there is nothing to say (CLIENT REPLY OFF). */
export function answerClient(client: ProxyClient, args: readonly Bytes[], command: ProxyCommand): Reply | undefined {
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
      return setInfo(client, args);
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
      return setReplyMode(client, args, command);
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

/** Printable, without blanks. */
function isName(bytes: Bytes): boolean {
  return bytes.every((byte) => byte > 32 && byte < 127);
}

function text(whole: string): Reply {
  return { kind: 'verbatim', format: 'txt', text: utf8(whole) };
}

function setInfo(client: ProxyClient, args: readonly Bytes[]): Reply {
  if (args.length !== 4) return wrongArityError('client|setinfo');
  const isLibName = isWord(args[2]!, 'lib-name');
  if (!isLibName && !isWord(args[2]!, 'lib-ver')) return errorReply(`ERR Unrecognized option '${fromUtf8(args[2]!)}'`);
  if (!isName(args[3]!))
    return errorReply(`ERR ${isLibName ? 'lib-name' : 'lib-ver'} cannot contain spaces, newlines or special characters.`);
  if (isLibName) client.libName = fromUtf8(args[3]!);
  else client.libVersion = fromUtf8(args[3]!);
  return OK;
}

function describe(client: ProxyClient, nowMs: number): string {
  const seconds = (sinceMs: number): number => Math.max(0, Math.floor((nowMs - sinceMs) / 1_000));
  const flags = client.session?.isSubscribed ? 'P' : client.session?.isInTransaction ? 'x' : client.isBlocked ? 'b' : 'N';
  return (
    `id=${client.id} addr=${client.address} laddr=${client.localAddress} fd=-1 name=${client.name} age=${seconds(client.createdMs)} ` +
    `idle=${seconds(client.lastMs)} flags=${flags} db=0 sub=0 psub=0 ssub=0 multi=${client.session?.isInTransaction ? 0 : -1} ` +
    `qbuf=${client.scanner.pendingBytes} qbuf-free=0 argv-mem=0 multi-mem=0 rbs=0 rbp=0 obl=0 oll=${client.inFlight} omem=${client.outputBytes} ` +
    `tot-mem=${client.scanner.pendingBytes + client.outputBytes} events=r cmd=${client.lastCommand?.name ?? 'NULL'} user=default redir=-1 ` +
    `resp=${client.version} lib-name=${client.libName} lib-ver=${client.libVersion}`
  );
}

function setReplyMode(client: ProxyClient, args: readonly Bytes[], _command: ProxyCommand): Reply | undefined {
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
