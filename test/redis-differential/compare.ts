import type { Bytes } from '../../src/base/bytes.ts';
import type { Reply, TaggedReply } from '../../src/shard/redis/reply.ts';

/** Something that answers commands: the module over maps, or a server behind a socket. */
export interface Subject {
  run(args: readonly Bytes[]): Reply | Promise<Reply>;
}

/** A reply as text that equals another's exactly when clients may not tell the two apart; `command` says what they may tell. */
export function normalise(command: readonly Bytes[], reply: Reply): string {
  const [name, second] = command.map((arg) => Buffer.from(arg).toString('latin1').toLowerCase());
  if (isError(reply)) return show(reply);
  if (isPairs(reply)) return normalise(command, reply.pairs);
  switch (name) {
    case 'smembers':
    case 'sinter':
    case 'sdiff':
    case 'sunion':
      return showUnordered(reply);
    case 'spop':
    case 'srandmember':
      // Which members is left to chance.
      return Array.isArray(reply) || isSet(reply) ? `${itemsIn(reply).length} members` : shape(reply);
    case 'hkeys':
    case 'hvals':
      return Array.isArray(reply) ? `[${reply.map(show).sort().join(' ')}]` : show(reply);
    case 'hgetall':
      return showUnorderedMap(reply);
    case 'hrandfield':
    case 'zrandmember':
      // Which fields is left to chance.
      return Array.isArray(reply) ? `${reply.length} of ${Array.isArray(reply[0]) ? 'pairs' : 'fields'}` : shape(reply);
    case 'hscan':
    case 'sscan':
    case 'zscan':
    case 'scan':
      return showScan(reply);
    case 'keys':
      return Array.isArray(reply) ? `[${reply.map(show).sort().join(' ')}]` : show(reply);
    case 'hello':
    case 'randomkey':
    case 'time':
    case 'info':
    case 'lolwut':
      return shape(reply);
    case 'client':
    case 'command':
      // These describe the server itself.
      return ['id', 'info', 'list', 'help', 'count', 'docs'].includes(second ?? '') ? shape(reply) : show(reply);
    case 'config':
      return second === 'help' ? shape(reply) : show(reply);
    case 'object':
      if (second === 'encoding') return show(reply).replace(/"(int|embstr|raw)"/, 'a string');
      return shape(reply);
    default:
      return show(reply);
  }
}

/** The commands whose answer is a time: the two sides read their clocks one after the other. */
export const TIME_TOLERANCE: Readonly<Record<string, number>> = { ttl: 4, expiretime: 4, pttl: 4_000, pexpiretime: 4_000 };

/** The latest expiry that Keyfleet keeps; a later one is kept as this. */
const LATEST_MS = Number.MAX_SAFE_INTEGER;

/** Redis counts keys that a past expiry was given to until it looks at them; Keyfleet has removed these. A test has no more of them. */
const UNSEEN_EXPIRED = 8;

/** Whether our reply `a` to `command` and Redis's reply `b` are the same to a client. */
export function areAlike(command: readonly Bytes[], a: Reply, b: Reply): boolean {
  const name = Buffer.from(command[0]!).toString('latin1').toLowerCase();
  if (name === 'dbsize' && isInteger(a) && isInteger(b)) return b >= a && Number(b) <= Number(a) + UNSEEN_EXPIRED;
  // Redis takes an overflow in reading an earlier number for one in this command.
  if (name.startsWith('sort') && isError(b) && show(b).includes("scores can't be converted") && command.length < 5) return true;
  const tolerance = TIME_TOLERANCE[name];
  if (tolerance !== undefined && isInteger(a) && isInteger(b) && a >= 0 && b >= 0) {
    const limit = tolerance > 1_000 ? LATEST_MS : LATEST_MS / 1_000;
    return Math.abs(Number(a) - Number(b)) <= tolerance || (Number(a) >= limit - 2e13 && Number(b) >= limit - 2e13);
  }
  return normalise(command, a) === normalise(command, b);
}

function isInteger(reply: Reply): reply is number | bigint {
  return typeof reply === 'number' || typeof reply === 'bigint';
}

export function isError(reply: Reply): boolean {
  return reply !== null && typeof reply === 'object' && 'kind' in reply && reply.kind === 'error';
}

/** RESP3 writes pairs as arrays of two. */
function isPairs(reply: Reply): reply is Extract<TaggedReply, { kind: 'pairs' }> {
  return reply !== null && typeof reply === 'object' && 'kind' in reply && reply.kind === 'pairs';
}

/** A reply for people, exact. */
export function show(reply: Reply): string {
  if (reply === null) return 'nil';
  if (isInteger(reply)) return `:${reply}`;
  if (reply instanceof Uint8Array) return JSON.stringify(Buffer.from(reply).toString('latin1'));
  if (Array.isArray(reply)) return `[${reply.map(show).join(' ')}]`;
  if (!('kind' in reply)) throw new Error('no such reply');
  switch (reply.kind) {
    case 'status':
      return `+${reply.text}`;
    case 'error':
      return `-${reply.text}`;
    case 'double':
      return `,${reply.text}`;
    case 'boolean':
      return `#${reply.value}`;
    case 'null-array':
      return 'nil';
    case 'map':
      return `{${reply.pairs.map(([key, value]) => `${show(key)}: ${show(value)}`).join(' ')}}`;
    case 'pairs':
      return show(reply.pairs);
    case 'set':
    case 'push':
      return `${reply.kind}[${reply.items.map(show).join(' ')}]`;
    case 'verbatim':
      return `=${JSON.stringify(Buffer.from(reply.text).toString('latin1'))}`;
  }
}

function isSet(reply: Reply): reply is Extract<TaggedReply, { kind: 'set' }> {
  return reply !== null && typeof reply === 'object' && 'kind' in reply && reply.kind === 'set';
}

function itemsIn(reply: Reply): readonly Reply[] {
  return isSet(reply) ? reply.items : Array.isArray(reply) ? reply : [];
}

/** RESP2: an array. */
function showUnordered(reply: Reply): string {
  if (!isSet(reply) && !Array.isArray(reply)) return show(reply);
  return `${isSet(reply) ? 'set' : ''}[${itemsIn(reply).map(show).sort().join(' ')}]`;
}

function shape(reply: Reply): string {
  if (reply === null) return 'nil';
  if (isInteger(reply)) return 'an integer';
  if (reply instanceof Uint8Array) return 'bytes';
  if (Array.isArray(reply)) return 'an array';
  return 'kind' in reply && reply.kind === 'status' ? show(reply) : (reply as TaggedReply).kind;
}

function showUnorderedMap(reply: Reply): string {
  // RESP2: keys and values in turn.
  if (Array.isArray(reply))
    return showUnorderedMap({ kind: 'map', pairs: reply.flatMap((key, i) => (i % 2 === 0 ? [[key, reply[i + 1]!]] : [])) });
  if (reply === null || typeof reply !== 'object' || !('kind' in reply) || reply.kind !== 'map') return show(reply);
  return `{${reply.pairs
    .map((pair) => show(pair))
    .sort()
    .join(' ')}}`;
}

/** Only whether it is a scan's reply: what it holds is compared over a whole walk. */
function showScan(reply: Reply): string {
  return Array.isArray(reply) && reply.length === 2 && reply[0] instanceof Uint8Array && Array.isArray(reply[1]) ? 'a step' : show(reply);
}

/** Takes a scan that was answered with `first` on to its end; what it found in no order: keys, or fields with their values. */
export async function walkToEnd(subject: Subject, command: readonly Bytes[], first: Reply): Promise<string> {
  const cursorAt = cursorPlace(command)!;
  const step = cursorAt === 1 || nameOf(command) === 'sscan' ? 1 : 2;
  const found: string[] = [];
  let reply = first;
  for (let steps = 0; steps < 1_000; steps++) {
    if (!Array.isArray(reply) || !(reply[0] instanceof Uint8Array) || !Array.isArray(reply[1])) return show(reply);
    for (let i = 0; i < reply[1].length; i += step)
      found.push(
        reply[1]
          .slice(i, i + step)
          .map(show)
          .join(': '),
      );
    if (Buffer.from(reply[0]).toString() === '0') return [...new Set(found)].sort().join(' ');
    reply = await subject.run([...command.slice(0, cursorAt), reply[0], ...command.slice(cursorAt + 1)]);
  }
  return 'no end';
}

/** Where a scan has its cursor; undefined for other commands. */
export function cursorPlace(command: readonly Bytes[]): number | undefined {
  const name = nameOf(command);
  return name === 'scan' ? 1 : ['hscan', 'sscan', 'zscan'].includes(name) ? 2 : undefined;
}

function nameOf(command: readonly Bytes[]): string {
  return Buffer.from(command[0]!).toString('latin1').toLowerCase();
}
