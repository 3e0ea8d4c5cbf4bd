import type { Bytes } from '../../src/base/bytes.ts';
import type { Generator } from './generator.ts';

// How the arguments of the commands on lists and sets are made, by the command's name in the table.

type Arg = string | Bytes;
type Make = (g: Generator) => Arg[];
type Commands = Readonly<Record<string, Make>>;

const listEnd = (g: Generator): string => g.option(g.pick(['LEFT', 'RIGHT']));
const items: Make = (g) => g.some(5, () => g.item());

/** How many keys, and the keys; now and then a number that is wrong. */
export function counted(g: Generator, keys: readonly Arg[]): Arg[] {
  return [g.chance(0.95) ? String(keys.length) : g.pick(['0', '-1', 'x', String(keys.length + 1), '9223372036854775807']), ...keys];
}

const lMPop: Make = (g) => [
  ...counted(
    g,
    g.some(3, () => g.listKey()),
  ),
  listEnd(g),
  ...g.maybe(0.5, () => [g.option('COUNT'), g.chance(0.9) ? g.pick(['1', '2', '5']) : g.int()]),
];

/** Seconds to wait that no test minds, or what is no such time. */
export function timeout(g: Generator): string {
  return g.chance(0.9) ? g.pick(['0.001', '0.002', '1e-3']) : g.pick(['-1', 'x', '', '-0.1', 'nan', '1e30', '-inf']);
}

export const LIST_COMMANDS: Commands = {
  blmove: (g) => [g.listKey(), g.listKey(), listEnd(g), listEnd(g), timeout(g)],
  blmpop: (g) => [timeout(g), ...lMPop(g)],
  blpop: (g) => [...g.some(3, () => g.listKey()), timeout(g)],
  brpop: (g) => [...g.some(3, () => g.listKey()), timeout(g)],
  brpoplpush: (g) => [g.listKey(), g.listKey(), timeout(g)],
  llen: (g) => [g.listKey()],
  lindex: (g) => [g.listKey(), g.index()],
  lrange: (g) => [g.listKey(), g.index(), g.index()],
  lpos: (g) => [
    g.listKey(),
    g.item(),
    ...g.maybe(0.5, () => [g.option('RANK'), g.chance(0.9) ? g.pick(['1', '2', '3', '-1', '-2']) : g.index()]),
    ...g.maybe(0.5, () => [g.option('COUNT'), g.chance(0.9) ? g.smallInt() : g.index()]),
    ...g.maybe(0.4, () => [g.option('MAXLEN'), g.chance(0.9) ? g.smallInt() : g.index()]),
  ],
  lpush: (g) => [g.listKey(), ...items(g)],
  rpush: (g) => [g.listKey(), ...items(g), ...items(g)],
  lpushx: (g) => [g.listKey(), ...items(g)],
  rpushx: (g) => [g.listKey(), ...items(g)],
  lpop: (g) => [g.listKey(), ...g.maybe(0.4, () => [g.chance(0.9) ? String(g.prng.below(4)) : g.index()])],
  rpop: (g) => [g.listKey(), ...g.maybe(0.4, () => [g.chance(0.9) ? String(g.prng.below(4)) : g.index()])],
  lset: (g) => [g.listKey(), g.index(), g.item()],
  linsert: (g) => [g.listKey(), g.option(g.pick(['BEFORE', 'AFTER'])), g.item(), g.item()],
  lrem: (g) => [g.listKey(), g.chance(0.9) ? g.pick(['0', '1', '2', '-1', '-2']) : g.int(), g.item()],
  ltrim: (g) => [
    g.listKey(),
    ...(g.chance(0.6) ? [g.pick(['0', '1', '2', '-15']), g.pick(['-1', '-2', '10', '20'])] : [g.index(), g.index()]),
  ],
  lmove: (g) => [g.listKey(), g.listKey(), listEnd(g), listEnd(g)],
  rpoplpush: (g) => [g.listKey(), g.listKey()],
  lmpop: lMPop,
};

const setKeys: Make = (g) => g.some(3, () => g.setKey());

function keyAndMembers(g: Generator): Arg[] {
  const key = g.setKey();
  return [key, ...g.some(6, () => g.member(key))];
}

const randomCount: Make = (g) =>
  g.maybe(0.8, () => [
    g.chance(0.9)
      ? String(g.prng.below(31) - 15)
      : g.pick(['9223372036854775807', '-9223372036854775808', '-9223372036854775809', 'x', '1000']),
  ]);

/** What a cursor of HSCAN, SSCAN and ZSCAN may be, and the options. */
export function scanArgs(g: Generator): Arg[] {
  return [
    g.chance(0.9) ? '0' : g.pick(['', '1', '-1', 'x', ' 1', '18446744073709551615', '18446744073709551616', '+5', '00']),
    ...g.maybe(0.5, () => [g.option('MATCH'), g.pattern()]),
    ...g.maybe(0.3, () => [g.option('COUNT'), g.smallInt()]),
  ];
}

export const SET_COMMANDS: Commands = {
  sadd: (g) => [...keyAndMembers(g)],
  scard: (g) => [g.setKey()],
  sdiff: setKeys,
  sdiffstore: (g) => [g.setKey(), ...setKeys(g)],
  sinter: setKeys,
  sintercard: (g) => [...counted(g, setKeys(g)), ...g.maybe(0.5, () => [g.option('LIMIT'), g.chance(0.9) ? g.smallInt() : g.index()])],
  sinterstore: (g) => [g.setKey(), ...setKeys(g)],
  sismember: (g) => keyAndMembers(g).slice(0, 2),
  smembers: (g) => [g.setKey()],
  smismember: keyAndMembers,
  smove: (g) => [g.setKey(), ...keyAndMembers(g).slice(0, 2)],
  spop: (g) => {
    // The two sides do not take the same members: what is left goes too.
    const key = g.setKey();
    g.follow('DEL', key);
    return [key, ...randomCount(g)];
  },
  srandmember: (g) => [g.setKey(), ...randomCount(g)],
  srem: keyAndMembers,
  sscan: (g) => [g.setKey(), ...scanArgs(g)],
  sunion: setKeys,
  sunionstore: (g) => [g.setKey(), ...setKeys(g)],
};
