import { type Bytes, fromUtf8, utf8 } from '../../base/bytes.ts';
import type { MaybePromise, ScannedKeys } from '../../node/keyspace-handle.ts';
import { NOT_AN_INTEGER, SYNTAX_ERROR } from '../../shard/redis/error-replies.ts';
import { matchesGlob } from '../../shard/redis/glob.ts';
import { parseInteger } from '../../shard/redis/integer.ts';
import { OK, type Reply } from '../../shard/redis/reply.ts';
import { INVALID_CURSOR, parseScanCursor } from '../../shard/redis/scan-cursor.ts';
import { isWord } from '../codec/ascii.ts';
import { afterEarlier, type LocalCall, type LocalCommand } from '../local-command.ts';

// The commands over all keys: SCAN, KEYS, RANDOMKEY, DBSIZE, FLUSHDB, FLUSHALL.

export const KEYSPACE_COMMANDS: readonly (readonly [string, LocalCommand])[] = [
  ['scan', afterEarlier(scan)],
  ['keys', afterEarlier(keys)],
  ['randomkey', afterEarlier(({ door }) => when(door.keyspace.sample(Math.random()), (record) => record?.key ?? null))],
  ['dbsize', afterEarlier(({ door }) => when(door.keyspace.counts(), ({ keyCount }) => keyCount))],
  ['flushdb', afterEarlier(flush)],
  ['flushall', afterEarlier(flush)],
];

/** The reply to what is told at once, or later. */
function when<T>(told: MaybePromise<T>, reply: (what: T) => Reply): Reply | Promise<Reply> {
  return told instanceof Promise ? told.then(reply) : reply(told);
}

async function flush({ door, args }: LocalCall): Promise<Reply> {
  if (args.length > 2 || (args.length === 2 && !isWord(args[1]!, 'async') && !isWord(args[1]!, 'sync'))) return SYNTAX_ERROR;
  await door.keyspace.clear();
  return OK;
}

/** The most records that one SCAN call looks at, whatever its COUNT: other clients wait meanwhile. */
const MOST_SCANNED = 10_000;

const POSITION_END = 0x1_0000_0000;

/** The cursor is a position: all keys of one come together, so keys present all along are seen exactly once. */
function scan({ door, args }: LocalCall): Reply | Promise<Reply> {
  const cursor = parseScanCursor(args[1]!);
  if (cursor === undefined) return INVALID_CURSOR;
  let pattern: Bytes | undefined;
  let type: string | undefined;
  let limit = 10;
  for (let at = 2; at < args.length; at += 2) {
    const value = args[at + 1];
    if (value === undefined) return SYNTAX_ERROR;
    if (isWord(args[at]!, 'count')) {
      const count = parseInteger(value);
      if (count === undefined) return NOT_AN_INTEGER;
      if (count < 1) return SYNTAX_ERROR;
      limit = Math.min(Number(count), MOST_SCANNED);
    } else if (isWord(args[at]!, 'match')) pattern = isAll(value) ? undefined : value;
    else if (isWord(args[at]!, 'type')) type = fromUtf8(value).toLowerCase();
    else return SYNTAX_ERROR;
  }
  if (cursor >= POSITION_END) return [utf8('0'), []];
  const page = { cursor: Number(cursor), limit };
  const answer = (records: readonly { readonly key: Bytes }[], next: number | undefined): Reply => {
    const found: Bytes[] = [];
    for (const { key } of records) if (!pattern || matchesGlob(pattern, key)) found.push(key);
    return [utf8(String(next ?? 0)), found];
  };
  if (type === undefined) return when(door.keyspace.scanKeys(page), ({ records, next }) => answer(records, next));
  return when(door.keyspace.scan(page), ({ records, next }) =>
    answer(
      records.filter(({ value }) => door.info.typeOf(value) === type),
      next,
    ),
  );
}

/** `*` matches everything. */
function isAll(pattern: Bytes): boolean {
  return pattern.length === 1 && pattern[0] === 42;
}

/** Walks over all keys in steps, so that other clients are served in between. */
async function keys({ door, args }: LocalCall): Promise<Reply> {
  const pattern = args[1]!;
  const all = isAll(pattern);
  const found: Bytes[] = [];
  for (let cursor: number | undefined = 0; cursor !== undefined; ) {
    const step: ScannedKeys = await door.keyspace.scanKeys({ cursor, limit: 1_000 });
    for (const { key } of step.records) if (all || matchesGlob(pattern, key)) found.push(key);
    cursor = step.next;
    if (cursor !== undefined) await new Promise<void>((resolve) => setImmediate(resolve));
  }
  return found;
}
