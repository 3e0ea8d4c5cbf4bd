import type { Bytes } from '../../src/base/bytes.ts';
import { counted, scanArgs, timeout } from './generated-collections.ts';
import type { Generator } from './generator.ts';

// How the arguments of the commands on sorted sets are made, by the command's name in the table. The key zl holds members of one score, for the
// ranges by name, which Redis promises nothing about otherwise.

type Arg = string | Bytes;
type Make = (g: Generator) => Arg[];
type Commands = Readonly<Record<string, Make>>;

function member(g: Generator): Arg {
  if (g.chance(0.03)) return g.pick(['', 'm'.repeat(64), 'm'.repeat(65), '\xff\0']);
  return `e${g.prng.below(20)}`;
}

function namedKey(g: Generator): string {
  return g.chance(0.95) ? g.named('zl') : g.stringKey();
}

function anyKey(g: Generator): string {
  return g.chance(0.2) ? g.named('zl') : g.sortedSetKey();
}

const keys: Make = (g) => g.some(3, () => (g.chance(0.2) ? g.setKey() : anyKey(g)));
const members: Make = (g) => [g.sortedSetKey(), ...g.some(4, () => member(g))];

function scoreBound(g: Generator): string {
  if (g.chance(0.2)) return g.pick(['-inf', '+inf', 'inf', '(inf', '(-inf', '', '(', 'x', '((1', 'nan', ' 2', '1 ', '2\0x', '(0x2']);
  return `${g.chance(0.3) ? '(' : ''}${g.score()}`;
}

function nameBound(g: Generator): Arg {
  if (g.chance(0.2)) return g.pick(['-', '+', '-x', '+x', 'x', '', '[', '(', '[\xff', '(e\0']);
  return `${g.pick(['[', '('])}e${g.prng.below(20)}`;
}

function limit(g: Generator): Arg[] {
  return g.maybe(0.4, () => [
    g.option('LIMIT'),
    g.chance(0.9) ? String(g.prng.below(6) - 1) : g.int(),
    g.chance(0.9) ? String(g.prng.below(8) - 1) : g.int(),
  ]);
}

const withScores: Make = (g) => g.maybe(0.5, () => [g.option('WITHSCORES')]);

/** `key min max` and options of the general form. */
function generalRange(g: Generator): Arg[] {
  const kind = g.prng.below(3);
  const options: Arg[][] = [g.maybe(0.4, () => [g.option('REV')])];
  if (kind === 0) return [anyKey(g), g.index(), g.index(), ...options[0]!, ...g.maybe(0.05, () => limit(g))];
  if (kind === 1) return [anyKey(g), scoreBound(g), scoreBound(g), g.option('BYSCORE'), ...options[0]!, ...limit(g)];
  return [namedKey(g), nameBound(g), nameBound(g), ...options[0]!, g.option('BYLEX'), ...limit(g)];
}

function algebra(g: Generator, options: { readonly isWithScores: boolean; readonly combines: boolean }): Arg[] {
  const sources = keys(g);
  const weights = g.maybe(options.combines ? 0.4 : 0.03, () => [
    g.option('WEIGHTS'),
    ...sources.map(() => (g.chance(0.9) ? g.pick(['1', '2', '-1', '0.5', '0', 'inf']) : g.score())),
  ]);
  const aggregate = g.maybe(options.combines ? 0.4 : 0.03, () => [g.option('AGGREGATE'), g.option(g.pick(['SUM', 'MIN', 'MAX']))]);
  return [...counted(g, sources), ...weights, ...aggregate, ...(options.isWithScores ? withScores(g) : [])];
}

const end: Make = (g) => [g.option(g.pick(['MIN', 'MAX']))];
const popCount: Make = (g) => g.maybe(0.5, () => [g.chance(0.9) ? String(g.prng.below(4)) : g.index()]);

const zMPop: Make = (g) => [
  ...counted(g, keys(g)),
  ...end(g),
  ...g.maybe(0.5, () => [g.option('COUNT'), g.chance(0.9) ? g.pick(['1', '2', '5']) : g.int()]),
];

export const SORTED_SET_COMMANDS: Commands = {
  bzmpop: (g) => [timeout(g), ...zMPop(g)],
  bzpopmax: (g) => [...g.some(3, () => anyKey(g)), timeout(g)],
  bzpopmin: (g) => [...g.some(3, () => anyKey(g)), timeout(g)],
  zadd: (g) => {
    if (g.chance(0.3)) return [namedKey(g), ...g.some(5, () => ['0', member(g)]).flat()];
    const isIncr = g.chance(0.15);
    return [
      g.sortedSetKey(),
      ...g.maybe(0.25, () => [g.option(g.pick(['NX', 'XX']))]),
      ...g.maybe(0.25, () => [g.option(g.pick(['GT', 'LT']))]),
      ...g.maybe(0.3, () => [g.option('CH')]),
      ...(isIncr ? [g.option('INCR')] : []),
      ...g.some(isIncr && g.chance(0.9) ? 1 : 6, () => [g.score(), member(g)]).flat(),
    ];
  },
  zcard: (g) => [anyKey(g)],
  zcount: (g) => [g.sortedSetKey(), scoreBound(g), scoreBound(g)],
  zdiff: (g) => algebra(g, { isWithScores: true, combines: false }),
  zdiffstore: (g) => [g.sortedSetKey(), ...algebra(g, { isWithScores: false, combines: false })],
  zincrby: (g) => [g.sortedSetKey(), g.score(), member(g)],
  zinter: (g) => algebra(g, { isWithScores: true, combines: true }),
  zintercard: (g) => [...counted(g, keys(g)), ...g.maybe(0.5, () => [g.option('LIMIT'), g.chance(0.9) ? g.smallInt() : g.index()])],
  zinterstore: (g) => [g.sortedSetKey(), ...algebra(g, { isWithScores: false, combines: true })],
  zlexcount: (g) => [namedKey(g), nameBound(g), nameBound(g)],
  zmpop: zMPop,
  zmscore: members,
  zpopmax: (g) => [anyKey(g), ...popCount(g)],
  zpopmin: (g) => [anyKey(g), ...popCount(g)],
  zrandmember: (g) => [
    g.sortedSetKey(),
    ...g.maybe(0.8, () => [
      g.chance(0.9)
        ? String(g.prng.below(31) - 15)
        : g.pick(['9223372036854775807', '-9223372036854775808', 'x', '1000', '4611686018427387904']),
      ...withScores(g),
    ]),
  ],
  zrange: (g) => [...generalRange(g), ...withScores(g)],
  zrangebylex: (g) => [namedKey(g), nameBound(g), nameBound(g), ...limit(g)],
  zrangebyscore: (g) => [g.sortedSetKey(), scoreBound(g), scoreBound(g), ...withScores(g), ...limit(g)],
  zrangestore: (g) => [g.sortedSetKey(), ...generalRange(g)],
  zrank: (g) => members(g).slice(0, 2),
  zrem: members,
  zremrangebylex: (g) => [namedKey(g), nameBound(g), nameBound(g)],
  zremrangebyrank: (g) => [g.sortedSetKey(), g.index(), g.index()],
  zremrangebyscore: (g) => [g.sortedSetKey(), scoreBound(g), scoreBound(g)],
  zrevrange: (g) => [g.sortedSetKey(), g.index(), g.index(), ...withScores(g)],
  zrevrangebylex: (g) => [namedKey(g), nameBound(g), nameBound(g), ...limit(g)],
  zrevrangebyscore: (g) => [g.sortedSetKey(), scoreBound(g), scoreBound(g), ...withScores(g), ...limit(g)],
  zrevrank: (g) => members(g).slice(0, 2),
  zscan: (g) => [anyKey(g), ...scanArgs(g)],
  zscore: (g) => members(g).slice(0, 2),
  zunion: (g) => algebra(g, { isWithScores: true, combines: true }),
  zunionstore: (g) => [g.sortedSetKey(), ...algebra(g, { isWithScores: false, combines: true })],
};
