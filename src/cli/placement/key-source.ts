import { isUtf8 } from 'node:buffer';
import { createReadStream } from 'node:fs';
import { type Bytes, fromHex } from '../../base/bytes.ts';
import { KeyfleetError, messageOf } from '../../base/errors.ts';
import type { KeyInput } from '../../partition/hasher.ts';

export interface KeyFlags {
  /** A file of keys, one a line; `-` for standard input. */
  readonly keys?: string;
  readonly hex?: boolean;
}

/** A stretch of keys as they were given, and what they stand for. Arrays of equal length. */
export interface KeyBatch {
  readonly texts: readonly string[];
  readonly keys: readonly KeyInput[];
}

export const KEY_FLAGS = {
  keys: ['-k, --keys <file>', 'keys from a file, one a line; - for standard input'],
  hex: ['--hex', 'keys are written in hex'],
} as const;

/** @throws KF_USAGE naming the argument. */
export function keysOfArguments(texts: readonly string[], hex: boolean): KeyBatch {
  return { texts, keys: hex ? texts.map((text) => hexKey(text, 'KF_USAGE', 'key')) : texts };
}

/**
 * Keys from a file or standard input, a line each, in batches as they come in; empty lines are none. Memory is that of one batch.
 *
 * @throws KF_USAGE when the file cannot be read; KF_BAD_RECORD naming the line that is not UTF-8, or not hex.
 */
export async function* readKeys(path: string, hex: boolean): AsyncGenerator<KeyBatch> {
  const name = path === '-' ? 'standard input' : path;
  let line = 0;
  let rest: Buffer = Buffer.alloc(0);
  const input: AsyncIterable<Buffer> = path === '-' ? process.stdin : createReadStream(path, { highWaterMark: 1 << 18 });
  try {
    for await (const chunk of input) {
      const feed = chunk.lastIndexOf(0x0a);
      const whole = feed < 0 ? Buffer.alloc(0) : Buffer.concat([rest, chunk.subarray(0, feed)]);
      rest = feed < 0 ? Buffer.concat([rest, chunk]) : chunk.subarray(feed + 1);
      if (feed >= 0) yield take(whole);
    }
  } catch (error) {
    if (error instanceof KeyfleetError) throw error;
    throw new KeyfleetError('KF_USAGE', `cannot read keys from ${name}: ${messageOf(error)}`, { cause: error });
  }
  if (rest.length > 0) yield take(rest);

  function take(bytes: Buffer): KeyBatch {
    if (!isUtf8(bytes)) throw notUtf8(bytes);
    const first = line + 1;
    const lines = bytes.toString('utf8').split('\n');
    line += lines.length;
    const texts: string[] = [];
    const keys: KeyInput[] = [];
    for (const [i, raw] of lines.entries()) {
      const text = raw.endsWith('\r') ? raw.slice(0, -1) : raw;
      if (text === '') continue;
      texts.push(text);
      if (hex) keys.push(hexKey(text, 'KF_BAD_RECORD', `${name}:${first + i}`));
    }
    return { texts, keys: hex ? keys : texts };
  }

  function notUtf8(bytes: Buffer): KeyfleetError {
    let at = line + 1;
    for (let from = 0; ; at++) {
      const feed = bytes.indexOf(0x0a, from);
      if (feed < 0 || !isUtf8(bytes.subarray(from, feed))) break;
      from = feed + 1;
    }
    return new KeyfleetError('KF_BAD_RECORD', `${name}:${at}: not UTF-8; give such keys in hex with --hex`);
  }
}

function hexKey(text: string, code: 'KF_USAGE' | 'KF_BAD_RECORD', where: string): Bytes {
  const bytes = fromHex(text);
  if (bytes !== undefined) return bytes;
  const shown = text.length > 60 ? `${text.slice(0, 60)}…` : text;
  throw new KeyfleetError(code, `${where}: ${JSON.stringify(shown)} is not an even number of hex digits`);
}
