import type { Bytes } from '../../src/base/bytes.ts';
import type { Generator } from './generator.ts';

// How the arguments of each command are made, by the command's name in the table.

type Arg = string | Bytes;
type Make = (g: Generator) => Arg[];
type Commands = Readonly<Record<string, Make>>;

const key: Make = (g) => [g.key()];
const keys: Make = (g) => g.some(3, () => g.key());
const twoKeys: Make = (g) => [g.key(), g.key()];

/**
 * A time, or a sensible time with conditions: Keyfleet keeps no expiry after the year 287,396, so that of two such times none is the later.
 */
function timeAndConditions(g: Generator, time: () => string): Arg[] {
  if (g.chance(0.6)) return [time()];
  let sensible = time();
  while (!/^\d{1,14}$/.test(sensible)) sensible = time();
  return [sensible, ...g.some(2, () => g.option(g.pick(['NX', 'XX', 'GT', 'LT'])))];
}

/**
 * Of keys of its own: so0 is a list, so1 a set, so2 a sorted set, so3 what was stored. Redis lays a sorted set out another way once it was sorted,
 * which OBJECT ENCODING would tell.
 */
function followWithSort(g: Generator, mayStore: boolean): void {
  const kind = g.prng.below(4);
  const name = g.named(`so${kind}`);
  const word = (): string =>
    g.pick(['1', '2', '10', '-3', '0.5', '1e2', ...(g.chance(0.05) ? ['x', '', ' 7'] : []), ...(g.isTagged ? ['a', 'b'] : [])]);
  if (g.chance(0.5)) {
    const words = g.some(6, word);
    if (kind === 0) g.follow('RPUSH', name, ...words);
    else if (kind === 1) g.follow('SADD', name, ...words);
    else if (kind === 2) g.follow('ZADD', name, ...words.flatMap((one) => [String(g.prng.below(5)), one]));
    else g.follow('DEL', name);
  }
  if (g.isTagged && g.chance(0.5)) {
    g.follow('SET', g.named(`weight:${word()}`), g.chance(0.97) ? String(g.prng.below(9)) : 'heavy');
    g.follow('HSET', g.named(`item:${word()}`), 'name', word(), 'weight', String(g.prng.below(9)));
  }
  const patterns = g.isTagged ? ['weight:*', 'item:*->weight', 'item:*->', 'item:*'].map((one) => g.named(one)) : [];
  const by = [...patterns, ...(kind === 1 ? [] : ['nosort'])];
  // Redis takes an overflow in reading an earlier number for one in this command, unless a number was read well in between.
  g.follow('ZADD', g.named('so9'), '1', 'm');
  g.follow(
    mayStore ? 'SORT' : 'SORT_RO',
    name,
    ...g.maybe(0.4, () => (by.length === 0 ? [] : [g.option('BY'), g.pick(by)])),
    ...g.maybe(0.3, () => [
      g.option('LIMIT'),
      ...(g.chance(0.9) ? [g.pick(['0', '1', '2', '-1']), g.pick(['0', '1', '3', '-1'])] : [g.int(), g.int()]),
    ]),
    ...g.maybe(0.3, () =>
      g
        .some(2, () => g.pick(['#', ...patterns, ...(g.isTagged ? [g.named('item:*->name')] : [])]))
        .flatMap((one) => [g.option('GET'), one]),
    ),
    ...g.maybe(0.5, () => [g.option(g.pick(['ASC', 'DESC']))]),
    ...(mayStore ? g.maybe(0.3, () => [g.option('STORE'), g.named('so3')]) : []),
  );
}

/** By the items' texts, and then perhaps by numbers. */
function sort(g: Generator, mayStore: boolean): Arg[] {
  if (g.chance(0.7)) followWithSort(g, mayStore);
  return [g.named(`so${g.prng.below(4)}`), g.option('ALPHA'), ...g.maybe(0.5, () => [g.option(g.pick(['ASC', 'DESC']))])];
}

export const KEY_COMMANDS: Commands = {
  sort: (g) => sort(g, true),
  sort_ro: (g) => sort(g, false),
  del: keys,
  unlink: keys,
  exists: keys,
  touch: keys,
  type: key,
  rename: twoKeys,
  renamenx: twoKeys,
  copy: (g) => [
    ...twoKeys(g),
    ...g.maybe(0.5, () => [g.option('REPLACE')]),
    ...g.maybe(0.1, () => ['DB', g.pick(['0', '0', '1', '-1', 'x', '4294967296'])]),
  ],
  expire: (g) => [g.key(), ...timeAndConditions(g, () => g.seconds())],
  pexpire: (g) => [g.key(), ...timeAndConditions(g, () => g.milliseconds())],
  expireat: (g) => [g.key(), ...timeAndConditions(g, () => g.unixSeconds())],
  pexpireat: (g) => [g.key(), ...timeAndConditions(g, () => g.unixMilliseconds())],
  ttl: key,
  pttl: key,
  expiretime: key,
  pexpiretime: key,
  persist: key,
  'object|encoding': key,
  'object|idletime': key,
  'object|refcount': key,
  'object|freq': key,
};

function expiry(g: Generator): Arg[] {
  const unit = g.pick(['EX', 'PX', 'EXAT', 'PXAT']);
  const amount = { EX: () => g.seconds(), PX: () => g.milliseconds(), EXAT: () => g.unixSeconds(), PXAT: () => g.unixMilliseconds() }[
    unit
  ]!();
  return [g.option(unit), amount];
}

export const STRING_COMMANDS: Commands = {
  append: (g) => [g.stringKey(), g.value()],
  decr: (g) => [g.counterKey()],
  decrby: (g) => [g.counterKey(), g.int()],
  get: (g) => [g.stringKey()],
  getdel: (g) => [g.stringKey()],
  getex: (g) => [
    g.stringKey(),
    ...g.maybe(0.5, () => expiry(g)),
    ...g.maybe(0.2, () => [g.option('PERSIST')]),
    ...g.maybe(0.05, () => expiry(g)),
  ],
  getrange: (g) => [g.stringKey(), g.index(), g.index()],
  getset: (g) => [g.stringKey(), g.value()],
  incr: (g) => [g.counterKey()],
  incrby: (g) => [g.counterKey(), g.int()],
  incrbyfloat: (g) => [g.counterKey(), g.float()],
  lcs: (g) => [
    ...(g.chance(0.9) ? [g.named('l0'), g.named('l1')] : [g.key(), g.key()]),
    ...g.maybe(0.5, () => [g.option('IDX')]),
    ...g.maybe(0.2, () => [g.option('LEN')]),
    ...g.maybe(0.4, () => [g.option('MINMATCHLEN'), g.smallInt()]),
    ...g.maybe(0.4, () => [g.option('WITHMATCHLEN')]),
  ],
  mget: keys,
  mset: (g) => g.some(3, () => (g.chance(0.4) ? [g.named(g.pick(['l0', 'l1'])), g.letters()] : [g.stringKey(), g.value()])).flat(),
  msetnx: (g) => g.some(3, () => [g.stringKey(), g.value()]).flat(),
  psetex: (g) => [g.stringKey(), g.milliseconds(), g.value()],
  set: (g) => [
    g.pick([g.stringKey(), g.stringKey(), g.counterKey()]),
    g.value(),
    ...g.maybe(0.3, () => [g.option(g.pick(['NX', 'XX']))]),
    ...g.maybe(0.3, () => [g.option('GET')]),
    ...g.maybe(0.3, () => expiry(g)),
    ...g.maybe(0.15, () => [g.option('KEEPTTL')]),
    ...g.maybe(0.03, () => [g.option(g.pick(['NX', 'XX', 'PERSIST', 'EX']))]),
  ],
  setex: (g) => [g.stringKey(), g.seconds(), g.value()],
  setnx: (g) => [g.stringKey(), g.value()],
  setrange: (g) => [g.stringKey(), g.smallInt(), g.value()],
  strlen: (g) => [g.stringKey()],
  substr: (g) => [g.stringKey(), g.index(), g.index()],
};

function bitOffset(g: Generator): string {
  if (g.chance(0.01)) return g.pick(['8388607', '8388608', '8388600', '4294967296']);
  return g.chance(0.95) ? String(g.prng.below(140)) : g.int();
}

function fieldType(g: Generator): string {
  if (g.chance(0.04)) return g.pick(['u64', 'i65', 'u0', 'i0', 'I8', 'x8', 'u', '', 'u08', 'i8\0', 'u-1', '8']);
  const bits = g.pick([1, 2, 3, 5, 7, 8, 9, 16, 31, 32, 33, 63, 1 + g.prng.below(63)]);
  return g.chance(0.1) ? 'i64' : `${g.pick(['u', 'i'])}${bits}`;
}

function fieldOffset(g: Generator): string {
  return g.chance(0.3) ? `#${g.chance(0.9) ? g.prng.below(6) : g.int()}` : bitOffset(g);
}

function bitRange(g: Generator): Arg[] {
  return [g.index(), g.index(), ...g.maybe(0.5, () => [g.option(g.pick(['BIT', 'BYTE']))])];
}

const fieldGet: Make = (g) => [g.option('GET'), fieldType(g), fieldOffset(g)];
const fieldWrite: Make = (g) => {
  const word = g.pick(['SET', 'INCRBY']);
  const overflow = g.maybe(0.4, () => [g.option('OVERFLOW'), g.option(g.pick(['WRAP', 'SAT', 'FAIL', 'FAIL']))]);
  return [...overflow, g.option(word), fieldType(g), fieldOffset(g), word === 'SET' ? fieldValue(g) : g.int()];
};

/** Not the least integers: for these Redis's own check overflows, and SAT then stores the greatest value of the field instead of the least. */
function fieldValue(g: Generator): string {
  const value = g.int();
  return value === '-9223372036854775808' ? '-4611686018427387000' : value;
}

export const BIT_COMMANDS: Commands = {
  setbit: (g) => [g.stringKey(), bitOffset(g), g.chance(0.95) ? g.pick(['0', '1']) : g.int()],
  getbit: (g) => [g.stringKey(), bitOffset(g)],
  bitcount: (g) => [g.stringKey(), ...g.maybe(0.7, () => bitRange(g))],
  bitpos: (g) => [
    g.stringKey(),
    g.chance(0.95) ? g.pick(['0', '1']) : g.int(),
    ...g.maybe(0.7, () => (g.chance(0.3) ? [g.index()] : bitRange(g))),
  ],
  bitop: (g) => [
    g.chance(0.98) ? g.anyCase(g.pick(['AND', 'OR', 'XOR', 'NOT'])) : 'NAND',
    g.stringKey(),
    ...g.some(3, () => g.stringKey()),
  ],
  bitfield: (g) => [g.stringKey(), ...g.maybe(0.95, () => g.some(3, () => (g.chance(0.4) ? fieldGet(g) : fieldWrite(g))).flat())],
  bitfield_ro: (g) => [g.stringKey(), ...g.maybe(0.95, () => g.some(3, () => (g.chance(0.95) ? fieldGet(g) : fieldWrite(g))).flat())],
};

const fields: Make = (g) => g.some(4, () => g.field());
const fieldsAndValues: Make = (g) => g.some(4, () => [g.field(), g.value()]).flat();

export const HASH_COMMANDS: Commands = {
  hdel: (g) => [g.hashKey(), ...fields(g)],
  hexists: (g) => [g.hashKey(), g.field()],
  hget: (g) => [g.hashKey(), g.field()],
  hgetall: (g) => [g.hashKey()],
  hincrby: (g) => [g.hashKey(), `c${g.prng.below(3)}`, g.int()],
  hincrbyfloat: (g) => [g.hashKey(), g.chance(0.9) ? `c${g.prng.below(3)}` : g.field(), g.float()],
  hkeys: (g) => [g.hashKey()],
  hlen: (g) => [g.hashKey()],
  hmget: (g) => [g.hashKey(), ...fields(g)],
  hmset: (g) => [g.hashKey(), ...fieldsAndValues(g)],
  hrandfield: (g) => [
    g.hashKey(),
    ...g.maybe(0.8, () => [
      g.chance(0.9)
        ? String(g.prng.below(41) - 20)
        : g.pick(['9223372036854775807', '-9223372036854775808', '-9223372036854775809', '4611686018427387904', 'x', '100000']),
      ...g.maybe(0.5, () => [g.option('WITHVALUES')]),
    ]),
  ],
  hscan: (g) => [
    g.hashKey(),
    g.chance(0.9) ? '0' : g.pick(['', '1', '-1', 'x', ' 1', '18446744073709551615', '18446744073709551616', '+5', '00']),
    ...g.maybe(0.5, () => [g.option('MATCH'), g.pattern()]),
    ...g.maybe(0.3, () => [g.option('COUNT'), g.smallInt()]),
    ...g.maybe(0.03, () => ['TYPE', 'hash']),
  ],
  hset: (g) => [g.hashKey(), ...fieldsAndValues(g)],
  hsetnx: (g) => [g.hashKey(), g.field(), g.value()],
  hstrlen: (g) => [g.hashKey(), g.field()],
  hvals: (g) => [g.hashKey()],
};
