import { crc32 } from 'node:zlib';
import { blake2b } from '@noble/hashes/blake2.js';
import { blake3 } from '@noble/hashes/blake3.js';
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import lfchring from '../../test/vectors/lfchring_rust.json' with { type: 'json' };
import groupcache from '../../test/vectors/ring_groupcache.json' with { type: 'json' };
import stathat from '../../test/vectors/ring_stathat.json' with { type: 'json' };
import { type Bytes, compareBytes, toHex, utf8 } from '../base/bytes.ts';
import { murmur3_x86_128 } from './hash/murmur3-x86-128.ts';
import { HashRing, type HashRingOptions } from './hash-ring.ts';
import type { Hasher, KeyInput } from './hasher.ts';
import type { PartitionNode } from './node.ts';
import { lanesName, lfchringName } from './ring-build.ts';

/** A hasher from a digest function alone, as a user would write one. */
function hasherOf(name: string, digestBytes: number, digest: (bytes: Bytes) => Bytes): Hasher {
  const whole = (key: KeyInput): Bytes => digest(typeof key === 'string' ? utf8(key) : key);
  const word = (bytes: Bytes, at: number): number => [0, 1, 2, 3].reduce((value, i) => value * 256 + (bytes[at + i] ?? 0), 0);
  return {
    name,
    digestBytes,
    digest: whole,
    lanes(key, _seed, out) {
      const bytes = whole(key);
      out[0] = word(bytes, 0);
      out[1] = word(bytes, 4);
    },
    position: (key) => word(whole(key), 0),
  };
}

const BLAKE3 = hasherOf('blake3', 32, (bytes) => blake3(bytes));
const BLAKE2B = hasherOf('blake2b', 64, (bytes) => blake2b(bytes));
const CRC32 = hasherOf('crc32', 4, (bytes) => {
  const sum = crc32(bytes);
  return Uint8Array.of(sum >>> 24, sum >>> 16, sum >>> 8, sum);
});
/** Only three heads there are, so that every comparison goes to the tail. */
const FEW_HEADS = hasherOf('few-heads', 20, (bytes) => {
  const digest = blake3(bytes).slice(0, 20);
  digest.set([0, 0, 0, digest[3]! % 3]);
  return digest;
});
/** 16 bits only: 65,536 places, so collisions are common. */
const SHORT = hasherOf('short', 2, (bytes) => blake3(bytes).slice(0, 2));

const node = (id: string, weight?: number): PartitionNode => (weight === undefined ? { id } : { id, weight });
const ids = (nodes: readonly PartitionNode[]): string[] => nodes.map(({ id }) => id);
const codeOf = (act: () => unknown): string => {
  try {
    act();
  } catch (error) {
    return (error as { code: string }).code;
  }
  return 'nothing thrown';
};

/** The slow twin: every point in a list, searched from the front. */
class SlowRing {
  readonly points: { readonly id: string; readonly number: number; readonly digest: Bytes }[] = [];
  readonly hasher: Hasher;
  constructor(nodes: readonly PartitionNode[], virtualNodes: number, hasher: Hasher) {
    this.hasher = hasher;
    for (const { id, weight = 1 } of nodes)
      for (let number = 0; number < Math.max(1, Math.round(virtualNodes * weight)); number++)
        this.points.push({ id, number, digest: hasher.digest((hasher === murmur3_x86_128 ? lanesName : lfchringName)(id, number)) });
    this.points.sort((a, b) => compareBytes(a.digest, b.digest));
  }
  at(key: KeyInput): number {
    const digest = this.hasher.digest(key);
    const found = this.points.findIndex((point) => compareBytes(point.digest, digest) >= 0);
    return found < 0 ? 0 : found;
  }
  owners(key: KeyInput, count: number): string[] {
    const start = this.at(key);
    const around = [...this.points.slice(start), ...this.points.slice(0, start)];
    return [...new Set(around.map(({ id }) => id))].slice(0, count);
  }
}

const anyHasher = fc.constantFrom(murmur3_x86_128, BLAKE3, CRC32, FEW_HEADS);
const anyNodes = fc.uniqueArray(
  fc.record({ id: fc.string({ minLength: 1, maxLength: 8 }), weight: fc.constantFrom(0.01, 0.5, 1, 1, 1, 2.5) }),
  { selector: (one) => one.id, minLength: 1, maxLength: 12 },
);
const keys = Array.from({ length: 60 }, (_, i) => `key-${i}`);

describe('a ring agrees with other software', () => {
  test.each(lfchring.cases)('lfchring 0.1.3: $hash, $vnodes virtual nodes, $nodes nodes, RF $rf', ({ hash, vnodes, nodes, rf, owners }) => {
    const names = Array.from({ length: nodes }, (_, i) => `node${i}`);
    const ring = new HashRing(
      names.map((id) => node(id)),
      {
        virtualNodes: vnodes,
        replicationFactor: rf,
        hasher: hash === 'blake3' ? BLAKE3 : BLAKE2B,
      },
    );
    const answers = owners.map((_, i) => ids(ring.nodesForKey(`key${i}`)).map((id) => names.indexOf(id)));
    expect(answers).toEqual(owners);
  });

  const digits: HashRingOptions['virtualNodeName'] = (id, number) => utf8(`${number}${id}`);

  test.each(groupcache.cases)('groupcache: $nodes nodes, $replicas points each', ({ nodes, replicas, owner }) => {
    const ring = new HashRing(
      Array.from({ length: nodes }, (_, i) => node(`peer${i}`)),
      {
        virtualNodes: replicas,
        hasher: CRC32,
        virtualNodeName: digits,
      },
    );
    expect(owner.map((_, i) => ring.owner(groupcache.keys[i]!).id)).toEqual(owner);
  });

  test.each(stathat.cases)('stathat/consistent: $nodes nodes', ({ nodes, top3 }) => {
    const ring = new HashRing(
      Array.from({ length: nodes }, (_, i) => node(`cache${i}`)),
      { virtualNodes: 20, hasher: CRC32, virtualNodeName: digits },
    );
    expect(top3.map((_, i) => ids(ring.nodesForKey(stathat.keys[i]!)))).toEqual(top3);
  });
});

describe('a look-up', () => {
  test('finds what a search of all points finds, whatever the hasher, nodes and weights', () => {
    fc.assert(
      fc.property(
        anyHasher,
        anyNodes,
        fc.integer({ min: 1, max: 40 }),
        fc.integer({ min: 1, max: 6 }),
        (hasher, nodes, virtualNodes, rf) => {
          const ring = new HashRing<PartitionNode>(nodes, { virtualNodes, replicationFactor: rf, hasher });
          const slow = new SlowRing(nodes, virtualNodes, hasher);
          const out: PartitionNode[] = [];
          for (const key of keys) {
            const at = slow.at(key);
            const expected = slow.owners(key, rf);
            expect(ring.owner(key).id).toBe(expected[0]);
            expect(ids(ring.nodesForKey(key))).toEqual(expected);
            expect(ring.replicas(utf8(key), 2, out)).toBe(out);
            expect(ids(out)).toEqual(slow.owners(key, 2));
            const { node: owner, number, digest } = ring.virtualNodeForKey(key);
            expect([owner.id, number, toHex(digest)]).toEqual([
              slow.points[at]!.id,
              slow.points[at]!.number,
              toHex(slow.points[at]!.digest),
            ]);
            const count = slow.points.length;
            expect(ring.predecessor(key).digest).toEqual(slow.points[(at + count - 1) % count]!.digest);
            expect(ring.successor(key).digest).toEqual(slow.points[(at + 1) % count]!.digest);
          }
        },
      ),
      { numRuns: 60 },
    );
  });

  test('finds the neighbouring points of another node', () => {
    fc.assert(
      fc.property(anyNodes, fc.integer({ min: 1, max: 20 }), (nodes, virtualNodes) => {
        fc.pre(nodes.length > 1);
        const ring = new HashRing(nodes, { virtualNodes });
        const slow = new SlowRing(nodes, virtualNodes, murmur3_x86_128);
        const { points } = slow;
        for (const key of keys.slice(0, 10)) {
          const start = slow.at(key);
          const walk = (step: number): string => {
            let i = start;
            while (points[i]!.id === points[start]!.id) i = (i + step + points.length) % points.length;
            return toHex(points[i]!.digest);
          };
          expect(toHex(ring.predecessorNode(key).digest)).toBe(walk(-1));
          expect(toHex(ring.successorNode(key).digest)).toBe(walk(1));
        }
      }),
      { numRuns: 40 },
    );
  });

  test('by digest finds the point that stands there, or the next one', () => {
    const ring = new HashRing([node('a'), node('b')], { virtualNodes: 50, hasher: FEW_HEADS });
    const points = [...ring];
    for (const [i, { digest }] of points.entries()) {
      expect(ring.hasVirtualNode(digest)).toBe(true);
      expect(ring.virtualNodeAt(digest).digest).toEqual(digest);
      const after = digest.slice();
      after[19]! += 1;
      if (digest[19] === 255 || toHex(points[(i + 1) % points.length]!.digest) === toHex(after)) continue;
      expect(ring.hasVirtualNode(after)).toBe(false);
      expect(ring.virtualNodeAt(after).digest).toEqual(points[(i + 1) % points.length]!.digest);
    }
    expect(ring.hasVirtualNode(utf8('short'))).toBe(false);
  });

  test('hands back the very nodes it was given, whatever their type', () => {
    const server = { id: 'a', socket: { open: true } };
    expect(new HashRing([server]).owner('k').socket).toBe(server.socket);
  });

  test('of an empty ring, or for another node in a ring of one, is refused with a code', () => {
    const empty = new HashRing();
    for (const act of [
      () => empty.owner('k'),
      () => empty.replicas('k', 2),
      () => empty.nodesForKey('k'),
      () => empty.virtualNodeForKey('k'),
      () => empty.virtualNodeAt(utf8('k')),
      () => empty.predecessor('k'),
      () => empty.successor('k'),
      () => empty.predecessorNode('k'),
      () => empty.successorNode('k'),
    ])
      expect(codeOf(act)).toBe('KF_NO_NODES');
    expect(empty.hasVirtualNode(new Uint8Array(16))).toBe(false);
    expect([...empty]).toEqual([]);
    const alone = new HashRing([node('a')]);
    expect(codeOf(() => alone.predecessorNode('k'))).toBe('KF_RING_SINGLE_NODE');
    expect(codeOf(() => alone.successorNode('k'))).toBe('KF_RING_SINGLE_NODE');
    expect(alone.nodesForKey('k')).toHaveLength(1);
  });
});

describe('a ring of a thousand nodes with ordinary names', () => {
  test.each(['node-%.example:6379', '10.0.0.%:6379', 'cache-%', 'n%', 'https://eu-central-1.shard-%.internal.example/'])(
    'has no two points in one place: %s',
    (pattern) => {
      const nodes = Array.from({ length: 1_000 }, (_, i) => node(pattern.replace('%', String(i))));
      expect(new HashRing(nodes).virtualNodeCount).toBe(160_000);
    },
  );

  test('which lfchring names would have had with the default hash', () => {
    const nodes = Array.from({ length: 1_000 }, (_, i) => node(`node-${i}.example:6379`));
    expect(codeOf(() => new HashRing(nodes, { virtualNodeName: lfchringName }))).toBe('KF_RING_COLLISION');
  });

  test('stands where it always stood', () => {
    expect(toHex(lanesName('node-1', 258))).toBe(
      '02010000020100000201000002010000' + '6e6f64652d3100000000000000000000' + '00000000' + '6e6f64652d31',
    );
    const ring = new HashRing(
      Array.from({ length: 5 }, (_, i) => node(`node-${i}`)),
      { virtualNodes: 4 },
    );
    expect(
      keys
        .slice(0, 12)
        .map((key) => ring.owner(key).id.slice(5))
        .join(''),
    ).toBe('132404034134');
  });
});

describe('iteration', () => {
  test('goes over every point in order of digest, and back', () => {
    const ring = new HashRing([node('a'), node('b', 2), node('c', 0.5)], { virtualNodes: 10 });
    const up = [...ring].map(({ digest }) => toHex(digest));
    expect(up).toHaveLength(35);
    expect(ring.virtualNodeCount).toBe(35);
    expect(up).toEqual([...up].sort());
    expect([...ring.reversed()].map(({ digest }) => toHex(digest))).toEqual([...up].reverse());
  });

  test('goes on over the version it began with', () => {
    const ring = new HashRing([node('a'), node('b')], { virtualNodes: 4 });
    const walk = ring[Symbol.iterator]();
    walk.next();
    ring.remove(['a']);
    expect([...walk]).toHaveLength(7);
    expect([...ring]).toHaveLength(4);
  });
});

describe('a change', () => {
  test('gives the ring that the same nodes make at once, in whatever order they came and went', () => {
    fc.assert(
      fc.property(anyHasher, anyNodes, fc.nat(), (hasher, nodes, seed) => {
        const options = { virtualNodes: 12, hasher };
        const ring = new HashRing<PartitionNode>([], options);
        const split = seed % (nodes.length + 1);
        ring.insert(nodes.slice(split).reverse());
        ring.insert([node('passing-1'), node('passing-2')]);
        ring.insert(nodes.slice(0, split));
        ring.remove(['passing-2', node('passing-1')]);
        const direct = new HashRing(nodes, options);
        expect(ring.nodes).toEqual(direct.nodes);
        expect(toHex(ring.snapshot().table.bytes())).toBe(toHex(direct.snapshot().table.bytes()));
      }),
      { numRuns: 60 },
    );
  });

  test('moves keys only to a node that joins and only from a node that leaves', () => {
    fc.assert(
      fc.property(anyNodes, (nodes) => {
        const ring = new HashRing<PartitionNode>(nodes, { virtualNodes: 20 });
        const before = keys.map((key) => ring.owner(key).id);
        ring.add(node('a new one'));
        const between = keys.map((key) => ring.owner(key).id);
        for (const [i, owner] of between.entries()) if (owner !== before[i]) expect(owner).toBe('a new one');
        ring.remove(['a new one']);
        expect(keys.map((key) => ring.owner(key).id)).toEqual(before);
      }),
      { numRuns: 40 },
    );
  });

  test('that is refused leaves the ring exactly as it was', () => {
    const ring = new HashRing<PartitionNode>([node('a'), node('b'), node('c')], { virtualNodes: 8 });
    const view = ring.snapshot();
    const refused: [string, () => unknown][] = [
      ['KF_DUPLICATE_NODE', () => ring.insert([node('d'), node('b')])],
      ['KF_DUPLICATE_NODE', () => ring.insert([node('d'), node('d')])],
      ['KF_BAD_WEIGHT', () => ring.insert([node('d'), node('e', 0)])],
      ['KF_BAD_RING', () => ring.insert([node('d'), node('e', 10_000)])],
      ['KF_UNKNOWN_NODE', () => ring.remove(['a', 'nobody'])],
      ['KF_DUPLICATE_NODE', () => ring.remove(['a', node('a')])],
    ];
    for (const count of [0, -1, 1.5, Number.NaN]) expect(codeOf(() => ring.replicas('k', count))).toBe('KF_BAD_REPLICA_COUNT');
    for (const [code, act] of refused) {
      expect(codeOf(act)).toBe(code);
      expect(ring.snapshot()).toBe(view);
    }
  });

  test('that would put two points at one place is refused, and the ring is as it was', () => {
    const ring = new HashRing<PartitionNode>([], { virtualNodes: 1, hasher: SHORT });
    const taken = new Map<string, string>();
    let pair: readonly [string, string] | undefined;
    for (let i = 0; pair === undefined && i < 65_537; i++) {
      const place = toHex(SHORT.digest(lfchringName(`n${i}`, 0)));
      const first = taken.get(place);
      if (first !== undefined) pair = [first, `n${i}`];
      taken.set(place, `n${i}`);
    }
    const [first, second] = pair!;
    expect(codeOf(() => ring.insert([node(first), node(second)]))).toBe('KF_RING_COLLISION');
    expect(ring.nodeCount).toBe(0);
    ring.insert([node(first)]);
    expect(codeOf(() => ring.insert([node('z'), node(second)]))).toBe('KF_RING_COLLISION');
    expect(ids(ring.nodes)).toEqual([first]);
  });

  test('of no nodes changes nothing; the last node may go', () => {
    const ring = new HashRing([node('a')]);
    const view = ring.snapshot();
    ring.insert([]);
    ring.remove([]);
    expect(ring.snapshot()).toBe(view);
    ring.remove('a');
    expect([ring.nodeCount, ring.virtualNodeCount, ring.has('a')]).toEqual([0, 0, false]);
  });

  test('of a clone does not show in the original', () => {
    const ring = new HashRing<PartitionNode>([node('a')], { virtualNodes: 3, replicationFactor: 2 });
    const copy = ring.clone();
    copy.add(node('b'));
    expect([ring.nodeCount, copy.nodeCount, copy.virtualNodeCount, copy.replicationFactor]).toEqual([1, 2, 6, 2]);
  });
});

describe('what a change says it moved', () => {
  test('is what moved: a key has new holders exactly when its digest is in a move, and the move names them', () => {
    fc.assert(
      fc.property(anyNodes, anyHasher, fc.boolean(), (nodes, hasher, insert) => {
        fc.pre(nodes.length > 1);
        const ring = new HashRing<PartitionNode>(insert ? nodes.slice(1) : nodes, { virtualNodes: 6, replicationFactor: 2, hasher });
        const before = keys.map((key) => ids(ring.nodesForKey(key)));
        const change = insert ? ring.insert([nodes[0]!]) : ring.remove([nodes[0]!.id]);
        for (const [i, key] of keys.entries()) {
          const digest = hasher.digest(key);
          const now = ids(ring.nodesForKey(key));
          const move = change.moves.filter(({ after, upTo }) =>
            compareBytes(after, upTo) < 0
              ? compareBytes(after, digest) < 0 && compareBytes(digest, upTo) <= 0
              : compareBytes(after, digest) < 0 || compareBytes(digest, upTo) <= 0,
          );
          expect(move.map((one) => [ids(one.before), ids(one.now)])).toEqual(before[i]!.join() === now.join() ? [] : [[before[i], now]]);
          for (const { pullers } of move) expect(ids(pullers)).toEqual(now.filter((id) => !before[i]!.includes(id)));
        }
      }),
      { numRuns: 60 },
    );
  });

  test('has the share that it should: about 1/n of the owners and of each copy for one node more', () => {
    const ring = new HashRing<PartitionNode>(
      Array.from({ length: 9 }, (_, i) => node(`n${i}`)),
      { virtualNodes: 1_000, replicationFactor: 3 },
    );
    const change = ring.add(node('n9'));
    expect(change.movedShare).toBeGreaterThan(0.09);
    expect(change.movedShare).toBeLessThan(0.11);
    expect(change.pulledShare).toBeGreaterThan(0.27);
    expect(change.pulledShare).toBeLessThan(0.33);
  });
});

describe('the options', () => {
  test('give every node its virtual nodes, in proportion to its weight', () => {
    const ring = new HashRing([node('a'), node('b', 2), node('c', 0.001)], { virtualNodes: 100 });
    const counts = { a: 0, b: 0, c: 0 };
    for (const point of ring) counts[point.node.id as 'a' | 'b' | 'c']++;
    expect(counts).toEqual({ a: 100, b: 200, c: 1 });
  });

  test('out of range, or a hasher that contradicts itself, are refused', () => {
    for (const virtualNodes of [0, 1.5, 65_537, Number.NaN]) expect(codeOf(() => new HashRing([], { virtualNodes }))).toBe('KF_BAD_RING');
    for (const replicationFactor of [0, 256, -1]) expect(codeOf(() => new HashRing([], { replicationFactor }))).toBe('KF_BAD_RING');
    const wrong: Partial<Hasher>[] = [{ digestBytes: 31 }, { digestBytes: 0 }, { lanes: (_key, _seed, out) => void out.fill(7) }];
    for (const fault of wrong) expect(codeOf(() => new HashRing([], { hasher: { ...BLAKE3, ...fault } }))).toBe('KF_BAD_HASHER');
    const moody: Hasher = { ...SHORT, digest: (key) => (typeof key === 'string' ? SHORT.digest(key) : Uint8Array.of(1)) };
    expect(codeOf(() => new HashRing([node('a')], { hasher: moody }))).toBe('KF_BAD_HASHER');
  });
});
