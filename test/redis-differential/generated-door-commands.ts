import type { Bytes } from '../../src/base/bytes.ts';
import type { Generator } from './generator.ts';

// The commands that the door answers itself, over all keys, about the connection and about the server; by their name in the table.

type Arg = string | Bytes;
type Make = (g: Generator) => Arg[];

const nothing: Make = () => [];
const keyPattern: Make = (g) => [g.chance(0.5) ? g.pattern() : g.pick(['*', '{x}*', '{x}s[0-3]', '*[hn]?', '*absent', '{x}s^'])];
const someWord = (g: Generator): string => g.pick(['a', 'foo', 'default', 'x y', 'a\nb', '', '\0', 'é', 'ON', 'OFF', 'yes']);

/** A command of the table with its keys. */
const wholeCommand: Make = (g) => {
  let command = g.moduleCommand();
  // Redis does not look whether each key of these has its value; our table does.
  while (/^mset/i.test(Buffer.from(command[0]!).toString())) command = g.moduleCommand();
  return g.chance(0.1) ? command.slice(0, 2) : command;
};

/** Commands of a transaction: their answers are exact, and they wait for nothing. */
const IN_TRANSACTIONS = [
  ...['get', 'set', 'append', 'incr', 'mset', 'mget', 'del', 'exists', 'type', 'rename', 'copy', 'persist', 'expire', 'getdel', 'strlen'],
  ...['hset', 'hget', 'hdel', 'hlen', 'hincrby', 'lpush', 'rpush', 'lpop', 'rpop', 'lrange', 'lmove', 'lrem', 'linsert', 'ltrim', 'llen'],
  ...['sadd', 'srem', 'scard', 'sismember', 'smove', 'sinterstore', 'sunionstore', 'sdiffstore', 'sintercard'],
  ...['zadd', 'zrem', 'zscore', 'zrank', 'zrange', 'zincrby', 'zpopmin', 'zunionstore', 'zrangestore', 'zremrangebyrank', 'zcard'],
];

/** MULTI's followers: some commands, then EXEC or DISCARD. */
const transaction: Make = (g) => {
  for (let left = g.prng.below(6); left > 0; left--) g.follow(...g.commandOf(IN_TRANSACTIONS));
  if (g.chance(0.1)) g.follow(g.pick(['nosuch', 'MULTI', 'GET']));
  if (g.chance(0.1)) g.follow('WATCH', g.key());
  g.follow(g.chance(0.9) ? 'EXEC' : 'DISCARD');
  return [];
};

/** WATCH's followers: perhaps a change, then a transaction. */
const watch: Make = (g) => {
  if (g.chance(0.7)) g.follow(...g.commandOf(IN_TRANSACTIONS));
  if (g.chance(0.1)) g.follow('UNWATCH');
  g.follow('MULTI');
  g.follow(...g.commandOf(IN_TRANSACTIONS));
  g.follow('EXEC');
  return g.some(3, () => g.key());
};

export const DOOR_COMMANDS: Readonly<Record<string, Make>> = {
  keys: keyPattern,
  scan: (g) => [
    g.chance(0.9) ? '0' : g.pick(['', 'x', ' 1', '-', '1x']),
    ...g.maybe(0.5, () => [g.anyCase('MATCH'), ...keyPattern(g)]),
    ...g.maybe(0.4, () => [g.anyCase('COUNT'), g.smallInt()]),
    ...g.maybe(0.4, () => [g.anyCase('TYPE'), g.pick(['string', 'hash', 'HASH', 'list', 'nosuch'])]),
  ],
  randomkey: nothing,
  dbsize: nothing,
  flushdb: (g) => g.maybe(0.95, () => [g.pick(['SYNC ', 'now', 'ASYNCX'])]),
  flushall: (g) => g.maybe(0.95, () => g.pick([['SYNC', 'ASYNC'], ['now'], ['']])),
  multi: transaction,
  exec: nothing,
  discard: nothing,
  watch,
  unwatch: nothing,
  'client|unblock': (g) => [
    g.pick(['x', '99999999', '0']),
    ...g.maybe(0.5, () => [g.pick(['TIMEOUT', 'error', 'nosuch'])]),
    ...g.maybe(0.1, () => ['TIMEOUT', 'x']),
  ],
  ping: (g) => g.maybe(0.7, () => g.some(2, () => g.value())),
  echo: (g) => [g.value()],
  select: (g) => [g.chance(0.5) ? '0' : g.int()],
  auth: (g) => g.some(3, () => someWord(g)),
  hello: (g) => [
    ...g.pick([['1'], ['4'], ['x'], ['3 '], ['-3'], ['03'], [String(g.version), 'AUTH', 'foo'], [String(g.version), 'nosuch']]),
    ...g.maybe(0.3, () => ['AUTH', 'nosuch', someWord(g)]),
    ...g.maybe(0.3, () => ['SETNAME']),
  ],
  time: nothing,
  'object|help': nothing,
  info: (g) => g.maybe(0.5, () => [g.pick(['server', 'keyspace', 'everything', 'nosuch'])]),
  lolwut: nothing,
  'client|id': nothing,
  'client|info': nothing,
  'client|list': (g) =>
    g.maybe(0.7, () =>
      g.pick([
        ...[['TYPE', 'normal'], ['TYPE', 'pubsub'], ['TYPE', 'replica'], ['TYPE', 'nosuch'], ['TYPE'], ['TYPE', 'normal', 'x']],
        ...[['ID', 'x'], ['ID', '99999999'], ['ID', '1', 'x'], ['ID'], ['nosuch', '1']],
      ]),
    ),
  'client|setname': (g) => [someWord(g)],
  'client|getname': nothing,
  'client|no-evict': (g) => [someWord(g)],
  'client|kill': (g) =>
    g.pick([
      ['1.2.3.4:5'],
      ['ID', 'x'],
      ['ID', '99999999'],
      ['ID', '0'],
      ['TYPE', 'nosuch'],
      ['ADDR', '1.2.3.4:5'],
      ['nosuch', 'x'],
      ['ID'],
      ['USER', 'nosuch'],
      ['USER', 'default', 'ID', '99999999'],
      ['ID', '99999999', 'SKIPME', g.pick(['yes', 'no', 'maybe'])],
      ['TYPE', g.pick(['master', 'replica', 'pubsub']), 'SKIPME', 'no'],
      ['ADDR', '1.2.3.4:5', 'LADDR', '1.2.3.4:5', 'ID'],
      ['SKIPME', 'no', 'LADDR', '1.2.3.4:5'],
    ]),
  // Only what neither takes: the two are to go on answering at once.
  'client|pause': (g) => g.pick([['x'], ['-1'], ['0', 'nosuch'], ['1', 'WRITE', 'x'], ['9223372036854775808'], ['', 'ALL']]),
  'client|reply': (g) => g.pick([['nosuch'], ['']]),
  'client|help': nothing,
  'command|count': nothing,
  'command|docs': (g) => g.maybe(0.5, () => ['nosuch']),
  'command|getkeys': wholeCommand,
  'command|getkeysandflags': wholeCommand,
  'command|help': nothing,
  'command|info': (g) => ['nosuch', ...g.maybe(0.5, () => ['nosuch|either'])],
  'command|list': (g) =>
    g.maybe(0.7, () =>
      g.pick([
        ['FILTERBY', 'ACLCAT', 'nosuch'],
        ['FILTERBY', 'PATTERN', 'hge*'],
        ['FILTERBY', 'MODULE', 'none'],
        ['FILTERBY', 'nosuch', 'x'],
        ['FILTERBY'],
      ]),
    ),
  'config|get': (g) =>
    g.pick([['nosuch'], ['maxclientsx', 'nosuch'], ['requirepass'], ['['], ['timeou?'], ['maxmemory-polic[a-z]', 'nosuch']]),
  'config|set': (g) =>
    g.pick([
      ...[['nosuch', '1'], ['maxclients'], ['maxclients', '1', 'nosuch'], ['nosuch', '1', 'nosuch', '2']],
      ...[
        ['timeout', g.pick(['0', 'x', '-1', '', '1.5', '2147483648'])],
        ['timeout', '0', 'nosuch', '1'],
        ['timeout', 'x', 'timeout', '0'],
      ],
      ...[
        ['timeout', '0', 'tcp-keepalive', '300'],
        ['TIMEOUT', '0', 'timeout', '0'],
        ['proto-max-bulk-len', g.pick(['1mbx', 'x'])],
      ],
    ]),
  'config|resetstat': nothing,
  'config|help': nothing,
};

/** Not given to both: they end or change the conversation itself, or are of a later Redis. */
export const NOT_COMPARED: readonly string[] = [
  ...['quit', 'reset', 'client|unpause', 'config|rewrite'],
  ...['client|setinfo', 'client|no-touch'],
  // Of a cluster, which the Redis beside us is not.
  ...['asking', 'readonly', 'readwrite', 'cluster|help', 'cluster|info', 'cluster|myid', 'cluster|links', 'cluster|keyslot'],
  ...['cluster|nodes', 'cluster|replicas', 'cluster|slaves', 'cluster|shards', 'cluster|slots', 'cluster|countkeysinslot'],
  'cluster|getkeysinslot',
];
