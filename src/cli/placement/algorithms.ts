import { isKeyfleetError, KeyfleetError, messageOf } from '../../base/errors.ts';
import { AnchorHash } from '../../partition/anchor-hash.ts';
import { hasherNamed } from '../../partition/hash/all-hashers.ts';
import { HASHKIT_NAMES, type HashkitName } from '../../partition/hash/hashkit.ts';
import { HashRing } from '../../partition/hash-ring.ts';
import type { Hasher } from '../../partition/hasher.ts';
import { JumpBackAnchorHash } from '../../partition/jump-back-anchor-hash.ts';
import { JumpBackHash } from '../../partition/jump-back-hash.ts';
import { JumpHash } from '../../partition/jump-hash.ts';
import { Ketama } from '../../partition/ketama.ts';
import type { KetamaDialect } from '../../partition/ketama-dialect.ts';
import { Keyspace, type KeyspaceOptions } from '../../partition/keyspace.ts';
import { Maglev } from '../../partition/maglev.ts';
import { Modulo } from '../../partition/modulo.ts';
import { MultiProbe } from '../../partition/multi-probe.ts';
import type { Partitioner } from '../../partition/partitioner.ts';
import { keyspaceCrateHasher, keyspaceCratePlacement } from '../../partition/placement/crate-placement.ts';
import { RangePartitioner } from '../../partition/range-partitioner.ts';
import { REDIS_SLOT_COUNT } from '../../partition/redis-slot.ts';
import { RedisSlots } from '../../partition/redis-slots.ts';
import { Rendezvous } from '../../partition/rendezvous.ts';
import { rendezvousPlacement } from '../../partition/rendezvous-placement.ts';
import { closest } from '../terminal/closest.ts';
import { usage } from '../terminal/usage.ts';
import type { Fleet, FleetNode } from './fleet.ts';
import { LoadedNodes } from './loaded-nodes.ts';
import { NumberedNodes, renumbered } from './numbered-nodes.ts';

/** Settings of a fleet that only some algorithms know, and how they are asked for. */
const SETTINGS = { virtualNodes: '--virtual-nodes', slots: '--slots', splits: '--split' } as const;
type Setting = keyof typeof SETTINGS;

/** A way to choose nodes, by the name that `--algorithm` knows it by. */
export interface Algorithm {
  readonly name: string;
  readonly summary: string;
  /** Settings that mean something to it, of those that do not to all. */
  readonly takes?: readonly Setting[];
  /** It cuts hash tags out of keys itself. */
  readonly knowsTags?: boolean;
  readonly make: (fleet: Fleet) => Partitioner<FleetNode>;
  /** For an algorithm with a memory: who holds keys after a change, which depends on who held them before. */
  readonly next?: (before: Partitioner<FleetNode>, after: Fleet) => Partitioner<FleetNode>;
}

export const DEFAULT_ALGORITHM = 'keyspace';

/** In the order of `--help`. */
export const ALGORITHMS: readonly Algorithm[] = [
  {
    name: 'keyspace',
    summary: 'a table of 65,536 slots, sticky placement: the least movement, exact balance, zones and racks',
    takes: ['slots'],
    make: (fleet) => keyspace(fleet, {}),
    next: keyspaceAfter,
  },
  {
    name: 'fair',
    summary: 'the same with fair placement: any process that knows the nodes computes the same table',
    takes: ['slots'],
    make: (fleet) => keyspace(fleet, { placement: 'fair' }),
    next: keyspaceAfter,
  },
  {
    name: 'redis-slots',
    summary: 'the 16,384 slots of Redis Cluster, CRC16 and hash tags, sticky placement',
    make: (fleet) => keyspace({ ...fleet, hash: fleet.hash ?? 'redis_slot' }, { slotCount: REDIS_SLOT_COUNT }),
    next: keyspaceAfter,
  },
  {
    name: 'redis-ranges',
    summary: 'the 16,384 slots in a range a node, as redis-cli --cluster create deals them; later changes move the fewest slots',
    make: redisRanges,
    next: (before, after) => {
      const slots = redisRanges({ ...after, nodes: before.nodes });
      slots.change(after.nodes);
      return slots;
    },
  },
  {
    name: 'keyspace-crate',
    summary: 'as the Rust crate keyspace: 65,536 shards, weighted rendezvous',
    make: (fleet) => keyspaceCrate(fleet),
    next: keyspaceAfter,
  },
  {
    name: 'rendezvous',
    summary: 'highest random weight: no table, weights, zones',
    make: (fleet) => new Rendezvous(fleet.nodes, withHasher(fleet)),
  },
  {
    name: 'rendezvous-placement',
    summary: 'a table of slots filled by rendezvous hashing: look-ups as fast as keyspace, changes quicker, balance as chance has it',
    takes: ['slots'],
    make: (fleet) => keyspace(fleet, { placement: rendezvousPlacement }),
    next: keyspaceAfter,
  },
  {
    name: 'maglev',
    summary: "Google's Maglev table of 65,537 entries with true weights",
    takes: ['slots'],
    make: (fleet) => new Maglev(fleet.nodes, { ...withHasher(fleet), ...(fleet.slots === undefined ? {} : { tableSize: fleet.slots }) }),
  },
  {
    name: 'ring',
    summary: 'virtual nodes on a ring of hashes (160 a node)',
    takes: ['virtualNodes'],
    make: (fleet) =>
      new HashRing(fleet.nodes, {
        ...withHasher(fleet),
        ...(fleet.virtualNodes === undefined ? {} : { virtualNodes: fleet.virtualNodes }),
      }),
  },
  {
    name: 'multi-probe',
    summary: 'one point a node, 21 looks a key; no weights',
    make: (fleet) => new MultiProbe(fleet.nodes, withHasher(fleet)),
  },
  {
    name: 'bounded-load',
    summary: 'rendezvous, no node above 1.25 x its share: each key given counts as one unit of load, in order',
    make: (fleet) => new LoadedNodes(new Rendezvous(fleet.nodes, withHasher(fleet))),
  },
  {
    name: 'range',
    summary: 'ranges of ordered keys between --split points',
    takes: ['splits'],
    make: ranges,
  },
  {
    name: 'jump',
    summary: 'jump consistent hash over numbered shards, as Guava and Go',
    make: (fleet) => new NumberedNodes('jump', fleet.nodes, new JumpHash(fleet.nodes.length, withHasher(fleet))),
  },
  {
    name: 'jump-back',
    summary: 'JumpBackHash over numbered shards: the same promise in constant time',
    make: (fleet) => new NumberedNodes('jump-back', fleet.nodes, new JumpBackHash(fleet.nodes.length, withHasher(fleet))),
  },
  {
    name: 'anchor',
    summary: 'JumpBackAnchorHash: numbered shards, any of which may go',
    make: (fleet) => new NumberedNodes('anchor', fleet.nodes, new JumpBackAnchorHash(fleet.nodes.length, withHasher(fleet))),
    next: (before, after) => {
      const old = before as NumberedNodes;
      const anchor = old.buckets as JumpBackAnchorHash;
      return renumbered('anchor', old, after.nodes, JumpBackAnchorHash.fromState(anchor.state, { hasher: anchor.hasher }));
    },
  },
  {
    name: 'anchor-hash',
    summary: 'AnchorHash, with a capacity fixed at the start: --slots, twice as many as nodes at first unless said',
    takes: ['slots'],
    make: (fleet) => new NumberedNodes('anchor-hash', fleet.nodes, anchorHash(fleet, fleet.nodes.length)),
    next: (before, after) => {
      const old = before as NumberedNodes;
      const capacity = (old.buckets as AnchorHash).capacity;
      return renumbered('anchor-hash', old, after.nodes, anchorHash({ ...after, slots: capacity }, old.byNumber.length));
    },
  },
  ketama('ketama', 'twemproxy', 'as twemproxy'),
  ketama('ketama-libmemcached', 'libmemcached', 'as libmemcached: 100 points a server, no weights'),
  ketama('ketama-libmemcached-weighted', 'libmemcached-weighted', 'as libmemcached with weights'),
  ketama('ketama-spy', 'libmemcached-spy', 'as spymemcached'),
  ketama('ketama-go', 'go-ketama', 'as go-ketama and the Perl original'),
  ketama('hashring', 'hashring', 'as npm hashring 3'),
  {
    name: 'modula',
    summary: "as twemproxy's modula",
    knowsTags: true,
    make: (fleet) => new Modulo(fleet.nodes, { dialect: 'twemproxy', ...hashkitOptions(fleet) }),
  },
  { name: 'modulo', summary: 'hash modulo nodes, the naive scheme', make: (fleet) => new Modulo(fleet.nodes, withHasher(fleet)) },
];

/** @throws KF_USAGE naming what there is. */
export function algorithmNamed(name: string): Algorithm {
  const found = ALGORITHMS.find((one) => one.name === name);
  if (found) return found;
  const names = ALGORITHMS.map((one) => one.name);
  const meant = closest(name, names);
  throw new KeyfleetError(
    'KF_USAGE',
    `--algorithm: there is no algorithm ${JSON.stringify(name)}${meant ? ` (did you mean ${meant}?)` : ''}; there are ${names.join(', ')}`,
  );
}

/** The fleet's partitioner. @throws KF_USAGE when an option does not go with the algorithm; the algorithm's own errors. */
export function partitionerOf(fleet: Fleet): Partitioner<FleetNode> {
  const algorithm = algorithmNamed(fleet.algorithm);
  for (const [setting, flag] of Object.entries(SETTINGS) as [Setting, string][]) {
    if (fleet[setting] === undefined || algorithm.takes?.includes(setting)) continue;
    const takers = ALGORITHMS.filter(({ takes }) => takes?.includes(setting)).map(({ name }) => name);
    throw usage(`${flag} means nothing to the algorithm ${algorithm.name}; it goes with ${takers.join(', ')}`);
  }
  try {
    return algorithm.make(fleet);
  } catch (error) {
    if (fleet.slots === undefined || !isKeyfleetError(error) || !['KF_BAD_OPTION', 'KF_BAD_SLOT_COUNT'].includes(error.code)) throw error;
    throw new KeyfleetError('KF_USAGE', `--slots: ${error.message}`, { cause: error });
  }
}

/** The partitioners before and after a change. @throws what {@link partitionerOf} throws. */
export function partitionersOf(
  before: Fleet,
  after: Fleet,
): { readonly before: Partitioner<FleetNode>; readonly after: Partitioner<FleetNode> } {
  const { next } = algorithmNamed(before.algorithm);
  const first = partitionerOf(before);
  return { before: first, after: next ? next(first, after) : partitionerOf(after) };
}

/** @throws KF_USAGE naming the hashes there are. */
export function hasherOption(name: string, flag = '--hash'): Hasher {
  try {
    return hasherNamed(name);
  } catch (error) {
    throw new KeyfleetError('KF_USAGE', `${flag}: ${(error as Error).message}`, { cause: error });
  }
}

function keyspace(fleet: Fleet, options: KeyspaceOptions<FleetNode>): Keyspace<FleetNode> {
  const slotCount = fleet.slots === undefined ? {} : { slotCount: fleet.slots };
  return new Keyspace(fleet.nodes, { replicaCount: copiesOf(fleet), ...withHasher(fleet), ...slotCount, ...options });
}

function keyspaceCrate(fleet: Fleet): Keyspace<FleetNode> {
  if (fleet.hash !== undefined) throw usage('--hash: keyspace-crate has the hash of the crate and no other');
  return keyspace(fleet, { placement: keyspaceCratePlacement, hasher: keyspaceCrateHasher });
}

function anchorHash({ hash, slots }: Fleet, bucketCount: number): AnchorHash {
  if (hash !== undefined) throw usage('--hash: anchor-hash draws from murmur3_x86_128 and no other');
  return new AnchorHash(bucketCount, { capacity: slots ?? 2 * bucketCount });
}

function redisRanges({ nodes, hash }: Fleet): RedisSlots<FleetNode> {
  if (hash !== undefined) throw usage('--hash: the slots of a Redis Cluster are by CRC16 and no other hash');
  return new RedisSlots(nodes);
}

/** Range i belongs to node i; with more ranges than nodes the nodes take turns. */
function ranges({ nodes, splits }: Fleet): Partitioner<FleetNode> {
  if (splits === undefined) throw usage('--split: the algorithm range needs the keys at which ranges start, --split g p for example');
  if (splits.length + 1 < nodes.length)
    throw usage(`--split: ${nodes.length} nodes need at least ${nodes.length - 1} splits; there are ${splits.length}`);
  const heavy = nodes.find(({ weight }) => weight !== 1);
  if (heavy) throw usage(`--algorithm: range knows no weights, and node ${heavy.id} has the weight ${heavy.weight}`);
  try {
    return RangePartitioner.of([undefined, ...splits].map((from, i) => ({ from, node: nodes[i % nodes.length]! })));
  } catch (error) {
    throw new KeyfleetError('KF_USAGE', `--split: ${messageOf(error)}`, { cause: error });
  }
}

/** The nodes that a key can have: replicas, or all nodes when there are fewer. */
export function copiesOf({ replicas, nodes }: Fleet): number {
  return Math.min(replicas, nodes.length);
}

function keyspaceAfter(before: Partitioner<FleetNode>, after: Fleet): Keyspace<FleetNode> {
  const old = before as Keyspace<FleetNode>;
  if (copiesOf(after) !== old.replicaCount)
    throw usage(`--replicas: ${old.replicaCount} before and ${copiesOf(after)} after: a keyspace keeps its number of replicas`);
  const next = Keyspace.fromJSON<FleetNode>(old.toJSON(), { hasher: old.hasher, placement: old.placement });
  const was = new Map(old.nodes.map((node) => [node.id, node]));
  const ids = new Set(after.nodes.map(({ id }) => id));
  const add: FleetNode[] = [];
  const change: FleetNode[] = [];
  for (const node of after.nodes) {
    const known = was.get(node.id);
    if (known === undefined) add.push(node);
    else if (known.weight !== node.weight || known.zone !== node.zone || known.rack !== node.rack) change.push(node);
  }
  const remove = [...was.keys()].filter((id) => !ids.has(id));
  if (add.length + change.length + remove.length > 0) next.apply({ add, change, remove });
  return next;
}

function withHasher({ hash }: Fleet): { hasher?: Hasher } {
  return hash === undefined ? {} : { hasher: hasherOption(hash) };
}

function ketama(name: string, dialect: KetamaDialect, as: string): Algorithm {
  return {
    name,
    summary: `ketama ${as}`,
    knowsTags: true,
    make: (fleet) =>
      new Ketama(fleet.nodes, {
        dialect,
        ...hashkitOptions(fleet),
        ...(fleet.nodes.some(({ alias }) => alias !== undefined) ? { nameOf: twemproxyName } : {}),
      }),
  };
}

/** What twemproxy names a server's points after: its alias, else host:port, without the port when it is memcached's own. */
function twemproxyName({ id, alias }: FleetNode): string {
  return alias ?? id.replace(/:11211$/, '');
}

function hashkitOptions({ hash, hashTag }: Fleet): { hash?: HashkitName; hashTag?: string } {
  if (hash !== undefined && !(HASHKIT_NAMES as readonly string[]).includes(hash))
    throw new KeyfleetError('KF_USAGE', `--hash: this algorithm takes ${HASHKIT_NAMES.join(', ')}, not ${JSON.stringify(hash)}`);
  return { ...(hash === undefined ? {} : { hash: hash as HashkitName }), ...(hashTag === undefined ? {} : { hashTag }) };
}
