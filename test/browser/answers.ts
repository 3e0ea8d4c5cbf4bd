// What the browser test asks of `keyfleet` on both sides: the same code runs in Node and, bundled, in Chromium.
import {
  AnchorHash,
  BoundedLoad,
  HashRing,
  JumpBackAnchorHash,
  JumpBackHash,
  JumpHash,
  Ketama,
  Keyspace,
  Maglev,
  Modulo,
  MultiProbe,
  OWN_HASHERS,
  type Partitioner,
  type PartitionNode,
  RedisSlots,
  Rendezvous,
  redisSlot,
  rendezvousPlacement,
  SharedRing,
} from '../../src/partition/index.ts';

/** Placements of thousands of keys, one number each, by name of what made them. */
export type Answers = Readonly<Record<string, readonly number[] | string>>;

export const NODES: readonly PartitionNode[] = Array.from({ length: 17 }, (_, i) => ({
  id: `node-${i}`,
  weight: 1 + (i % 3),
  zone: `zone-${i % 4}`,
  rack: `rack-${i % 8}`,
}));
const EQUAL: readonly PartitionNode[] = NODES.map(({ id, zone }) => ({ id, zone: zone! }));

/** ASCII, accents, emoji, lone surrogates, the empty key, long ones. */
export const KEYS: readonly string[] = Array.from({ length: 3_000 }, (_, i) => {
  const kind = i % 7;
  if (i === 0) return '';
  if (kind === 1) return `schlüssel:${i}`;
  if (kind === 2) return `🔑${i}`;
  if (kind === 3) return `\ud800${i}`;
  if (kind === 4) return `{tag-${i % 50}}:${i}`;
  if (kind === 5) return `user:${i}:${'x'.repeat(i % 300)}`;
  return `key-${i}`;
});

const PARTITIONERS: Readonly<Record<string, () => Partitioner<PartitionNode>>> = {
  HashRing: () => new HashRing(NODES),
  'HashRing xxh64': () => new HashRing(NODES, { hasher: OWN_HASHERS.find(({ name }) => name === 'xxh64')!, virtualNodes: 40 }),
  SharedRing: () => new SharedRing(NODES),
  'Ketama twemproxy': () => new Ketama(NODES, { dialect: 'twemproxy' }),
  'Ketama libmemcached': () => new Ketama(NODES, { dialect: 'libmemcached' }),
  'Ketama libmemcached-weighted': () => new Ketama(NODES, { dialect: 'libmemcached-weighted' }),
  'Ketama hashring': () => new Ketama(NODES, { dialect: 'hashring' }),
  'Keyspace fair': () => new Keyspace(NODES, { placement: 'fair' }),
  'Keyspace sticky': () => {
    const keyspace = new Keyspace(NODES.slice(2), { slotCount: 16_384 });
    keyspace.apply({ add: NODES.slice(0, 2), remove: ['node-9'] });
    return keyspace;
  },
  'Keyspace rendezvous': () => new Keyspace(NODES, { placement: rendezvousPlacement, slotCount: 4_096 }),
  Rendezvous: () => new Rendezvous(NODES),
  Maglev: () => new Maglev(NODES),
  BoundedLoad: () => new BoundedLoad(new Rendezvous(NODES)),
  MultiProbe: () => new MultiProbe(EQUAL),
  RedisSlots: () => new RedisSlots(NODES),
  Modulo: () => new Modulo(EQUAL),
};

const NUMBERED: Readonly<Record<string, () => { replicas(key: string, count: number): number[] }>> = {
  JumpHash: () => new JumpHash(17),
  JumpBackHash: () => new JumpBackHash(17),
  JumpBackAnchorHash: () => {
    const anchor = new JumpBackAnchorHash(17);
    for (const bucket of [3, 16, 7]) anchor.remove(bucket);
    return anchor;
  },
};

export function answers(): Answers {
  const all: Record<string, readonly number[] | string> = {};
  const numberOf = new Map(NODES.map(({ id }, i) => [id, i]));
  const packed = (numbers: readonly number[]): number => numbers.reduce((sum, number) => sum * 32 + number, 0);
  for (const [name, make] of Object.entries(PARTITIONERS)) {
    const partitioner = make();
    all[name] = KEYS.map((key) => packed(partitioner.replicas(key, 3).map(({ id }) => numberOf.get(id)!)));
  }
  for (const [name, make] of Object.entries(NUMBERED)) {
    const buckets = make();
    all[name] = KEYS.map((key) => packed(buckets.replicas(key, 3)));
  }
  const anchor = new AnchorHash(17, { capacity: 32 });
  all['AnchorHash'] = KEYS.map((key) => anchor.owner(key));
  all['redisSlot'] = KEYS.map((key) => redisSlot(key));
  for (const hasher of OWN_HASHERS) {
    let digests = '';
    for (const key of KEYS) for (const byte of hasher.digest(key)) digests += String.fromCharCode(byte);
    all[`hash ${hasher.name}`] = `${digests.length}:${checksum(digests)}`;
  }
  return all;
}

function checksum(text: string): number {
  let sum = 0x811c9dc5;
  for (let i = 0; i < text.length; i++) sum = Math.imul(sum ^ text.charCodeAt(i), 0x01000193);
  return sum >>> 0;
}
