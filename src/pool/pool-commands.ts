import type { ReplyValue } from './reply-value.ts';
import type { CommandArg } from './request-encoder.ts';

export type Key = string | Uint8Array;
export type Value = CommandArg;

/**
 * A method for each command of Redis 7, by its own name in lower case, with its arguments in the order of the command; strings of replies are
 * `Text`. Commands over several servers: MGET, MSET, DEL, UNLINK, EXISTS and TOUCH are split and their answers joined; DBSIZE, FLUSHALL, FLUSHDB,
 * KEYS, SCRIPT and FUNCTION go to all servers; all others need their keys on one server. Each rejects with what {@link Pool.call} rejects with.
 */
export interface PoolCommands<Text> {
  get(key: Key): Promise<Text | null>;
  getdel(key: Key): Promise<Text | null>;
  getex(key: Key, ...options: Value[]): Promise<Text | null>;
  getset(key: Key, value: Value): Promise<Text | null>;
  set(key: Key, value: Value, ...options: Value[]): Promise<Text | 'OK' | null>;
  setex(key: Key, time: number, value: Value): Promise<'OK'>;
  psetex(key: Key, time: number, value: Value): Promise<'OK'>;
  setnx(key: Key, value: Value): Promise<number>;
  append(key: Key, value: Value): Promise<number>;
  incr(key: Key): Promise<number>;
  decr(key: Key): Promise<number>;
  strlen(key: Key): Promise<number>;
  incrby(key: Key, by: number | bigint): Promise<number>;
  decrby(key: Key, by: number | bigint): Promise<number>;
  incrbyfloat(key: Key, by: number): Promise<Text>;
  getrange(key: Key, start: number, end: number): Promise<Text>;
  substr(key: Key, start: number, end: number): Promise<Text>;
  setrange(key: Key, offset: number, value: Value): Promise<number>;
  mget(keys: readonly Key[]): Promise<(Text | null)[]>;
  mset(pairs: readonly (readonly [Key, Value])[] | Readonly<Record<string, Value>>): Promise<'OK' | number>;
  msetnx(pairs: readonly (readonly [Key, Value])[] | Readonly<Record<string, Value>>): Promise<'OK' | number>;
  del(...keys: Key[]): Promise<number>;
  unlink(...keys: Key[]): Promise<number>;
  exists(...keys: Key[]): Promise<number>;
  touch(...keys: Key[]): Promise<number>;
  lcs(key1: Key, key2: Key, ...options: Value[]): Promise<ReplyValue>;
  getbit(key: Key, offset: number): Promise<number>;
  setbit(key: Key, offset: number, bit: 0 | 1): Promise<number>;
  bitcount(key: Key, ...range: Value[]): Promise<number>;
  bitpos(key: Key, bit: 0 | 1, ...range: Value[]): Promise<number>;
  bitfield(key: Key, ...operations: Value[]): Promise<(number | null)[]>;
  bitfield_ro(key: Key, ...operations: Value[]): Promise<(number | null)[]>;
  bitop(operation: 'AND' | 'OR' | 'XOR' | 'NOT', target: Key, ...keys: Key[]): Promise<number>;
  ttl(key: Key): Promise<number>;
  pttl(key: Key): Promise<number>;
  expiretime(key: Key): Promise<number>;
  pexpiretime(key: Key): Promise<number>;
  persist(key: Key): Promise<number>;
  expire(key: Key, time: number, ...options: Value[]): Promise<number>;
  pexpire(key: Key, time: number, ...options: Value[]): Promise<number>;
  expireat(key: Key, time: number, ...options: Value[]): Promise<number>;
  pexpireat(key: Key, time: number, ...options: Value[]): Promise<number>;
  type(key: Key): Promise<string>;
  rename(key: Key, to: Key): Promise<'OK'>;
  renamenx(key: Key, to: Key): Promise<number>;
  copy(key: Key, to: Key, ...options: Value[]): Promise<number>;
  dump(key: Key): Promise<Text | null>;
  restore(key: Key, ttlMs: number, payload: Uint8Array, ...options: Value[]): Promise<'OK'>;
  sort(key: Key, ...options: Value[]): Promise<ReplyValue>;
  sort_ro(key: Key, ...options: Value[]): Promise<ReplyValue>;
  object(subcommand: string, key: Key, ...args: Value[]): Promise<ReplyValue>;
  memory(subcommand: string, key: Key, ...args: Value[]): Promise<ReplyValue>;
  xgroup(subcommand: string, key: Key, ...args: Value[]): Promise<ReplyValue>;
  xinfo(subcommand: string, key: Key, ...args: Value[]): Promise<ReplyValue>;
  hget(key: Key, field: Value): Promise<Text | null>;
  hset(key: Key, ...fields: readonly Value[] | [Readonly<Record<string, Value>>]): Promise<number | 'OK'>;
  hmset(key: Key, ...fields: readonly Value[] | [Readonly<Record<string, Value>>]): Promise<number | 'OK'>;
  hsetnx(key: Key, field: Value, value: Value): Promise<number>;
  hgetall(key: Key): Promise<Record<string, Text>>;
  hmget(key: Key, ...fields: Value[]): Promise<(Text | null)[]>;
  hdel(key: Key, ...fields: Value[]): Promise<number>;
  hexists(key: Key, field: Value): Promise<number>;
  hstrlen(key: Key, field: Value): Promise<number>;
  hlen(key: Key): Promise<number>;
  llen(key: Key): Promise<number>;
  scard(key: Key): Promise<number>;
  zcard(key: Key): Promise<number>;
  xlen(key: Key): Promise<number>;
  hkeys(key: Key): Promise<Text[]>;
  hvals(key: Key): Promise<Text[]>;
  smembers(key: Key): Promise<Text[]>;
  hincrby(key: Key, field: Value, by: number | bigint): Promise<number>;
  hincrbyfloat(key: Key, field: Value, by: number): Promise<Text>;
  hrandfield(key: Key, ...options: Value[]): Promise<Text | Text[] | null>;
  srandmember(key: Key, ...options: Value[]): Promise<Text | Text[] | null>;
  zrandmember(key: Key, ...options: Value[]): Promise<Text | Text[] | null>;
  hscan(key: Key, cursor: Value, ...options: Value[]): Promise<[Text, Text[]]>;
  sscan(key: Key, cursor: Value, ...options: Value[]): Promise<[Text, Text[]]>;
  zscan(key: Key, cursor: Value, ...options: Value[]): Promise<[Text, Text[]]>;
  lpush(key: Key, ...values: Value[]): Promise<number>;
  rpush(key: Key, ...values: Value[]): Promise<number>;
  lpushx(key: Key, ...values: Value[]): Promise<number>;
  rpushx(key: Key, ...values: Value[]): Promise<number>;
  lpop(key: Key, count?: number): Promise<Text | Text[] | null>;
  rpop(key: Key, count?: number): Promise<Text | Text[] | null>;
  spop(key: Key, count?: number): Promise<Text | Text[] | null>;
  lindex(key: Key, index: number): Promise<Text | null>;
  linsert(key: Key, where: 'BEFORE' | 'AFTER', pivot: Value, value: Value): Promise<number>;
  lset(key: Key, index: number, value: Value): Promise<'OK'>;
  lrange(key: Key, start: number, stop: number): Promise<Text[]>;
  ltrim(key: Key, start: number, stop: number): Promise<'OK'>;
  lrem(key: Key, count: number, value: Value): Promise<number>;
  lpos(key: Key, value: Value, ...options: Value[]): Promise<number | number[] | null>;
  lmove(key: Key, to: Key, from: 'LEFT' | 'RIGHT', where: 'LEFT' | 'RIGHT'): Promise<Text | null>;
  rpoplpush(key: Key, to: Key): Promise<Text | null>;
  blpop(...keysThenTimeout: Value[]): Promise<Text[] | null>;
  brpop(...keysThenTimeout: Value[]): Promise<Text[] | null>;
  bzpopmin(...keysThenTimeout: Value[]): Promise<Text[] | null>;
  bzpopmax(...keysThenTimeout: Value[]): Promise<Text[] | null>;
  blmove(key: Key, to: Key, ...args: Value[]): Promise<Text | null>;
  brpoplpush(key: Key, to: Key, ...args: Value[]): Promise<Text | null>;
  lmpop(count: number, ...keysAndOptions: Value[]): Promise<ReplyValue>;
  zmpop(count: number, ...keysAndOptions: Value[]): Promise<ReplyValue>;
  sintercard(count: number, ...keysAndOptions: Value[]): Promise<ReplyValue>;
  zdiff(count: number, ...keysAndOptions: Value[]): Promise<ReplyValue>;
  zinter(count: number, ...keysAndOptions: Value[]): Promise<ReplyValue>;
  zintercard(count: number, ...keysAndOptions: Value[]): Promise<ReplyValue>;
  zunion(count: number, ...keysAndOptions: Value[]): Promise<ReplyValue>;
  blmpop(timeout: number, count: number, ...keysAndOptions: Value[]): Promise<ReplyValue>;
  bzmpop(timeout: number, count: number, ...keysAndOptions: Value[]): Promise<ReplyValue>;
  sadd(key: Key, ...members: Value[]): Promise<number>;
  srem(key: Key, ...members: Value[]): Promise<number>;
  sismember(key: Key, member: Value): Promise<number>;
  smismember(key: Key, ...members: Value[]): Promise<number[]>;
  smove(key: Key, to: Key, member: Value): Promise<number>;
  sdiff(...keys: Key[]): Promise<Text[]>;
  sinter(...keys: Key[]): Promise<Text[]>;
  sunion(...keys: Key[]): Promise<Text[]>;
  sdiffstore(target: Key, ...keys: Key[]): Promise<number>;
  sinterstore(target: Key, ...keys: Key[]): Promise<number>;
  sunionstore(target: Key, ...keys: Key[]): Promise<number>;
  zadd(key: Key, ...args: Value[]): Promise<number | Text | null>;
  zrem(key: Key, ...members: Value[]): Promise<number>;
  zscore(key: Key, member: Value): Promise<Text | null>;
  zmscore(key: Key, ...members: Value[]): Promise<(Text | null)[]>;
  zincrby(key: Key, by: number, member: Value): Promise<Text>;
  zrank(key: Key, member: Value): Promise<number | null>;
  zrevrank(key: Key, member: Value): Promise<number | null>;
  zcount(key: Key, min: Value, max: Value): Promise<number>;
  zlexcount(key: Key, min: Value, max: Value): Promise<number>;
  zremrangebyscore(key: Key, min: Value, max: Value): Promise<number>;
  zremrangebyrank(key: Key, min: Value, max: Value): Promise<number>;
  zremrangebylex(key: Key, min: Value, max: Value): Promise<number>;
  zrange(key: Key, from: Value, to: Value, ...options: Value[]): Promise<Text[]>;
  zrevrange(key: Key, from: Value, to: Value, ...options: Value[]): Promise<Text[]>;
  zrangebyscore(key: Key, from: Value, to: Value, ...options: Value[]): Promise<Text[]>;
  zrevrangebyscore(key: Key, from: Value, to: Value, ...options: Value[]): Promise<Text[]>;
  zrangebylex(key: Key, from: Value, to: Value, ...options: Value[]): Promise<Text[]>;
  zrevrangebylex(key: Key, from: Value, to: Value, ...options: Value[]): Promise<Text[]>;
  zrangestore(target: Key, key: Key, from: Value, to: Value, ...options: Value[]): Promise<number>;
  zpopmin(key: Key, count?: number): Promise<Text[]>;
  zpopmax(key: Key, count?: number): Promise<Text[]>;
  zdiffstore(target: Key, count: number, ...keysAndOptions: Value[]): Promise<number>;
  zinterstore(target: Key, count: number, ...keysAndOptions: Value[]): Promise<number>;
  zunionstore(target: Key, count: number, ...keysAndOptions: Value[]): Promise<number>;
  geoadd(key: Key, ...args: Value[]): Promise<number>;
  geodist(key: Key, ...args: Value[]): Promise<ReplyValue>;
  geohash(key: Key, ...args: Value[]): Promise<ReplyValue>;
  geopos(key: Key, ...args: Value[]): Promise<ReplyValue>;
  georadius(key: Key, ...args: Value[]): Promise<ReplyValue>;
  georadius_ro(key: Key, ...args: Value[]): Promise<ReplyValue>;
  georadiusbymember(key: Key, ...args: Value[]): Promise<ReplyValue>;
  georadiusbymember_ro(key: Key, ...args: Value[]): Promise<ReplyValue>;
  geosearch(key: Key, ...args: Value[]): Promise<ReplyValue>;
  geosearchstore(target: Key, key: Key, ...args: Value[]): Promise<number>;
  pfadd(key: Key, ...elements: Value[]): Promise<number>;
  pfcount(...keys: Key[]): Promise<number>;
  pfmerge(target: Key, ...keys: Key[]): Promise<'OK'>;
  xadd(key: Key, ...args: Value[]): Promise<Text | null>;
  xack(key: Key, ...args: Value[]): Promise<number>;
  xdel(key: Key, ...args: Value[]): Promise<number>;
  xtrim(key: Key, ...args: Value[]): Promise<number>;
  xsetid(key: Key, ...args: Value[]): Promise<'OK'>;
  xautoclaim(key: Key, ...args: Value[]): Promise<ReplyValue>;
  xclaim(key: Key, ...args: Value[]): Promise<ReplyValue>;
  xpending(key: Key, ...args: Value[]): Promise<ReplyValue>;
  xrange(key: Key, ...args: Value[]): Promise<ReplyValue>;
  xrevrange(key: Key, ...args: Value[]): Promise<ReplyValue>;
  xread(...args: Value[]): Promise<ReplyValue>;
  xreadgroup(...args: Value[]): Promise<ReplyValue>;
  eval(script: Value, keyCount: number, ...keysAndArgs: Value[]): Promise<ReplyValue>;
  evalsha(script: Value, keyCount: number, ...keysAndArgs: Value[]): Promise<ReplyValue>;
  eval_ro(script: Value, keyCount: number, ...keysAndArgs: Value[]): Promise<ReplyValue>;
  evalsha_ro(script: Value, keyCount: number, ...keysAndArgs: Value[]): Promise<ReplyValue>;
  fcall(script: Value, keyCount: number, ...keysAndArgs: Value[]): Promise<ReplyValue>;
  fcall_ro(script: Value, keyCount: number, ...keysAndArgs: Value[]): Promise<ReplyValue>;
  script(subcommand: string, ...args: Value[]): Promise<ReplyValue>;
  function(subcommand: string, ...args: Value[]): Promise<ReplyValue>;
  publish(channel: Key, message: Value): Promise<number>;
  spublish(channel: Key, message: Value): Promise<number>;
  dbsize(): Promise<number>;
  flushall(...options: ('ASYNC' | 'SYNC')[]): Promise<'OK'>;
  flushdb(...options: ('ASYNC' | 'SYNC')[]): Promise<'OK'>;
  keys(pattern: Value): Promise<Text[]>;
  time(): Promise<Text[]>;
  move(key: Key, db: number): Promise<number>;
}

/** The names of the methods, in the order above. */
export const COMMAND_METHODS = [
  'get',
  'getdel',
  'getex',
  'getset',
  'set',
  'setex',
  'psetex',
  'setnx',
  'append',
  'incr',
  'decr',
  'strlen',
  'incrby',
  'decrby',
  'incrbyfloat',
  'getrange',
  'substr',
  'setrange',
  'mget',
  'mset',
  'msetnx',
  'del',
  'unlink',
  'exists',
  'touch',
  'lcs',
  'getbit',
  'setbit',
  'bitcount',
  'bitpos',
  'bitfield',
  'bitfield_ro',
  'bitop',
  'ttl',
  'pttl',
  'expiretime',
  'pexpiretime',
  'persist',
  'expire',
  'pexpire',
  'expireat',
  'pexpireat',
  'type',
  'rename',
  'renamenx',
  'copy',
  'dump',
  'restore',
  'sort',
  'sort_ro',
  'object',
  'memory',
  'xgroup',
  'xinfo',
  'hget',
  'hset',
  'hmset',
  'hsetnx',
  'hgetall',
  'hmget',
  'hdel',
  'hexists',
  'hstrlen',
  'hlen',
  'llen',
  'scard',
  'zcard',
  'xlen',
  'hkeys',
  'hvals',
  'smembers',
  'hincrby',
  'hincrbyfloat',
  'hrandfield',
  'srandmember',
  'zrandmember',
  'hscan',
  'sscan',
  'zscan',
  'lpush',
  'rpush',
  'lpushx',
  'rpushx',
  'lpop',
  'rpop',
  'spop',
  'lindex',
  'linsert',
  'lset',
  'lrange',
  'ltrim',
  'lrem',
  'lpos',
  'lmove',
  'rpoplpush',
  'blpop',
  'brpop',
  'bzpopmin',
  'bzpopmax',
  'blmove',
  'brpoplpush',
  'lmpop',
  'zmpop',
  'sintercard',
  'zdiff',
  'zinter',
  'zintercard',
  'zunion',
  'blmpop',
  'bzmpop',
  'sadd',
  'srem',
  'sismember',
  'smismember',
  'smove',
  'sdiff',
  'sinter',
  'sunion',
  'sdiffstore',
  'sinterstore',
  'sunionstore',
  'zadd',
  'zrem',
  'zscore',
  'zmscore',
  'zincrby',
  'zrank',
  'zrevrank',
  'zcount',
  'zlexcount',
  'zremrangebyscore',
  'zremrangebyrank',
  'zremrangebylex',
  'zrange',
  'zrevrange',
  'zrangebyscore',
  'zrevrangebyscore',
  'zrangebylex',
  'zrevrangebylex',
  'zrangestore',
  'zpopmin',
  'zpopmax',
  'zdiffstore',
  'zinterstore',
  'zunionstore',
  'geoadd',
  'geodist',
  'geohash',
  'geopos',
  'georadius',
  'georadius_ro',
  'georadiusbymember',
  'georadiusbymember_ro',
  'geosearch',
  'geosearchstore',
  'pfadd',
  'pfcount',
  'pfmerge',
  'xadd',
  'xack',
  'xdel',
  'xtrim',
  'xsetid',
  'xautoclaim',
  'xclaim',
  'xpending',
  'xrange',
  'xrevrange',
  'xread',
  'xreadgroup',
  'eval',
  'evalsha',
  'eval_ro',
  'evalsha_ro',
  'fcall',
  'fcall_ro',
  'script',
  'function',
  'publish',
  'spublish',
  'dbsize',
  'flushall',
  'flushdb',
  'keys',
  'time',
  'move',
] as const satisfies readonly (keyof PoolCommands<unknown>)[];
