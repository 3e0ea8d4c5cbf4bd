import { type Bytes, fromUtf8, utf8 } from '../../base/bytes.ts';
import { errorReply, type Reply, type TaggedReply } from '../../shard/redis/reply.ts';
import { integerOf, isWord } from './ascii.ts';

// HELLO, AUTH and CLIENT as Redis words them: what every server of clients here says about a connection, whatever is behind it.

/** The Redis whose commands, replies and error texts we answer with; clients choose their features by it. */
export const REDIS_VERSION = '7.0.15';

export const BAD_NAME: TaggedReply = errorReply('ERR Client names cannot contain spaces, newlines or special characters.');
export const WRONG_PASSWORD: TaggedReply = errorReply('WRONGPASS invalid username-password pair or user is disabled.');
export const NO_PASSWORD_SET: TaggedReply = errorReply(
  'ERR AUTH <password> called without any password configured for the default user. Are you sure your configuration is correct?',
);
export const HELLO_NEEDS_PASSWORD: TaggedReply = errorReply(
  'NOAUTH HELLO must be called with the client already authenticated, otherwise the HELLO <proto> AUTH <user> <pass> option can be used to authenticate the client and select the RESP protocol version at the same time',
);

/** What CLIENT SETNAME takes: printable ASCII without blanks. */
export function isName(bytes: Bytes): boolean {
  return bytes.every((byte) => byte >= 33 && byte <= 126);
}

/**
 * Reads `HELLO [version [AUTH user password] [SETNAME name]]` for a connection that speaks `version`; the error that it deserves else. `logIn` is called before what
 * follows is looked at, as in Redis.
 */
export function readHello(
  args: readonly Bytes[],
  version: 2 | 3,
  logIn: (user: Bytes, password: Bytes) => boolean,
): { readonly version: 2 | 3; readonly name: string | undefined } | TaggedReply {
  let wanted: number | undefined = version;
  if (args.length > 1) wanted = integerOf(args[1]!);
  if (wanted === undefined) return errorReply('ERR Protocol version is not an integer or out of range');
  if (wanted !== 2 && wanted !== 3) return errorReply('NOPROTO unsupported protocol version');
  let name: Bytes | undefined;
  for (let at = 2; at < args.length; at++) {
    const left = args.length - at - 1;
    if (isWord(args[at]!, 'auth') && left >= 2) {
      if (!logIn(args[at + 1]!, args[at + 2]!)) return WRONG_PASSWORD;
      at += 2;
    } else if (isWord(args[at]!, 'setname') && left >= 1) name = args[++at]!;
    else return errorReply(`ERR Syntax error in HELLO option '${fromUtf8(args[at]!)}'`);
  }
  if (name !== undefined && !isName(name)) return BAD_NAME;
  return { version: wanted, name: name === undefined ? undefined : fromUtf8(name) };
}

/** The answer to HELLO. */
export function helloReply(id: number, version: 2 | 3, mode: 'standalone' | 'cluster'): Reply {
  return {
    kind: 'map',
    pairs: [
      [utf8('server'), utf8('redis')],
      [utf8('version'), utf8(REDIS_VERSION)],
      [utf8('proto'), version],
      [utf8('id'), id],
      [utf8('mode'), utf8(mode)],
      [utf8('role'), utf8('master')],
      [utf8('modules'), []],
    ],
  };
}

/** Carries out `CLIENT SETINFO option value`; the error that it deserves, if any. */
export function setClientInfo(client: { libName: string; libVersion: string }, option: Bytes, value: Bytes): TaggedReply | undefined {
  const isLibName = isWord(option, 'lib-name');
  if (!isLibName && !isWord(option, 'lib-ver')) return errorReply(`ERR Unrecognized option '${fromUtf8(option)}'`);
  if (!isName(value)) return errorReply(`ERR ${isLibName ? 'lib-name' : 'lib-ver'} cannot contain spaces, newlines or special characters.`);
  if (isLibName) client.libName = fromUtf8(value);
  else client.libVersion = fromUtf8(value);
  return undefined;
}

/** What CLIENT LIST says of a connection. */
export interface ListedClient {
  readonly id: number;
  readonly address: string;
  readonly localAddress: string;
  readonly name: string;
  readonly createdMs: number;
  readonly lastMs: number;
  readonly scanner: { readonly pendingBytes: number };
  readonly inFlight: number;
  readonly outputBytes: number;
  readonly lastCommand: { readonly name: string } | undefined;
  readonly version: 2 | 3;
  readonly libName: string;
  readonly libVersion: string;
}

/** A line of CLIENT LIST. `queued`: commands in MULTI, -1 outside of it. */
export function clientLine(client: ListedClient, nowMs: number, flags: string, queued: number): string {
  const seconds = (sinceMs: number): number => Math.max(0, Math.floor((nowMs - sinceMs) / 1_000));
  const { pendingBytes } = client.scanner;
  return (
    `id=${client.id} addr=${client.address} laddr=${client.localAddress} fd=-1 name=${client.name} age=${seconds(client.createdMs)} idle=${seconds(client.lastMs)} ` +
    `flags=${flags === '' ? 'N' : flags} db=0 sub=0 psub=0 ssub=0 multi=${queued} qbuf=${pendingBytes} qbuf-free=0 argv-mem=0 multi-mem=0 rbs=0 rbp=0 obl=0 ` +
    `oll=${client.inFlight} omem=${client.outputBytes} tot-mem=${pendingBytes + client.outputBytes} events=r cmd=${client.lastCommand?.name ?? 'NULL'} ` +
    `user=default redir=-1 resp=${client.version} lib-name=${client.libName} lib-ver=${client.libVersion}`
  );
}
