import { type Bytes, utf8 } from '../../src/base/bytes.ts';
import { Prng } from '../../src/base/prng.ts';
import { isSpec, keysOf, resolveCommand } from '../../src/shard/redis/command-table.ts';
import { LIST_COMMANDS, SET_COMMANDS } from './generated-collections.ts';
import { BIT_COMMANDS, HASH_COMMANDS, KEY_COMMANDS, STRING_COMMANDS } from './generated-commands.ts';
import { DOOR_COMMANDS } from './generated-door-commands.ts';
import { SORTED_SET_COMMANDS } from './generated-sorted-sets.ts';

type Arg = string | Bytes;

/** The random parts of commands: mostly sensible, often at an edge, now and then nonsense. The same seed gives the same commands. */
export class Generator {
  readonly prng: Prng;
  /** How often each command has come up, by name in the table. */
  readonly counts = new Map<string, number>();

  readonly #tag: string;
  /** Of the protocol that is spoken. */
  readonly version: number;
  readonly #doorShare: number;
  readonly #next: Bytes[][] = [];

  /**
   * `tag` stands before every key: `{x}` keeps all keys in one slot, where every command may take several. `doorShare` of the commands are
   * ones that the door answers itself.
   */
  constructor(seed: number, options: { readonly tag?: string; readonly version?: number; readonly doorShare?: number } = {}) {
    this.prng = new Prng(seed);
    this.#tag = options.tag ?? '';
    this.version = options.version ?? 3;
    this.#doorShare = options.doorShare ?? 0;
  }

  /** Keys of several patterns are in one slot. */
  get isTagged(): boolean {
    return this.#tag !== '';
  }

  /** What comes next, whatever chance says: puts the two sides back into one state. */
  follow(...command: readonly Arg[]): void {
    this.#next.push(command.map((arg) => (typeof arg === 'string' ? utf8(arg) : arg)));
  }

  command(): Bytes[] {
    const next = this.#next.shift();
    if (next !== undefined) return next;
    return this.#doorShare > 0 && this.chance(this.#doorShare) ? this.#make(DOOR_COMMANDS) : this.moduleCommand();
  }

  moduleCommand(): Bytes[] {
    for (;;) {
      const command = this.#make(COMMANDS);
      if ((this.#tag === '' || this.#isTagged(command)) && !isEndless(command)) return command;
    }
  }

  /** A mutilated command may take something else for a key, which the server refuses with CROSSSLOT and one Redis alone does not. */
  #isTagged(command: readonly Bytes[]): boolean {
    const spec = resolveCommand(command);
    return !isSpec(spec) || keysOf(spec, command).every((key) => Buffer.from(key).toString('latin1').startsWith(this.#tag));
  }

  /** A whole command of one of these names. */
  commandOf(names: readonly string[]): Bytes[] {
    for (;;) {
      const command = this.#make(COMMANDS, this.pick(names));
      if (this.#isTagged(command) && !isEndless(command)) return command;
    }
  }

  #make(commands: typeof COMMANDS, name = this.pick(commands === COMMANDS ? MODULE_NAMES : DOOR_NAMES)): Bytes[] {
    this.counts.set(name, (this.counts.get(name) ?? 0) + 1);
    const args: Arg[] = [...name.split('|').map((word) => this.anyCase(word)), ...commands[name]!(this)];
    if (commands === COMMANDS) this.#mutilate(args);
    return args.map((arg) => (typeof arg === 'string' ? utf8(arg) : arg));
  }

  /** Now and then takes an argument away or adds one. */
  #mutilate(args: Arg[]): void {
    if (this.chance(0.02) && args.length > 2) args.splice(1 + this.prng.below(args.length - 1), 1);
    if (this.chance(0.02)) args.push(this.pick([this.int(), this.value(), 'NX', 'GET', 'DB']));
  }

  chance(probability: number): boolean {
    return this.prng.unit() < probability;
  }

  pick<T>(items: readonly T[]): T {
    return this.prng.pick(items);
  }

  /** One to `most` of what `make` makes. */
  some<T>(most: number, make: () => T): T[] {
    return Array.from({ length: 1 + this.prng.below(most) }, make);
  }

  /** What `make` makes, or nothing. */
  maybe(probability: number, make: () => Arg[]): Arg[] {
    return this.chance(probability) ? make() : [];
  }

  anyCase(word: string): string {
    return this.chance(0.8) ? word.toUpperCase() : this.chance(0.5) ? word : word.slice(0, 2) + word.slice(2).toUpperCase();
  }

  /** An option as `name`, rarely with a zero byte behind or misspelt. */
  option(name: string): string {
    if (this.chance(0.01)) return `${name}\0x`;
    return this.chance(0.01) ? `${name}X` : this.anyCase(name);
  }

  named(name: string): string {
    return this.#tag + name;
  }

  stringKey(): string {
    return this.chance(0.06) ? this.hashKey() : this.named(`s${this.prng.below(6)}`);
  }

  counterKey(): string {
    return this.chance(0.1) ? this.stringKey() : this.named(`n${this.prng.below(3)}`);
  }

  hashKey(): string {
    return this.chance(0.06) ? this.stringKey() : this.named(`h${this.prng.below(4)}`);
  }

  listKey(): string {
    return this.chance(0.04) ? this.stringKey() : this.named(`q${this.prng.below(3)}`);
  }

  setKey(): string {
    return this.chance(0.04) ? this.stringKey() : this.named(`m${this.prng.below(4)}`);
  }

  /** Of the sets m0 and m1 all are whole numbers, mostly. */
  member(key: string): Arg {
    if (this.chance(0.05)) return this.value();
    return /m[01]$/.test(key) ? String(this.prng.below(20)) : `e${this.prng.below(15)}`;
  }

  sortedSetKey(): string {
    return this.chance(0.04) ? this.stringKey() : this.named(`z${this.prng.below(4)}`);
  }

  /** A score: never minus zero, which Redis keeps in large sets and not in small ones. */
  score(): string {
    const kind = this.prng.below(20);
    if (kind < 10) return String(this.prng.below(9) - 4);
    if (kind < 16) return `${this.pick(['', '-'])}${1 + this.prng.below(9)}${this.digits(3)}.${this.digits(12)}`;
    if (kind < 18)
      return this.pick(['inf', '-inf', '+inf', '1e300', '-1.5e-7', '1e17', '123456789012345678', '9007199254740993', '0.1', '3.3']);
    return this.pick(['nan', 'abc', '', '1e400', '1e-400', ' 1', '1 ', '0x1p3', '1\0', 'Infinity', '1e5', '1_0']);
  }

  item(): Arg {
    return this.chance(0.8) ? `i${this.prng.below(6)}` : this.value();
  }

  key(): string {
    return this.pick([
      () => this.listKey(),
      () => this.setKey(),
      () => this.sortedSetKey(),
      () => this.stringKey(),
      () => this.counterKey(),
      () => this.hashKey(),
      () => this.named('absent'),
    ])();
  }

  field(): Arg {
    if (this.chance(0.03)) return this.pick(['', 'f'.repeat(64), 'f'.repeat(65), '\xff\0']);
    return `f${this.prng.below(12)}`;
  }

  bytes(most: number): Bytes {
    return Uint8Array.from({ length: this.prng.below(most + 1) }, () => this.prng.u32() & 0xff);
  }

  value(): Arg {
    const kind = this.prng.below(10);
    if (kind < 3) return this.int();
    if (kind < 4) return this.float();
    if (kind < 7) return this.pick(['', 'a', 'abc', 'hello world', 'foobar', '\0', 'v'.repeat(44), 'v'.repeat(45)]);
    if (kind < 8 && this.chance(0.2)) return 'w'.repeat(this.pick([64, 65, 300]));
    return this.bytes(12);
  }

  /** Letters of a small alphabet, for LCS. */
  letters(): string {
    return Array.from({ length: this.prng.below(14) }, () => this.pick(['a', 'b', 'c'])).join('');
  }

  /** A whole number as a command takes it, with edges and what only looks like one. */
  int(): string {
    const kind = this.prng.below(20);
    if (kind < 12) return String(this.prng.below(41) - 20);
    if (kind < 15) return String(this.prng.below(2_000_000) - 1_000_000);
    return this.pick(EDGE_INTEGERS);
  }

  smallInt(): string {
    return this.chance(0.04) ? this.pick(EDGE_INTEGERS) : String(this.prng.below(13));
  }

  index(): string {
    return this.chance(0.05) ? this.pick(EDGE_INTEGERS) : String(this.prng.below(41) - 20);
  }

  float(): string {
    const kind = this.prng.below(20);
    if (kind < 5) return String(this.prng.below(2001) / 100 - 10);
    if (kind < 9) return `${this.sign()}${this.digits(6)}.${this.digits(20)}`;
    if (kind < 11) return `${this.sign()}${this.digits(25)}`;
    if (kind < 14) return `${this.sign()}${this.digits(4)}.${this.digits(8)}${this.pick(['e', 'E'])}${this.prng.below(50) - 30}`;
    if (kind < 15) return `${this.sign()}0x${this.prng.u32().toString(16)}.${this.prng.u32().toString(16)}p${this.prng.below(80) - 40}`;
    if (kind < 16) return this.int();
    return this.pick(EDGE_FLOATS);
  }

  sign(): string {
    return this.pick(['', '-', '-', '+']);
  }

  digits(most: number): string {
    return Array.from({ length: 1 + this.prng.below(most) }, () => this.prng.below(10)).join('');
  }

  /** Seconds from now that no test outlives, or not in the future at all. */
  seconds(): string {
    return this.chance(0.8) ? String(1_000 + this.prng.below(1_000_000)) : this.pick(EDGE_TIMES);
  }

  milliseconds(): string {
    return this.chance(0.8) ? String(1_000_000 + this.prng.below(1_000_000_000)) : this.pick(EDGE_TIMES);
  }

  /** In seconds since 1970: between the years 2096 and 2255, mostly. */
  unixSeconds(): string {
    return this.chance(0.8) ? String(4_000_000_000 + 1_000 * this.prng.below(20)) : this.pick([...EDGE_TIMES, '1', '1000000000']);
  }

  unixMilliseconds(): string {
    return this.chance(0.8) ? String(4_000_000_000_000 + 1_000 * this.prng.below(20)) : this.pick([...EDGE_TIMES, '1', '1000000000000']);
  }

  pattern(): Arg {
    if (this.chance(0.3)) return this.pick(['*', 'f*', 'f?', 'f1*', '*1', 'f[0-5]', 'f[^0-5]', '']);
    return Array.from({ length: this.prng.below(6) }, () =>
      this.pick(['*', '?', 'f', '1', '[', ']', '^', '-', '0', '9', '\\', '[0-9]', 'a']),
    ).join('');
  }
}

/** The commands that are compared, by name in the table, each with the making of its arguments. */
export const COMMANDS: Readonly<Record<string, (g: Generator) => Arg[]>> = {
  ...KEY_COMMANDS,
  ...STRING_COMMANDS,
  ...BIT_COMMANDS,
  ...HASH_COMMANDS,
  ...LIST_COMMANDS,
  ...SET_COMMANDS,
  ...SORTED_SET_COMMANDS,
};

/**
 * A mutilated HRANDFIELD, SRANDMEMBER or ZRANDMEMBER may ask for so many fields that Redis is busy for hours (those below -(2^63 - 1) it
 * refuses); a mutilated blocking command may wait for days, which from 1e16 seconds on Redis refuses.
 */
function isEndless(command: readonly Bytes[]): boolean {
  const args = command.map((arg) => Buffer.from(arg).toString('latin1'));
  const name = args[0]!.toLowerCase();
  if (/^([hsz]rand(field|member))$/.test(name)) {
    return Number(args[2]) < -1_000 && !/^-922337203685477580[89]$/.test(args[2] ?? '');
  }
  if (!BLOCKING.has(name)) return false;
  const timeout = (/mpop$/.test(name) ? args[1] : args.at(-1)) ?? '';
  const seconds = Number(timeout);
  return timeout !== '' && (seconds === 0 || (seconds > 0.01 && seconds < 1e16));
}

const BLOCKING = new Set(['blmove', 'blmpop', 'blpop', 'brpop', 'brpoplpush', 'bzmpop', 'bzpopmax', 'bzpopmin']);
const MODULE_NAMES = Object.keys(COMMANDS);
const DOOR_NAMES = Object.keys(DOOR_COMMANDS);

const EDGE_INTEGERS = [
  ...['9223372036854775807', '-9223372036854775808', '9223372036854775808', '-9223372036854775809', '9223372036854775806'],
  ...['9007199254740991', '9007199254740992', '9007199254740993', '-9007199254740991', '-9007199254740993', '4611686018427387904'],
  ...['999999999999999', '1000000000000000', '-999999999999999', '4294967295', '4294967296', '2147483647', '-2147483649'],
  ...['', ' 1', '1 ', '+1', '01', '-0', '-', '1.0', '1e3', '0x10', 'abc', '1\0', '18446744073709551615', '99999999999999999999'],
];

const EDGE_FLOATS = [
  ...['0', '-0', '0.0', '1', '3.0e3', '5.0e3', '.5', '5.', '.', 'e5', '1e', '1e+', '--1', '+-1', '1 ', ' 1', '1.5\0', '', 'abc', '1,5'],
  ...['inf', '-inf', '+Infinity', 'infinit', 'nan', '-NaN', 'nan(1)', '0x', '0x1', '0X1.8P1', '0x.8', '0x1p', '0xg'],
  ...['1e17', '1e18', '1e19', '1e20', '1e-17', '1e-18', '5e-18', '5.0000001e-18', '-1e-20', '1e30', '1.7e308', '1e400', '-1e400', '1e-400'],
  ...[
    '1e4931',
    '1.18973149535723176e4932',
    '1.2e4932',
    '1e5000',
    '1e-4950',
    '1e-4951',
    '1e-5000',
    '1e99999999999',
    '1e-99999999999',
    '0e99999999999',
  ],
  ...[
    '0.1',
    '0.2',
    '0.3',
    '3.14159265358979323846',
    '2.7182818284590452354',
    '123456789.123456789',
    '0.12345678901234567',
    '0.123456789012345678',
  ],
  ...['18446744073709551615', '18446744073709551616', '18446744073709551617', '36893488147419103233', '9223372036854775807.5'],
];

const EDGE_TIMES = [
  ...['0', '-1', '-1000', '-9223372036854775808', '-9223372036854775', '-9223372036854776'],
  ...['9223372036854775807', '9223372036854775', '9223372036854776', '9223372036854775808', '10000000000000000'],
  ...['', 'abc', '1.5', '+5'],
];
