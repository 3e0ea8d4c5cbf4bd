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
  ping: (g) => g.maybe(0.7, () => g.some(2, () => g.value())),
  echo: (g) => [g.value()],
  select: (g) => [g.chance(0.5) ? '0' : g.int()],
  auth: (g) => g.some(3, () => someWord(g)),
  hello: (g) => [
    ...g.pick([['1'], ['4'], ['x'], ['3 '], [String(g.version), 'AUTH', 'foo'], [String(g.version), 'nosuch']]),
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
      g.pick([['TYPE', 'normal'], ['TYPE', 'pubsub'], ['TYPE', 'nosuch'], ['ID', 'x'], ['ID'], ['nosuch', '1'], ['TYPE']]),
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
    ]),
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
  'config|get': (g) => g.pick([['nosuch'], ['maxclientsx', 'nosuch'], ['requirepass'], ['[']]),
  'config|set': (g) => g.pick([['nosuch', '1'], ['maxclients'], ['maxclients', '1', 'nosuch'], ['nosuch', '1', 'nosuch', '2']]),
  'config|resetstat': nothing,
  'config|help': nothing,
};

/** Not given to both: they end or change the conversation itself, or are of a later Redis. */
export const NOT_COMPARED: readonly string[] = [
  ...['quit', 'reset', 'client|reply', 'client|pause', 'client|unpause', 'config|rewrite'],
  ...['client|setinfo', 'client|no-touch'],
];
