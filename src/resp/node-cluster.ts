import { createHash } from 'node:crypto';
import type { Bytes } from '../base/bytes.ts';
import type { ClusterNode } from '../node/cluster/cluster-node.ts';
import type { ClusterView, NodeView, ShardView } from '../node/cluster/cluster-view.ts';
import type { ClusterSource } from './cluster-source.ts';
import type { ClusterMember, ClusterPicture, SlotRun } from './codec/cluster-words.ts';

/** A slot of Redis is so many positions. */
const SLOT_SHIFT = 18;
/** What was seen of the cluster is looked at again after this. */
const SEEN_MS = 100;

interface Seen {
  readonly atMs: number;
  readonly members: ReadonlyMap<string, ClusterMember>;
  /** The shards that this node has. */
  readonly here: ReadonlySet<number>;
}

/** A keyspace of a cluster as Redis's cluster clients see it. */
export class NodeClusterSource implements ClusterSource {
  readonly #node: ClusterNode;
  readonly #keyspace: string;
  #seen: Seen | undefined;

  constructor(node: ClusterNode, keyspace: string) {
    this.#node = node;
    this.#keyspace = keyspace;
  }

  picture(): ClusterPicture {
    const view = this.#node.view();
    const members = membersOf(view);
    const shards = view.keyspaces.find(({ name }) => name === this.#keyspace)?.shards ?? [];
    const runs: (SlotRun & { last: number })[] = [];
    for (const shard of shards) {
      const nodes = nodesOf(shard, members);
      const [leader, ...replicas] = nodes;
      if (!leader) continue;
      const first = shard.range.from >>> SLOT_SHIFT;
      const last = (shard.range.to - 1) >>> SLOT_SHIFT;
      const before = runs.at(-1);
      const isAlike =
        before?.replicas.length === replicas.length && [before.leader, ...before.replicas].every((one, i) => one === nodes[i]);
      if (before && isAlike && before.last === first - 1) before.last = last;
      else runs.push({ first, last, leader, replicas });
    }
    return { epoch: epochOf(view), members: [...members.values()], runs };
  }

  leaderElsewhere(key: Bytes): string | undefined {
    const { leader, isHere } = this.#node.keyspace(this.#keyspace).where(key);
    if (isHere || leader === undefined) return undefined;
    const member = this.#look().members.get(leader);
    return member && !member.isSelf ? `${member.host}:${member.port}` : undefined;
  }

  hasReplica(key: Bytes): boolean {
    return this.#look().here.has(this.#node.keyspace(this.#keyspace).where(key).shard);
  }

  #look(): Seen {
    const atMs = performance.now();
    if (this.#seen && atMs - this.#seen.atMs < SEEN_MS) return this.#seen;
    const view = this.#node.view();
    const shards = view.keyspaces.find(({ name }) => name === this.#keyspace)?.shards ?? [];
    const here = new Set(shards.filter((shard) => shard.here && !shard.here.isBringingData).map(({ id }) => id));
    this.#seen = { atMs, members: membersOf(view), here };
    return this.#seen;
  }
}

/** The nodes that Redis clients can reach. */
function membersOf({ cluster, nodes }: ClusterView): Map<string, ClusterMember> {
  const members = new Map<string, ClusterMember>();
  for (const node of nodes) {
    const address = addressOf(node);
    if (!address || node.status === 'left') continue;
    const id = createHash('sha1').update(`${cluster}/${node.id}`).digest('hex');
    members.set(node.id, { id, ...address, isSelf: node.isSelf, isUp: node.status !== 'down' });
  }
  return members;
}

function addressOf({ addresses }: NodeView): { readonly host: string; readonly port: number } | undefined {
  const [, host, port] = /^(.*):(\d+)$/.exec(addresses.resp ?? '') ?? [];
  return host === undefined ? undefined : { host: host.replace(/^\[(.*)\]$/, '$1'), port: Number(port) };
}

/** The leader first, then the others that are up; while nobody leads, whoever is up: any node takes any request. */
function nodesOf({ leader, replicas }: ShardView, members: ReadonlyMap<string, ClusterMember>): ClusterMember[] {
  const known = [...new Set([...(leader === undefined ? [] : [leader]), ...replicas])].flatMap((id) => members.get(id) ?? []);
  const up = known.filter(({ isUp }) => isUp);
  if (up.length > 0) return up;
  const anybody = [...members.values()].find(({ isUp }) => isUp);
  return anybody ? [anybody] : known;
}

/** Grows with every change of leaders: what cluster clients take for the newest of two answers. */
function epochOf({ keyspaces }: ClusterView): number {
  let sum = 1;
  for (const { shards } of keyspaces) for (const { epoch } of shards) sum += epoch;
  return sum;
}
