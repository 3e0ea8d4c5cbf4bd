/**
 * Ketama: the ring that memcached and Redis clients agree on, exactly as each of its dialects has it, so that a pool can be shared
 * with clients and proxies that already place keys.
 *
 * Promise: the same server for every key as the original, for the same servers in the same order. A server that joins takes keys mostly
 * to itself; because the number of points follows the share of the weights, rounding can move a few keys between others.
 *
 * Cost: a look-up is one key hash and about one step through an index; a change builds the ring anew: 40 MD5 a server, about 20 µs.
 *
 * Balance is that of chance, the fullest of 100 servers about a quarter over its share. For a new system choose `Keyspace`, or
 * `Rendezvous` for a handful of nodes.
 *
 * @see Richard Jones, "libketama", 2007; twemproxy nc_ketama.c; libmemcached hosts.cc; npm hashring; dgryski/go-ketama.
 */
import { KeyfleetError } from '../base/errors.ts';
import type { KeyInput } from './hasher.ts';
import { defaultName, type KetamaOptions, type KetamaScheme, schemeOf } from './ketama-dialect.ts';
import { checkNodes, nodesWithout, noNodes, type PartitionNode, weightOf } from './node.ts';
import { checkReplicaCount, type MutablePartitioner, type NodeChange } from './partitioner.ts';
import { movedShare, PointRing } from './point-ring.ts';

export class Ketama<N extends PartitionNode = PartitionNode> implements MutablePartitioner<N> {
  readonly #options: KetamaOptions<N>;
  readonly #scheme: KetamaScheme;
  #nodes: readonly N[];
  #ring: PointRing;

  /**
   * @param nodes - In the order in which the other clients list them, which decides between equal points.
   * @throws KF_DUPLICATE_NODE, KF_BAD_WEIGHT; KF_UNKNOWN_HASH; KF_BAD_OPTION.
   */
  constructor(nodes: Iterable<N> = [], options: KetamaOptions<N> = {}) {
    this.#options = options;
    this.#scheme = schemeOf(options);
    this.#nodes = [...nodes];
    this.#ring = this.#build(this.#nodes);
  }

  get nodes(): readonly N[] {
    return this.#nodes;
  }

  /** Points of all servers. */
  get pointCount(): number {
    return this.#ring.points.length;
  }

  /** The hash that places a key on the circle. */
  hashOf(key: KeyInput): number {
    return this.#scheme.keyHash(key);
  }

  owner(key: KeyInput): N {
    if (this.#nodes.length === 0) throw noNodes('ketama');
    const ring = this.#ring;
    return this.#nodes[ring.owners[ring.find(this.#scheme.keyHash(key))]!]!;
  }

  /** As npm hashring's `range`: the next servers of the circle, each once. */
  replicas(key: KeyInput, count: number, out: N[] = []): N[] {
    checkReplicaCount(count);
    if (this.#nodes.length === 0) throw noNodes('ketama');
    out.length = 0;
    this.#ring.visitOwners(this.#scheme.keyHash(key), (owner) => out.push(this.#nodes[owner]!) < count);
    return out;
  }

  /** The last of the list, as clients append a server. */
  add(node: N): NodeChange {
    return this.#replace([...this.#nodes, node]);
  }

  remove(id: string): NodeChange {
    return this.#replace(nodesWithout(this.#nodes, id, 'ketama'));
  }

  #replace(nodes: readonly N[]): NodeChange {
    const ring = this.#build(nodes);
    const before = this.#nodes;
    const moved =
      before.length === 0 ? 1 : movedShare(this.#ring, ring, { before: (owner) => before[owner]!.id, after: (owner) => nodes[owner]!.id });
    this.#nodes = nodes;
    this.#ring = ring;
    return { movedShare: moved };
  }

  #build(nodes: readonly N[]): PointRing {
    checkNodes(nodes);
    const { nameOf, dialect = 'twemproxy', hashring } = this.#options;
    const servers = nodes.map((node) => ({
      name: nameOf ? nameOf(node) : defaultName(dialect, node.id),
      weight: weightOf(node),
      virtualNodes: hashring?.virtualNodesOf?.(node),
    }));
    const points = this.#scheme.points(servers);
    if (nodes.length > 0 && points.length === 0)
      throw new KeyfleetError('KF_BAD_WEIGHT', 'no server gets a point: the weights are too far apart for 40 digests a server');
    return new PointRing(points);
  }
}
