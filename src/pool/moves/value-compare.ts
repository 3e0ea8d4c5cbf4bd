/**
 * Whether two servers hold the same under a key: type, value, time to live. Equal DUMPs are equal values; where they differ (other versions, other encodings, values too large for
 * one reply) the elements are compared by type.
 */
import type { Bytes } from '../../base/bytes.ts';
import { KeyfleetError } from '../../base/errors.ts';
import type { Reply } from '../../shard/redis/reply.ts';
import { LOOK_SCRIPT } from './guard-scripts.ts';
import { type Argument, bytesList, errorText, type ServerLink, textOf } from './move-link.ts';
import { evaluate } from './move-script.ts';

/** `missing`: only the first server has it; `extra`: only the second. */
export type DifferenceKind = 'missing' | 'extra' | 'type' | 'value' | 'ttl';

export interface Difference {
  readonly kind: DifferenceKind;
  /** In words: what the first server has, and the second. */
  readonly what: string;
}

interface Look {
  readonly type: string;
  /** Unix ms; -1 for a key that stays. */
  readonly expiresAtMs: number;
  readonly elements: number;
  readonly bytes: number;
}

const MOST_TTL_DIFFERENCE_MS = 50;
/** Larger values are compared a page at a time. */
const DUMP_BYTES = 256 * 1024;
const PAGE_ELEMENTS = 500;
const PAGE_BYTES = 256 * 1024;
/** A key that is being written looks different once, not every time. */
const LOOKS = 4;
const BETWEEN_LOOKS_MS = 15;

/**
 * Compares keys on two servers; undefined for each that is the same on both, to within 50 ms of its time to live. Keys that are written meanwhile are looked at again.
 *
 * Cost: two round trips to each server for all keys together; more for values over 256 KiB and for those whose DUMPs differ.
 *
 * @throws KF_POOL_SERVER_LOST, KF_POOL_SERVER_REFUSED.
 */
export async function compareKeys(a: ServerLink, b: ServerLink, keys: readonly Bytes[]): Promise<(Difference | undefined)[]> {
  const found = await compareOnce(a, b, keys);
  for (let turn = 1; turn < LOOKS && found.some((one) => one !== undefined); turn++) {
    await new Promise((resolve) => setTimeout(resolve, BETWEEN_LOOKS_MS * turn));
    const places = found.flatMap((one, place) => (one === undefined ? [] : [place]));
    const again = await compareOnce(
      a,
      b,
      places.map((place) => keys[place]!),
    );
    for (const [index, place] of places.entries()) found[place] = again[index];
  }
  return found;
}

async function compareOnce(a: ServerLink, b: ServerLink, keys: readonly Bytes[]): Promise<(Difference | undefined)[]> {
  if (keys.length === 0) return [];
  const [left, right] = await Promise.all([lookAt(a, keys), lookAt(b, keys)]);
  return Promise.all(
    keys.map(async (key, index): Promise<Difference | undefined> => {
      const [one, other] = [left[index]!, right[index]!];
      if (one.type === 'none' && other.type === 'none') return undefined;
      if (other.type === 'none') return { kind: 'missing', what: `a ${one.type}, and nothing` };
      if (one.type === 'none') return { kind: 'extra', what: `nothing, and a ${other.type}` };
      if (one.type !== other.type) return { kind: 'type', what: `${one.type}, and ${other.type}` };
      const value = await compareValues(a, b, key, one, other);
      if (value !== undefined) return { kind: 'value', what: value };
      const apartMs = Math.abs(one.expiresAtMs - other.expiresAtMs);
      const isSame = one.expiresAtMs < 0 === other.expiresAtMs < 0 && apartMs <= MOST_TTL_DIFFERENCE_MS;
      return isSame ? undefined : { kind: 'ttl', what: `${showExpiry(one)}, and ${showExpiry(other)}` };
    }),
  );
}

async function lookAt(link: ServerLink, keys: readonly Bytes[]): Promise<Look[]> {
  const answers = (await evaluate(link, LOOK_SCRIPT, keys, [])) as readonly (readonly Reply[])[];
  return answers.map(([type, expiry, elements, bytes]) => ({
    type: textOf(type),
    expiresAtMs: Number(expiry),
    elements: Number(elements),
    bytes: Number(bytes),
  }));
}

/** What differs, in words; undefined when nothing does. */
async function compareValues(a: ServerLink, b: ServerLink, key: Bytes, one: Look, other: Look): Promise<string | undefined> {
  if (one.elements !== other.elements) return `${one.elements} bytes or elements, and ${other.elements}`;
  if (one.bytes <= DUMP_BYTES && other.bytes <= DUMP_BYTES) {
    const [left, right] = await Promise.all([a.call(['DUMP', key]), b.call(['DUMP', key])]);
    if (sameBytes(left, right)) return undefined;
  }
  const count = one.elements;
  const ask = (link: ServerLink, commands: readonly (readonly Argument[])[]): Promise<Reply[]> =>
    Promise.all(commands.map((command) => link.call(command)));
  switch (one.type) {
    case 'string':
      return pages(a, b, count, PAGE_BYTES, (from, to) => ['GETRANGE', key, from, to]);
    case 'list':
      return pages(a, b, count, PAGE_ELEMENTS, (from, to) => ['LRANGE', key, from, to]);
    case 'set':
      return members(a, ['SSCAN', key], 1, async (items) => {
        const answers = await ask(
          b,
          items.map((item) => ['SISMEMBER', key, item]),
        );
        return answers.findIndex((answer) => answer !== 1);
      });
    case 'hash':
      return members(a, ['HSCAN', key], 2, async (items) => {
        const answers = await ask(
          b,
          everySecond(items, 0).map((field) => ['HGET', key, field]),
        );
        return answers.findIndex((answer, at) => !sameBytes(answer, items[2 * at + 1]!));
      });
    case 'zset':
      return members(a, ['ZSCAN', key], 2, async (items) => {
        const answers = await ask(
          b,
          everySecond(items, 0).map((member) => ['ZSCORE', key, member]),
        );
        return answers.findIndex((answer, at) => Number(textOf(answer)) !== Number(textOf(items[2 * at + 1]!)));
      });
    case 'stream':
      return compareStreams(a, b, key);
    default:
      return 'their DUMPs differ';
  }
}

async function pages(
  a: ServerLink,
  b: ServerLink,
  count: number,
  page: number,
  command: (from: number, to: number) => Argument[],
): Promise<string | undefined> {
  for (let at = 0; at < count; at += page) {
    const asked = command(at, at + page - 1);
    const [left, right] = await Promise.all([a.call(asked), b.call(asked)]);
    if (shown(left) !== shown(right)) return `the part from ${at} on differs`;
  }
  return undefined;
}

/** `differs` answers the place of the first member that is another on the other server; -1 for none. */
async function members(
  a: ServerLink,
  command: readonly Argument[],
  step: number,
  differs: (items: Bytes[]) => Promise<number>,
): Promise<string | undefined> {
  let cursor = '0';
  do {
    const [next, found] = (await a.call([...command, cursor, 'COUNT', PAGE_ELEMENTS])) as readonly Reply[];
    cursor = textOf(next);
    const items = bytesList(found!).filter((item) => item !== undefined);
    const place = items.length === 0 ? -1 : await differs(items);
    if (place >= 0) return `${JSON.stringify(textOf(items[place * step]).slice(0, 60))} in it differs`;
  } while (cursor !== '0');
  return undefined;
}

async function compareStreams(a: ServerLink, b: ServerLink, key: Bytes): Promise<string | undefined> {
  for (let start = '-'; ; ) {
    const asked = ['XRANGE', key, start, '+', 'COUNT', PAGE_ELEMENTS] as const;
    const [left, right] = await Promise.all([a.call(asked), b.call(asked)]);
    if (shown(left) !== shown(right)) return `the entries from ${start} on differ`;
    const entries = left as readonly (readonly Reply[])[];
    if (entries.length < PAGE_ELEMENTS) break;
    start = `(${textOf(entries.at(-1)![0])}`;
  }
  const groups = async (link: ServerLink): Promise<string> => {
    const reply = await link.raw(['XINFO', 'GROUPS', key]);
    if (errorText(reply) !== undefined) return '';
    // Servers of other versions say more, or less.
    return (reply as readonly (readonly Reply[])[]).map((group) => shown(group.slice(0, 8))).join();
  };
  const [left, right] = await Promise.all([groups(a), groups(b)]);
  return left === right ? undefined : 'its groups differ';
}

function showExpiry({ expiresAtMs }: Look): string {
  return expiresAtMs < 0 ? 'stays' : `expires at ${new Date(expiresAtMs).toISOString()}`;
}

function everySecond<T>(items: readonly T[], from: number): T[] {
  return items.filter((_, at) => at % 2 === from);
}

function sameBytes(a: Reply, b: Reply): boolean {
  return a instanceof Uint8Array && b instanceof Uint8Array ? Buffer.compare(a, b) === 0 : a === b;
}

/** A reply as text that is the same for the same reply. */
function shown(reply: Reply): string {
  return JSON.stringify(reply, (_, value: unknown) => {
    if (value instanceof Uint8Array) return Buffer.from(value).toString('latin1');
    return typeof value === 'bigint' ? String(value) : value;
  });
}

/** For a mover that must not go on: the key and what is wrong. */
export function differenceError(key: string, { kind, what }: Difference, places: string): KeyfleetError {
  return new KeyfleetError('KF_POOL_CHECK_FAILED', `${key} is not the same on ${places} (${kind}: ${what})`);
}
