/**
 * Copies one key of any core type piece by piece: for values too large for one DUMP, and between servers whose DUMPs differ. The key's writes wait meanwhile, so
 * that every page is of the same value. The pieces go to a key of ours at the target, which takes the key's name in one last step.
 *
 * Cost: a round trip to each server for every `pageElements` elements or `pageBytes` bytes. A stream brings its groups, consumers and pending entries. Expiry of single hash fields
 * does not come along: such hashes (Redis 7.4, Valkey 9) travel whole by DUMP only.
 */
import type { Bytes } from '../../base/bytes.ts';
import { KeyfleetError } from '../../base/errors.ts';
import type { Reply } from '../../shard/redis/reply.ts';
import { FENCE_KEY, FENCED_SCRIPT, PUBLISH_SCRIPT } from './guard-scripts.ts';
import { type Argument, type ServerLink, textOf } from './move-link.ts';
import { evaluate } from './move-script.ts';

export interface PagedKey {
  readonly key: Bytes;
  readonly type: string;
  readonly elements: number;
  /** Unix milliseconds; 0 for none. */
  readonly expiresAtMs: number;
}

export interface PageOptions {
  readonly token: string;
  /** The key of ours that is filled. */
  readonly partKey: string;
  readonly pageElements?: number;
  readonly pageBytes?: number;
  readonly onBytes?: (bytes: number) => void;
}

type List = readonly Reply[];
/** Runs a command at the target, under the token. */
type Put = (args: readonly Argument[]) => Promise<Reply>;

/** @throws KF_POOL_FENCED, KF_POOL_SERVER_LOST, KF_POOL_SERVER_REFUSED; KF_POOL_TYPE for a type that cannot be copied so. */
export async function copyByPages(from: ServerLink, to: ServerLink, paged: PagedKey, options: PageOptions): Promise<void> {
  const { token, partKey, pageElements = 500, pageBytes = 256 * 1024, onBytes } = options;
  const part = Buffer.from(partKey);
  const put: Put = (args) => {
    if (onBytes) onBytes(args.reduce<number>((sum, arg) => sum + (arg instanceof Uint8Array ? arg.length : 8), 0));
    return evaluate(to, FENCED_SCRIPT, [FENCE_KEY, part], [token, ...args]);
  };
  await put(['UNLINK', part]);
  const { key } = paged;
  switch (paged.type) {
    case 'string':
      for (let at = 0; at < paged.elements; at += pageBytes)
        await put(['APPEND', part, bytesOf(await from.call(['GETRANGE', key, at, at + pageBytes - 1]))]);
      if (paged.elements === 0) await put(['SET', part, '']);
      break;
    case 'list':
      for (let at = 0; at < paged.elements; at += pageElements)
        await put(['RPUSH', part, ...strings(await from.call(['LRANGE', key, at, at + pageElements - 1]))]);
      break;
    case 'set':
      await scanPages(from, ['SSCAN', key], pageElements, (found) => put(['SADD', part, ...found]));
      break;
    case 'hash':
      await scanPages(from, ['HSCAN', key], pageElements, (found) => put(['HSET', part, ...found]));
      break;
    case 'zset':
      await scanPages(from, ['ZSCAN', key], pageElements, (found) => put(['ZADD', part, ...swapPairs(found)]));
      break;
    case 'stream':
      await copyStream(from, key, part, pageElements, put);
      break;
    default:
      throw new KeyfleetError(
        'KF_POOL_TYPE',
        `a key of type ${paged.type} cannot be copied piece by piece, and these servers do not read each other's DUMP`,
      );
  }
  await evaluate(to, PUBLISH_SCRIPT, [FENCE_KEY, part, key], [token, paged.expiresAtMs]);
}

async function scanPages(
  from: ServerLink,
  command: readonly Argument[],
  count: number,
  put: (found: Bytes[]) => Promise<Reply>,
): Promise<void> {
  let cursor = '0';
  do {
    const [next, found] = (await from.call([...command, cursor, 'COUNT', count])) as List;
    cursor = textOf(next);
    const items = strings(found!);
    // A small encoding answers all at once, whatever COUNT says.
    for (let at = 0; at < items.length; at += 2 * count) await put(items.slice(at, at + 2 * count));
  } while (cursor !== '0');
}

async function copyStream(from: ServerLink, key: Bytes, part: Bytes, count: number, put: Put): Promise<void> {
  const info = fields(await from.call(['XINFO', 'STREAM', key]));
  for (let start = '-'; ; ) {
    const entries = (await from.call(['XRANGE', key, start, '+', 'COUNT', count])) as List;
    // One after the other at the target, whatever answers first: the connection keeps the order.
    await Promise.all((entries as readonly List[]).map((entry) => put(['XADD', part, bytesOf(entry[0]!), ...strings(entry[1]!)])));
    if (entries.length < count) break;
    start = `(${textOf((entries.at(-1) as List)[0])}`;
  }
  const groups = (await from.call(['XINFO', 'GROUPS', key])) as List;
  const lastId = textOf(info.get('last-generated-id'));
  // A stream without entries comes into being by an entry that goes again.
  if (Number(info.get('length')) === 0) {
    await put(['XADD', part, lastId === '0-0' ? '0-1' : lastId, 'x', 'x']);
    await put(['XTRIM', part, 'MAXLEN', 0]);
  }
  const added = info.get('entries-added');
  await put(
    added === undefined
      ? ['XSETID', part, lastId]
      : ['XSETID', part, lastId, 'ENTRIESADDED', Number(added), 'MAXDELETEDID', textOf(info.get('max-deleted-entry-id'))],
  );
  for (const one of groups) {
    const group = fields(one);
    const name = bytesOf(group.get('name')!);
    const read = group.get('entries-read');
    await put([
      'XGROUP',
      'CREATE',
      part,
      name,
      textOf(group.get('last-delivered-id')),
      ...(typeof read === 'number' ? ['ENTRIESREAD', read] : []),
    ]);
    for (const consumer of (await from.call(['XINFO', 'CONSUMERS', key, name])) as List)
      await put(['XGROUP', 'CREATECONSUMER', part, name, bytesOf(fields(consumer).get('name')!)]);
    const nowMs = Date.now();
    for (let start = '-'; ; ) {
      const pending = (await from.call(['XPENDING', key, name, start, '+', count])) as List;
      for (const [id, consumer, idleMs, deliveries] of pending as readonly List[])
        await put([
          'XCLAIM',
          part,
          name,
          bytesOf(consumer!),
          0,
          bytesOf(id!),
          'TIME',
          nowMs - Number(idleMs),
          'RETRYCOUNT',
          Number(deliveries),
          'FORCE',
          'JUSTID',
        ]);
      if (pending.length < count) break;
      start = `(${textOf((pending.at(-1) as List)[0])}`;
    }
  }
}

/** A flat list of names and values, as a map. */
function fields(reply: Reply): Map<string, Reply> {
  const flat = reply as List;
  const map = new Map<string, Reply>();
  for (let at = 0; at + 1 < flat.length; at += 2) map.set(textOf(flat[at]), flat[at + 1]!);
  return map;
}

function strings(reply: Reply): Bytes[] {
  return (reply as List).map(bytesOf);
}

function bytesOf(reply: Reply): Bytes {
  if (reply instanceof Uint8Array) return reply;
  throw new KeyfleetError('KF_POOL_SERVER_REFUSED', 'a server answered something that is no string where there must be one');
}

/** ZSCAN answers member, score; ZADD wants score, member. */
function swapPairs(found: readonly Bytes[]): Bytes[] {
  const swapped: Bytes[] = [];
  for (let at = 0; at + 1 < found.length; at += 2) swapped.push(found[at + 1]!, found[at]!);
  return swapped;
}
