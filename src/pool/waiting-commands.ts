import { type Bytes, fromUtf8, utf8 } from '../base/bytes.ts';
import { isWord } from '../resp/codec/ascii.ts';
import type { RequestArgs } from './command-table.ts';

// Commands that wait at their server until there is something, or their time is over.

/** Whether a command of kind `blocking` waits as it stands: reading streams does only with the BLOCK option. */
export function mayWait(name: string, request: RequestArgs): boolean {
  return !readsStreams(name) || blockAt(request) > 0;
}

/**
 * The same command, begun `passedMs` ago, to go on elsewhere; undefined when its time is over, or when nobody can say where it was: `XREAD … $` means what came
 * after it was first asked for.
 */
export function withTimeLeft(name: string, request: RequestArgs, passedMs: number): Bytes[] | undefined {
  const args = Array.from({ length: request.argCount }, (_, i) => request.arg(i));
  if (readsStreams(name) && args.some((arg) => arg.length === 1 && arg[0] === DOLLAR)) return undefined;
  const at = readsStreams(name) ? blockAt(request) : name === 'blmpop' || name === 'bzmpop' ? 1 : args.length - 1;
  const unitMs = readsStreams(name) ? 1 : 1_000;
  const timeout = Number(fromUtf8(args[at] ?? utf8('0')));
  if (timeout === 0) return args;
  const left = timeout - passedMs / unitMs;
  if (!(left > 0)) return undefined;
  args[at] = utf8(unitMs === 1 ? String(Math.ceil(left)) : left.toFixed(3));
  return Number(fromUtf8(args[at])) === 0 ? undefined : args;
}

/** Whether the whole reply that begins at `start` is a nil, which says that the time was over. */
export function isNilReply(bytes: Bytes, start: number): boolean {
  return bytes[start] === UNDERSCORE || ((bytes[start] === STAR || bytes[start] === BULK) && bytes[start + 1] === MINUS);
}

function readsStreams(name: string): boolean {
  return name === 'xread' || name === 'xreadgroup';
}

/** The place of the time of a BLOCK option; 0 without one. */
function blockAt(request: RequestArgs): number {
  for (let i = 1; i < request.argCount; i++) {
    const word = request.arg(i);
    if (isWord(word, 'streams')) return 0;
    if (isWord(word, 'block')) return i + 1;
  }
  return 0;
}

const DOLLAR = 36;
const BULK = 36;
const STAR = 42;
const MINUS = 45;
const UNDERSCORE = 95;
