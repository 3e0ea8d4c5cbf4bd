import { type Bytes, fromHex, toHex, utf8 } from '../base/bytes.ts';
import { KeyfleetError } from '../base/errors.ts';
import { HASHKIT_NAMES, type HashkitName, hashkit } from '../partition/hash/hashkit.ts';
import { murmur3_x86_128 } from '../partition/hash/murmur3-x86-128.ts';
import { hasherNamed } from '../partition/hash/own-hashers.ts';
import type { KeyInput } from '../partition/hasher.ts';
import { jumpHash } from '../partition/jump-hash.ts';
import { schemeOf as ketamaScheme } from '../partition/ketama-dialect.ts';
import { Keyspace } from '../partition/keyspace.ts';
import { Maglev } from '../partition/maglev.ts';
import { PointRing } from '../partition/point-ring.ts';
import { RangePartitioner } from '../partition/range-partitioner.ts';
import { REDIS_SLOT_COUNT, redisSlot } from '../partition/redis-slot.ts';
import { Rendezvous } from '../partition/rendezvous.ts';
import { compareAsTwemproxy, POOL_DEFAULTS, type PoolConfig } from './pool-config.ts';

/**
 * What the slots of a pool are, by its distribution:
 * - `slots`: the 16,384 of Redis Cluster;
 * - `ketama`: the arcs of the ring, each ending at a point, so that keys lie exactly where twemproxy puts them;
 * - `modula`: the residues of the key's hash by the sum of the weights, likewise;
 * - `rendezvous`, `jump`, `maglev`, `fair`: N residues of the key's hash, placed by the algorithm;
 * - `ranges`: the ranges;
 * - `random`: places on a wheel that is turned for every key.
 */
export interface SlotScheme {
  readonly slotCount: number;
  slotOf(key: KeyInput): number;
  readonly json: SlotSchemeJson;
  /** Slots fine enough for both, and for each of them the slot of this scheme that it is a part of. @throws KF_POOL_MAP between kinds. */
  refined(target: SlotScheme): { readonly scheme: SlotScheme; readonly parents: Uint32Array };
}

export type SlotSchemeJson =
  | { readonly kind: 'redis' }
  | { readonly kind: 'arcs'; readonly points: readonly number[] }
  | { readonly kind: 'residues'; readonly count: number }
  | { readonly kind: 'ranges'; readonly starts: readonly (string | number)[] }
  | { readonly kind: 'random'; readonly count: number };

/** More residues than this are no table any more. */
const MOST_RESIDUES = 1 << 22;
const MAGLEV_SLOTS = 65_537;

/** The slots of a pool; as stored in `json` when given, since a pool that has changed may have finer ones than its file alone says. */
export function schemeOf(config: PoolConfig, json: SlotSchemeJson = initialJson(config)): SlotScheme {
  switch (json.kind) {
    case 'redis':
      return REDIS_SLOTS;
    case 'arcs':
      return new Arcs(Uint32Array.from(json.points), keyHash(config));
    case 'residues':
      return new Residues(json.count, keyHash(config));
    case 'ranges':
      return new Ranges(json.starts, config.rangeBy, config.hashTag);
    case 'random':
      return new Wheel(json.count);
    default:
      throw new KeyfleetError('KF_POOL_MAP', `the map of pool ${config.name}: slots of this kind are not known here`);
  }
}

function initialJson(config: PoolConfig): SlotSchemeJson {
  switch (config.distribution) {
    case 'slots':
      return { kind: 'redis' };
    case 'ketama':
      return { kind: 'arcs', points: [...new Set(ketamaRing(config).points)] };
    case 'modula':
      return { kind: 'residues', count: totalWeight(config) };
    case 'random':
      return { kind: 'random', count: totalWeight(config) };
    case 'maglev':
      return { kind: 'residues', count: config.slots === POOL_DEFAULTS.slots ? MAGLEV_SLOTS : config.slots };
    case 'ranges':
      return { kind: 'ranges', starts: (config.ranges ?? []).slice(1).map(({ from }) => from!) };
    default:
      return { kind: 'residues', count: config.slots };
  }
}

/** Which server each slot starts with. */
export function initialOwners(config: PoolConfig, scheme: SlotScheme): Uint16Array {
  const { servers } = config;
  const nodes = servers.map((server, index) => ({
    id: server.name,
    weight: server.weight,
    index,
    ...(server.zone === undefined ? {} : { zone: server.zone }),
  }));
  const owners = new Uint16Array(scheme.slotCount);
  switch (config.distribution) {
    case 'ketama': {
      const ring = ketamaRing(config);
      let slot = 0;
      ring.points.forEach((point, i) => {
        if (i === 0 || point !== ring.points[i - 1]) owners[slot++] = ring.owners[i]!;
      });
      return owners;
    }
    case 'modula':
    case 'random': {
      let slot = 0;
      for (const { weight, index } of nodes.toSorted((a, b) => compareAsTwemproxy(servers[a.index]!, servers[b.index]!)))
        owners.fill(index, slot, (slot += weight));
      return owners;
    }
    case 'slots': {
      const total = totalWeight(config);
      let sum = 0;
      let slot = 0;
      servers.forEach(({ weight }, index) => {
        sum += weight;
        owners.fill(index, slot, (slot = Math.round((REDIS_SLOT_COUNT * sum) / total)));
      });
      return owners;
    }
    case 'ranges': {
      const byName = new Map(servers.map(({ name }, index) => [name, index]));
      (config.ranges ?? []).forEach(({ server }, slot) => {
        owners[slot] = byName.get(server)!;
      });
      return owners;
    }
    case 'rendezvous': {
      const placed = new Rendezvous(nodes);
      for (let slot = 0; slot < owners.length; slot++) owners[slot] = placed.owner(`slot-${slot}`).index;
      return owners;
    }
    case 'jump': {
      if (servers.some(({ weight }) => weight !== servers[0]!.weight))
        throw new KeyfleetError('KF_CONFIG', `pool ${config.name}: distribution jump has no weights; give all servers the same`);
      const lanes = new Uint32Array(2);
      for (let slot = 0; slot < owners.length; slot++) {
        murmur3_x86_128.lanes(`slot-${slot}`, 0, lanes);
        owners[slot] = jumpHash(lanes[0]!, lanes[1]!, servers.length);
      }
      return owners;
    }
    case 'maglev': {
      const placed = new Maglev(nodes, { tableSize: scheme.slotCount });
      placed.table.forEach((node, slot) => {
        owners[slot] = placed.nodes[node]!.index;
      });
      return owners;
    }
    case 'fair': {
      const placed = new Keyspace(nodes, { slotCount: scheme.slotCount, replicaCount: 1, placement: 'fair' });
      for (let slot = 0; slot < owners.length; slot++) owners[slot] = placed.replicasOfSlot(slot)[0]!.index;
      return owners;
    }
    default:
      throw new KeyfleetError('KF_CONFIG', `pool ${config.name}: there is no distribution ${String(config.distribution satisfies never)}`);
  }
}

function ketamaRing(config: PoolConfig): PointRing {
  const scheme = ketamaScheme({ dialect: 'twemproxy' });
  const sorted = config.servers.map((server, index) => ({ ...server, index })).sort(compareAsTwemproxy);
  const points = scheme
    .points(sorted.map(({ name, weight }) => ({ name, weight, virtualNodes: undefined })))
    .map(({ at, owner }) => ({ at, owner: sorted[owner]!.index }));
  if (points.length === 0)
    throw new KeyfleetError(
      'KF_CONFIG',
      `pool ${config.name}: no server gets a point: the weights are too far apart for 40 digests a server`,
    );
  return new PointRing(points);
}

function totalWeight(config: PoolConfig): number {
  const total = config.servers.reduce((sum, { weight }) => sum + weight, 0);
  if (total > MOST_RESIDUES)
    throw new KeyfleetError('KF_CONFIG', `pool ${config.name}: the weights add up to ${total}; divide them by a common factor`);
  return total;
}

/** The 32-bit hash of keys that a pool names, by the part between the two characters of its tag. */
function keyHash(config: PoolConfig): (key: KeyInput) => number {
  const { hash, hashTag } = config;
  if ((HASHKIT_NAMES as readonly string[]).includes(hash)) return hashkit(hash as HashkitName, hashTag);
  const hasher = hasherNamed(hash);
  if (hashTag === undefined) return (key) => hasher.position(key);
  return (key) => hasher.position(taggedPart(key, hashTag));
}

/** What stands between the characters of the tag when that is at least a byte, else the key. */
function taggedPart(key: KeyInput, hashTag: string): KeyInput {
  if (typeof key === 'string') {
    const open = key.indexOf(hashTag[0]!);
    const close = open < 0 ? -1 : key.indexOf(hashTag[1]!, open + 1);
    return close > open + 1 ? key.slice(open + 1, close) : key;
  }
  const open = key.indexOf(hashTag.charCodeAt(0));
  const close = open < 0 ? -1 : key.indexOf(hashTag.charCodeAt(1), open + 1);
  return close > open + 1 ? key.subarray(open + 1, close) : key;
}

const REDIS_SLOTS: SlotScheme = {
  slotCount: REDIS_SLOT_COUNT,
  slotOf: redisSlot,
  json: { kind: 'redis' },
  refined(target) {
    return sameKind(this, target, () => ({ scheme: this, parents: identity(REDIS_SLOT_COUNT) }));
  },
};

class Arcs implements SlotScheme {
  readonly slotCount: number;
  readonly #ring: PointRing;
  readonly #hash: (key: KeyInput) => number;

  /** @param points - Ascending and distinct: arc i is what lies beyond point i - 1, up to point i; the first arc goes round. */
  constructor(points: Uint32Array, hash: (key: KeyInput) => number) {
    this.slotCount = points.length;
    this.#ring = new PointRing(Array.from(points, (at, owner) => ({ at, owner })));
    this.#hash = hash;
  }

  slotOf(key: KeyInput): number {
    return this.#ring.find(this.#hash(key));
  }

  get json(): SlotSchemeJson {
    return { kind: 'arcs', points: [...this.#ring.points] };
  }

  refined(target: SlotScheme): { scheme: SlotScheme; parents: Uint32Array } {
    return sameKind(this, target, () => {
      const union = Uint32Array.from(new Set([...this.#ring.points, ...(target as Arcs).#ring.points])).sort();
      if (union.length === this.slotCount) return { scheme: this, parents: identity(this.slotCount) };
      return { scheme: new Arcs(union, this.#hash), parents: union.map((point) => this.#ring.find(point)) };
    });
  }
}

class Residues implements SlotScheme {
  readonly slotCount: number;
  readonly #hash: (key: KeyInput) => number;

  constructor(count: number, hash: (key: KeyInput) => number) {
    this.slotCount = count;
    this.#hash = hash;
  }

  slotOf(key: KeyInput): number {
    return this.#hash(key) % this.slotCount;
  }

  get json(): SlotSchemeJson {
    return { kind: 'residues', count: this.slotCount };
  }

  refined(target: SlotScheme): { scheme: SlotScheme; parents: Uint32Array } {
    return sameKind(this, target, () => {
      const count = (this.slotCount / gcd(this.slotCount, target.slotCount)) * target.slotCount;
      if (count > MOST_RESIDUES)
        throw new KeyfleetError(
          'KF_POOL_MAP',
          `sums of weights of ${this.slotCount} and ${target.slotCount} have ${count} slots in common, which is too many`,
        );
      if (count === this.slotCount) return { scheme: this, parents: identity(count) };
      return { scheme: new Residues(count, this.#hash), parents: identity(count).map((slot) => slot % this.slotCount) };
    });
  }
}

class Ranges implements SlotScheme {
  readonly slotCount: number;
  readonly #starts: readonly (string | number)[];
  readonly #by: 'text' | 'number';
  readonly #hashTag: string | undefined;
  readonly #ranges: RangePartitioner<{ readonly id: string; readonly slot: number }>;

  constructor(starts: readonly (string | number)[], by: 'text' | 'number', hashTag: string | undefined) {
    this.slotCount = starts.length + 1;
    this.#starts = starts;
    this.#by = by;
    this.#hashTag = hashTag;
    this.#ranges = RangePartitioner.of(
      [undefined, ...starts].map((from, slot) => ({
        from: from === undefined ? undefined : this.#point(from),
        node: { id: String(slot), slot },
      })),
      { keys: by === 'number' ? 'numbers' : 'text' },
    );
  }

  /** Keys without a number come before all that have one. */
  slotOf(key: KeyInput): number {
    const part = this.#hashTag === undefined ? key : taggedPart(key, this.#hashTag);
    return this.#ranges.owner(this.#by === 'number' ? firstNumber(part) : part).slot;
  }

  #point(from: string | number): string | number | Bytes {
    if (this.#by === 'number') {
      if (typeof from !== 'number')
        throw new KeyfleetError('KF_CONFIG', `ranges: with range_by: number a range starts at a number, not ${JSON.stringify(from)}`);
      return from;
    }
    return typeof from === 'string' && from.startsWith('0x') ? (fromHex(from.slice(2)) ?? from) : String(from);
  }

  get json(): SlotSchemeJson {
    return { kind: 'ranges', starts: this.#starts };
  }

  refined(target: SlotScheme): { scheme: SlotScheme; parents: Uint32Array } {
    return sameKind(this, target, () => {
      const seen = new Map<string, string | number>();
      for (const start of [...this.#starts, ...(target as Ranges).#starts]) seen.set(this.#orderOf(start), start);
      const union = [...seen].sort(([a], [b]) => (a < b ? -1 : 1)).map(([, start]) => start);
      if (this.#by === 'number') union.sort((a, b) => Number(a) - Number(b));
      if (union.length === this.#starts.length) return { scheme: this, parents: identity(this.slotCount) };
      const parents = Uint32Array.from([0, ...union.map((start) => this.#ranges.owner(this.#point(start)).slot)]);
      return { scheme: new Ranges(union, this.#by, this.#hashTag), parents };
    });
  }

  /** Text whose order is that of the starts' bytes. */
  #orderOf(start: string | number): string {
    const point = this.#point(start);
    return typeof point === 'number' ? String(point) : toHex(typeof point === 'string' ? utf8(point) : point);
  }
}

/** The first decimal number in a key: 42 of `user:42:name`; minus infinity when there is none. */
function firstNumber(key: KeyInput): number {
  let value = -1;
  for (let i = 0; i < key.length; i++) {
    const digit = (typeof key === 'string' ? key.charCodeAt(i) : key[i]!) - 48;
    if (digit >= 0 && digit <= 9) value = Math.max(0, value) * 10 + digit;
    else if (value >= 0) return value;
  }
  return value >= 0 ? value : Number.NEGATIVE_INFINITY;
}

class Wheel implements SlotScheme {
  readonly slotCount: number;

  constructor(count: number) {
    this.slotCount = count;
  }

  slotOf(): number {
    return Math.floor(Math.random() * this.slotCount);
  }

  get json(): SlotSchemeJson {
    return { kind: 'random', count: this.slotCount };
  }

  refined(): never {
    throw new KeyfleetError('KF_POOL_MAP', 'with distribution: random a key has no home, so nothing can be moved');
  }
}

function sameKind<T>(one: SlotScheme, other: SlotScheme, refine: () => T): T {
  if (one.json.kind !== other.json.kind)
    throw new KeyfleetError(
      'KF_POOL_MAP',
      `slots of kind ${one.json.kind} and of kind ${other.json.kind} have nothing in common: the distribution cannot change while keys are there`,
    );
  return refine();
}

function identity(count: number): Uint32Array {
  return Uint32Array.from({ length: count }, (_, slot) => slot);
}

function gcd(a: number, b: number): number {
  while (b !== 0) [a, b] = [b, a % b];
  return a;
}
