import type { Bytes } from '../base/bytes.ts';
import { isWord } from '../resp/codec/ascii.ts';

/**
 * What routers know of a command: where its keys stand, and how it is carried out over several servers. Arity and everything else is left
 * to the server that gets it. Ground: the key specifications of Redis 7.0's own COMMAND reply, and what later versions added; commands that
 * are not here are learned from the servers' COMMAND replies, so that those of modules are routed too.
 */

/** The arguments of a command, its name being the first. A `RequestScanner` is that. */
export interface RequestArgs {
  readonly argCount: number;
  arg(i: number): Bytes;
}

/** How a router carries a command out. */
export type CommandKind =
  /** By the server that owns its keys; without keys, by any server. */
  | 'keyed'
  /** Any server will do. */
  | 'any'
  /** All servers, the answers made one. */
  | 'all'
  /** The proxy itself. */
  | 'local'
  /** Waits at the server: a connection of its own. */
  | 'blocking'
  | 'transaction'
  | 'pubsub'
  /** Answered with why not. */
  | 'refused';

/** How the answers of several servers become one. */
export type JoinKind = 'sum' | 'ok' | 'array' | 'concat' | 'first' | 'every';

/** `index`: keys from argument `from` up to `last` (negative: from the end), every `step`-th. */
export type KeyPlace =
  | { readonly kind: 'range'; readonly from: number; readonly last: number; readonly step: number }
  /** Argument `from` is the number of keys that follow it. */
  | { readonly kind: 'counted'; readonly from: number }
  /** Behind the word, which stands at `after` or later: one key, all to the end, or the first half of them (`STREAMS k1 k2 id1 id2`). */
  | { readonly kind: 'word'; readonly word: string; readonly after: number; readonly extent: 'one' | 'rest' | 'half' };

export interface RoutedCommand {
  readonly name: string;
  /** Its place in the statistics. */
  readonly index: number;
  readonly kind: CommandKind;
  readonly isWrite: boolean;
  readonly places: readonly KeyPlace[];
  /** The argument that is its only key, whatever its length; 0 when it is not as simple as that. */
  readonly soleKey: number;
  readonly join?: JoinKind;
  /** Its keys may lie on several servers: it is split by them. */
  readonly isSplit: boolean;
  /** Why it is refused. */
  readonly why?: string;
}

const table = new Map<number, RoutedCommand[]>();
const byIndex: RoutedCommand[] = [];

/** One more than the greatest index, and so many counters suffice; new commands are learned only up to {@link MAX_COMMANDS}. */
export const MAX_COMMANDS = 1_024;

export function commandsByIndex(): readonly RoutedCommand[] {
  return byIndex;
}

/** The command called `bytes[from … to)`, in any case. Allocates nothing. */
export function findRoutedCommand(bytes: Bytes, from: number, to: number): RoutedCommand | undefined {
  let hash = 0;
  for (let at = from; at < to; at++) hash = (Math.imul(hash, 31) + (bytes[at]! | 32)) | 0;
  const found = table.get(hash);
  if (found === undefined) return undefined;
  for (let i = 0; i < found.length; i++) if (isNamed(bytes, from, to, found[i]!.name)) return found[i];
  return undefined;
}

function isNamed(bytes: Bytes, from: number, to: number, name: string): boolean {
  if (to - from !== name.length) return false;
  for (let i = 0; i < name.length; i++) {
    const byte = bytes[from + i]!;
    if ((byte >= 65 && byte <= 90 ? byte | 32 : byte) !== name.charCodeAt(i)) return false;
  }
  return true;
}

type Extra = Partial<Pick<RoutedCommand, 'join' | 'isSplit' | 'why'>>;

function add(name: string, kind: CommandKind, isWrite: boolean, places: readonly KeyPlace[], extra: Extra = {}): void {
  const [only] = places;
  const soleKey =
    kind === 'keyed' && places.length === 1 && only!.kind === 'range' && only!.last === only!.from && !extra.isSplit ? only!.from : 0;
  const command: RoutedCommand = { name, index: byIndex.length, kind, isWrite, places, soleKey, isSplit: false, ...extra };
  byIndex.push(command);
  let hash = 0;
  for (let i = 0; i < name.length; i++) hash = (Math.imul(hash, 31) + (name.charCodeAt(i) | 32)) | 0;
  const same = table.get(hash);
  if (same) same.push(command);
  else table.set(hash, [command]);
}

/** Takes up a command of a server that is not in the table. @returns false when it is there already, or there is no room. */
export function learnCommand(name: string, isWrite: boolean, places: readonly KeyPlace[], isBlocking: boolean): boolean {
  const bytes = Buffer.from(name, 'latin1');
  if (byIndex.length >= MAX_COMMANDS || findRoutedCommand(bytes, 0, bytes.length) !== undefined) return false;
  add(name, isBlocking ? 'blocking' : places.length > 0 ? 'keyed' : 'refused', isWrite, places, {
    ...(places.length === 0 && { why: 'it has no key to tell its server by' }),
  });
  return true;
}

function range(from: number, last = from, step = 1): KeyPlace {
  return { kind: 'range', from, last, step };
}

function counted(from: number): KeyPlace {
  return { kind: 'counted', from };
}

function behind(word: string, after: number, extent: 'one' | 'rest' | 'half' = 'one'): KeyPlace {
  return { kind: 'word', word, after, extent };
}

function rows(names: string, kind: CommandKind, isWrite: boolean, places: readonly KeyPlace[], extra: Extra = {}): void {
  for (const name of names.split(/\s+/)) add(name, kind, isWrite, places, extra);
}

// ── keys ──
rows(
  'get set', // the first in the table are found first
  'keyed',
  true,
  [range(1)],
);
rows(
  'bitcount bitfield_ro bitpos dump expiretime geodist geohash geopos georadius_ro georadiusbymember_ro geosearch getbit getrange hexists ' +
    'hget hgetall hkeys hlen hmget hrandfield hscan hstrlen hvals lindex llen lpos lrange pexpiretime pttl scard sismember smembers ' +
    'smismember spublish srandmember sscan strlen substr ttl type xlen xpending xrange xrevrange zcard zcount zlexcount zmscore zrandmember ' +
    'zrange zrangebylex zrangebyscore zrank zrevrange zrevrangebylex zrevrangebyscore zrevrank zscan zscore httl hpttl hexpiretime hpexpiretime ' +
    'vcard vdim vemb vgetattr vinfo vlinks vrandmember vsim vismember digest',
  'keyed',
  false,
  [range(1)],
);
rows(
  'append bitfield decr decrby expire expireat geoadd getdel getex getset hdel hincrby hincrbyfloat hmset hset hsetnx incr incrby incrbyfloat ' +
    'linsert lpop lpush lpushx lrem lset ltrim move persist pexpire pexpireat pfadd psetex restore restore-asking rpop rpush rpushx sadd ' +
    'setbit setex setnx setrange spop srem xack xadd xautoclaim xclaim xdel xsetid xtrim zadd zincrby zpopmax zpopmin zrem zremrangebylex ' +
    'zremrangebyrank zremrangebyscore hexpire hpexpire hexpireat hpexpireat hpersist hgetdel hgetex hsetex xackdel xdelex vadd vrem vsetattr ' +
    'delifeq delex expiremember expirememberat pexpirememberat cas cad',
  'keyed',
  true,
  [range(1)],
);
rows('pfcount sdiff sinter sunion', 'keyed', false, [range(1, -1)]);
rows('msetnx', 'keyed', true, [range(1, -1, 2)]);
rows('msetex', 'keyed', true, [counted(1)]);
rows('lcs', 'keyed', false, [range(1, 2)]);
rows('sintercard zdiff zinter zintercard zunion', 'keyed', false, [counted(1)]);
rows('lmpop zmpop', 'keyed', true, [counted(1)]);
rows('zdiffstore zinterstore zunionstore', 'keyed', true, [range(1), counted(2)]);
rows('pfmerge sdiffstore sinterstore sunionstore', 'keyed', true, [range(1, -1)]);
rows('copy geosearchstore lmove rename renamenx rpoplpush smove zrangestore', 'keyed', true, [range(1, 2)]);
rows('bitop', 'keyed', true, [range(2, -1)]);
rows('georadius', 'keyed', true, [range(1), behind('store', 6), behind('storedist', 6)]);
rows('georadiusbymember', 'keyed', true, [range(1), behind('store', 5), behind('storedist', 5)]);
rows('sort', 'keyed', true, [range(1), behind('store', 2)]);
rows('sort_ro', 'keyed', false, [range(1)]);
rows('eval evalsha fcall', 'keyed', true, [counted(2)]);
rows('eval_ro evalsha_ro fcall_ro', 'keyed', false, [counted(2)]);
rows('object', 'keyed', false, [range(2)]);
rows('xgroup', 'keyed', true, [range(2)]);
rows('xinfo', 'keyed', false, [range(2)]);
rows('memory', 'keyed', false, [range(2)]);
rows('pfdebug', 'keyed', true, [range(2)]);

// ── over several servers ──
rows('mget', 'keyed', false, [range(1, -1)], { join: 'array', isSplit: true });
rows('mset', 'keyed', true, [range(1, -1, 2)], { join: 'ok', isSplit: true });
rows('exists touch', 'keyed', false, [range(1, -1)], { join: 'sum', isSplit: true });
rows('del unlink', 'keyed', true, [range(1, -1)], { join: 'sum', isSplit: true });
rows('dbsize', 'all', false, [], { join: 'sum' });
rows('flushall flushdb', 'all', true, [], { join: 'ok' });
rows('keys', 'all', false, [], { join: 'concat' });
rows('script function', 'all', true, [], { join: 'first' });
rows('scan randomkey', 'local', false, []);

// ── the private connections ──
rows('blpop brpop bzpopmax bzpopmin', 'blocking', true, [range(1, -2)]);
rows('blmove brpoplpush', 'blocking', true, [range(1, 2)]);
rows('blmpop bzmpop', 'blocking', true, [counted(2)]);
rows('xread', 'blocking', false, [behind('streams', 1, 'half')]);
rows('xreadgroup', 'blocking', true, [behind('streams', 4, 'half')]);
rows('multi exec discard unwatch', 'transaction', false, []);
rows('watch', 'transaction', false, [range(1, -1)]);
rows('subscribe unsubscribe psubscribe punsubscribe publish pubsub', 'pubsub', false, []);
rows('ssubscribe sunsubscribe', 'pubsub', false, [range(1, -1)]);

// ── by any server, or by the proxy ──
rows('time lolwut command', 'any', false, []);
rows(
  'ping echo hello auth select quit reset client config info cluster asking readonly readwrite slowlog hotkeys role',
  'local',
  false,
  [],
);

// ── not at all ──
const ONE_SERVER = 'it concerns one server; ask that server itself';
rows(
  'acl bgrewriteaof bgsave debug failover lastsave latency module pfselftest psync replconf replicaof save shutdown slaveof sync',
  'refused',
  true,
  [],
  {
    why: ONE_SERVER,
  },
);
rows('monitor', 'refused', false, [], { why: 'a pool has no single stream of commands; ask a server itself' });
rows('wait waitaof', 'refused', false, [], {
  why: 'connections to the servers are shared, so there are no writes of one client to wait for',
});
rows('migrate', 'refused', true, [], { why: 'it would leave keys where nobody looks for them; use `keyfleet pool`' });
rows('swapdb', 'refused', true, [], { why: 'a pool has one database' });

/**
 * The arguments that are keys, by index, added to `out`; false when they cannot be told (a count that is no number or too large).
 * `request` holds the command's request.
 */
export function keyIndexes(command: RoutedCommand, request: RequestArgs, out: number[]): boolean {
  const count = request.argCount;
  for (const place of command.places) {
    if (place.kind === 'range') {
      const last = Math.min(place.last < 0 ? count + place.last : place.last, count - 1);
      for (let i = place.from; i <= last; i += place.step) out.push(i);
    } else if (place.kind === 'counted') {
      const keys = place.from < count ? smallNumber(request.arg(place.from)) : -1;
      if (keys < 0 || place.from + keys >= count) return false;
      for (let i = 1; i <= keys; i++) out.push(place.from + i);
    } else if (!keysBehindWord(place, request, out)) return false;
  }
  return true;
}

function keysBehindWord(place: KeyPlace & { readonly kind: 'word' }, request: RequestArgs, out: number[]): boolean {
  const count = request.argCount;
  for (let i = place.after; i < count - 1; i++) {
    if (!isWord(request.arg(i), place.word)) continue;
    if (place.extent === 'one') out.push(i + 1);
    else {
      const rest = count - i - 1;
      if (place.extent === 'half' && rest % 2 !== 0) return false;
      const keys = place.extent === 'half' ? rest / 2 : rest;
      for (let k = 1; k <= keys; k++) out.push(i + k);
    }
    return true;
  }
  return place.extent === 'one';
}

function smallNumber(bytes: Bytes): number {
  if (bytes.length === 0 || bytes.length > 7) return -1;
  let value = 0;
  for (const byte of bytes) {
    if (byte < 48 || byte > 57) return -1;
    value = value * 10 + byte - 48;
  }
  return value;
}
