import type { Bytes } from '../base/bytes.ts';
import { latin1Slice } from './latin1.ts';
import type { EncodedRequest } from './reply-sink.ts';

/** An argument of a command: text goes as UTF-8, a number as its digits. */
export type CommandArg = string | number | bigint | Bytes;

/** Strings and bytes from this length on are not copied into the text of the request. */
const LONG_BYTES = 4 * 1024;

/** A command as RESP: Latin-1 text when all is short, else text and bytes in turn. Cost: O(bytes), one string for a short command. */
export function encodeRequest(args: readonly CommandArg[]): EncodedRequest {
  let text = `*${args.length}\r\n`;
  let parts: (string | Bytes)[] | undefined;
  for (let i = 0; i < args.length; i++) {
    const arg = args[i]!;
    if (typeof arg === 'string') {
      const bytes = arg.length < SCANNED_CHARS && isAscii(arg) ? arg.length : Buffer.byteLength(arg);
      if (bytes === arg.length && bytes < LONG_BYTES) text += `$${bytes}\r\n${arg}\r\n`;
      else if (bytes < LONG_BYTES) text += `$${bytes}\r\n${latin1Slice(Buffer.from(arg))}\r\n`;
      else {
        parts ??= [];
        parts.push(`${text}$${bytes}\r\n`, Buffer.from(arg));
        text = '\r\n';
      }
    } else if (typeof arg === 'object') {
      if (arg.length < LONG_BYTES) text += `$${arg.length}\r\n${latin1Slice(arg)}\r\n`;
      else {
        parts ??= [];
        parts.push(`${text}$${arg.length}\r\n`, arg);
        text = '\r\n';
      }
    } else {
      const digits = String(arg);
      text += `$${digits.length}\r\n${digits}\r\n`;
    }
  }
  if (parts === undefined) return text;
  parts.push(text);
  return parts;
}

/** Below this many characters a loop is quicker than a call into the engine. */
const SCANNED_CHARS = 24;

function isAscii(text: string): boolean {
  for (let i = 0; i < text.length; i++) if (text.charCodeAt(i) > 0x7f) return false;
  return true;
}
