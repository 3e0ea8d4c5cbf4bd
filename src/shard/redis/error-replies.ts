import { type Bytes, fromUtf8 } from '../../base/bytes.ts';
import { errorReply, type TaggedReply } from './reply.ts';

// The errors of Redis 7.0, word for word: client libraries compare them.

export const WRONG_TYPE = errorReply('WRONGTYPE Operation against a key holding the wrong kind of value');
export const SYNTAX_ERROR = errorReply('ERR syntax error');
export const NOT_AN_INTEGER = errorReply('ERR value is not an integer or out of range');
export const NOT_AN_INT32 = errorReply('ERR value is out of range, value must between -2147483648 and 2147483647');
export const OUT_OF_POSITIVE = errorReply('ERR value is out of range, must be positive');
export const LONG_RANGE_ERROR = errorReply('ERR value is out of range, value must between -9223372036854775807 and 9223372036854775807');
export const NOT_A_FLOAT = errorReply('ERR value is not a valid float');
export const NO_SUCH_KEY = errorReply('ERR no such key');
export const CROSS_SLOT = errorReply("CROSSSLOT Keys in request don't hash to the same slot");

/** `name` as in the table: `get`, `object|encoding`. */
export function wrongArityError(name: string): TaggedReply {
  return errorReply(`ERR wrong number of arguments for '${name}' command`);
}

/** What a client reads when it asks for a command that is not there; shows the first arguments, as Redis does. */
export function unknownCommandError(args: readonly Bytes[]): TaggedReply {
  let shown = '';
  let room = 128;
  for (let i = 1; i < args.length && room > 0; i++) {
    const part = cString(args[i]!, room);
    shown += `'${fromUtf8(part)}' `;
    room -= part.length + 3;
  }
  return errorReply(oneLine(`ERR unknown command '${fromUtf8(cString(args[0]!, 128))}', with args beginning with: ${shown}`));
}

export function unknownSubcommandError(command: string, subcommand: Bytes): TaggedReply {
  return errorReply(oneLine(`ERR unknown subcommand '${fromUtf8(cString(subcommand, 128))}'. Try ${command.toUpperCase()} HELP.`));
}

/** At most `limit` bytes, up to the first zero: what C's printf shows of them. */
function cString(bytes: Bytes, limit: number): Bytes {
  const end = bytes.indexOf(0);
  return bytes.subarray(0, Math.min(limit, end < 0 ? bytes.length : end));
}

/** An error's text with something of the client's in it: cut at line breaks it ends with, other line breaks as spaces. */
export function oneLine(text: string): string {
  return text.replace(/[\r\n]+$/, '').replace(/[\r\n]/g, ' ');
}
