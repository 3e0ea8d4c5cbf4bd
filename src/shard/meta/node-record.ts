import { KeyfleetError } from '../../base/errors.ts';

// The nodes of a cluster as the meta shard has them. Whether a node is heard of is said by the leader of the meta shard; whether it is to hold
// anything, by people. Drawing and argument: docs/protocol/moves.md.
//
//             node-join                    node-status down
//   (absent) ──────────► up ◄───────────────────────────────► down
//      ▲                 │ ▲     node-status up                │  ▲ │
//      │       node-drain│ │node-drain off                     │  │ │ node-leave: it will not come back
//      │                 ▼ │         (a node that drains comes │  │ ▼
//      └── node-join    draining ◄─── back draining) ──────────┘  left
//                        └── node-leave, once it holds nothing ───► ▲

/**
 * `up`: holds shards, and is given more. `down`: not heard of; keeps what it holds for a while, is given none. `draining`: serves what it holds,
 * gives it away, is given none. `left`: holds nothing that counts; it may join again, as a new node would.
 */
export type NodeStatus = 'up' | 'down' | 'draining' | 'left';

export interface NodeRecord {
  /** 1 to 64 of A-Z a-z 0-9 _ -. */
  readonly id: string;
  /** Of Keyfleet. */
  readonly release: string;
  /** The forms of requests between nodes and of log entries that it knows. */
  readonly protocol: ProtocolRange;
  /** Where its doors are, for those who do not ask another node for it. */
  readonly addresses: NodeAddresses;
  /** Its share of the shards, relative to that of others. */
  readonly weight: number;
  /** What fails together; replicas of a shard are in different ones if there are enough. */
  readonly zone: string;
  readonly status: NodeStatus;
  /** It is to give away all it has, also when it is back from being down. */
  readonly drains?: true;
  /** Since when it has its status. */
  readonly sinceMs: number;
  readonly joinedMs: number;
}

export interface ProtocolRange {
  readonly min: number;
  readonly max: number;
}

export interface NodeAddresses {
  readonly resp?: string;
  readonly http?: string;
}

/** What a node says of itself when it starts. What it does not say stays as it is known, or is 1 and ''. */
export interface JoiningNode {
  readonly id: string;
  readonly release: string;
  readonly protocol: ProtocolRange;
  readonly addresses: NodeAddresses;
  readonly weight?: number;
  readonly zone?: string;
}

export type NodeCommand =
  /** A node has started: it is up, or draining if it was to drain. @throws KF_BAD_NODE, KF_NODE_INCOMPATIBLE. */
  | { readonly kind: 'node-join'; readonly node: JoiningNode }
  /** @throws KF_UNKNOWN_NODE, KF_BAD_NODE. */
  | { readonly kind: 'node-set'; readonly id: string; readonly weight?: number; readonly zone?: string; readonly addresses?: NodeAddresses }
  /** It is heard of, or is not. No effect on one that has left. @throws KF_UNKNOWN_NODE. */
  | { readonly kind: 'node-status'; readonly id: string; readonly status: 'up' | 'down' }
  /** It is to give away all it has, or not any more. @throws KF_UNKNOWN_NODE. */
  | { readonly kind: 'node-drain'; readonly id: string; readonly drains: boolean }
  /**
   * It holds nothing and goes, or it is down and will not come back. @throws KF_UNKNOWN_NODE; KF_NODE_IN_USE when it is neither, or when it is the
   * only one that has a shard.
   */
  | { readonly kind: 'node-leave'; readonly id: string };

/** Shards by the nodes that are to have them. */
export interface HeldShard {
  readonly id: number;
  readonly replicas: readonly string[];
  /** Its log is lost, and it may go on with what these have alone. */
  readonly needsAll?: boolean;
}

/**
 * The nodes after `command`, in order of id; the same ones when it changes nothing. `held`: the shards of all keyspaces.
 * @throws as {@link NodeCommand} says; nothing is changed then.
 */
export function changedNodes(
  nodes: readonly NodeRecord[],
  command: NodeCommand,
  context: {
    readonly nowMs: number;
    /** The forms that the cluster speaks, see {@link raisedProtocol}. */
    readonly protocol: number;
    readonly held: () => Iterable<HeldShard>;
  },
): readonly NodeRecord[] {
  const { nowMs } = context;
  if (command.kind === 'node-join') return joined(nodes, command.node, context);
  const node = nodeOf(nodes, command.id);
  switch (command.kind) {
    case 'node-set': {
      const { weight = node.weight, zone = node.zone, addresses = node.addresses } = command;
      return replaced(nodes, checked({ ...node, weight, zone, addresses }));
    }
    case 'node-status':
      if (node.status === 'left') return nodes;
      return replaced(nodes, inStatus(node, command.status === 'up' && node.drains ? 'draining' : command.status, nowMs));
    case 'node-drain': {
      if (node.status === 'left') return nodes;
      const { drains: _, ...free } = node;
      const marked: NodeRecord = command.drains ? { ...free, drains: true } : free;
      return replaced(nodes, node.status === 'down' ? marked : inStatus(marked, command.drains ? 'draining' : 'up', nowMs));
    }
    case 'node-leave': {
      if (node.status === 'left') return nodes;
      for (const { id, replicas, needsAll } of context.held()) {
        if (!replicas.includes(node.id)) continue;
        if (needsAll) throw inUse(node.id, `the log of shard ${id} is lost, and what the node has of it may be needed: keyfleet doctor`);
        if (node.status !== 'down') throw inUse(node.id, `it still holds shard ${id}; drain it first`);
        const others = replicas.filter(
          (other) => other !== node.id && nodes.some(({ id: one, status }) => one === other && status !== 'left'),
        );
        if (others.length === 0) throw inUse(node.id, `nobody else has shard ${id}; start the node, or restore a backup`);
      }
      const { drains: _, ...free } = node;
      return replaced(nodes, inStatus(free, 'left', nowMs));
    }
  }
}

/** What a cluster speaks that was begun before releases said so. */
export const FIRST_PROTOCOL = 1;

/**
 * What a cluster of these nodes speaks that spoke `protocol`: the highest that all of them know, those that are down included, and never less than
 * before, for what has been written stays. So it rises when the last node is of the new release, and a node that does not know it is refused from then on.
 */
export function raisedProtocol(nodes: readonly NodeRecord[], protocol: number): number {
  const present = nodes.filter(({ status }) => status !== 'left');
  return present.length === 0 ? protocol : Math.max(protocol, Math.min(...present.map((node) => node.protocol.max)));
}

/** @throws KF_UNKNOWN_NODE. */
export function nodeOf(nodes: readonly NodeRecord[], id: string): NodeRecord {
  const node = nodes.find((one) => one.id === id);
  if (!node) throw new KeyfleetError('KF_UNKNOWN_NODE', `the cluster has no node ${id}; it has ${nodes.map((one) => one.id).join(', ')}`);
  return node;
}

function joined(
  nodes: readonly NodeRecord[],
  joining: JoiningNode,
  { nowMs, protocol: spoken }: { readonly nowMs: number; readonly protocol: number },
): readonly NodeRecord[] {
  const { id, release, protocol, addresses } = joining;
  const known = nodes.find((one) => one.id === id && one.status !== 'left');
  const others = nodes.filter((one) => one.id !== id);
  const weight = joining.weight ?? known?.weight ?? 1;
  const zone = joining.zone ?? known?.zone ?? '';
  const status = known?.drains ? 'draining' : 'up';
  const since = known?.status === status ? known : { sinceMs: nowMs };
  const node = checked({
    id,
    release,
    protocol,
    addresses,
    weight,
    zone,
    status,
    ...(known?.drains ? { drains: true } : {}),
    sinceMs: since.sinceMs,
    joinedMs: known?.joinedMs ?? nowMs,
  });
  // A cluster that has begun with nobody speaks what its first node does.
  if (others.some((one) => one.status !== 'left') && (spoken < protocol.min || spoken > protocol.max)) {
    throw new KeyfleetError(
      'KF_NODE_INCOMPATIBLE',
      `node ${id} of release ${release || 'unknown'} knows protocols ${protocol.min} to ${protocol.max}, and the cluster speaks ${spoken}`,
    );
  }
  return known ? replaced(nodes, node) : [...others, node].sort((a, b) => (a.id < b.id ? -1 : 1));
}

function inStatus(node: NodeRecord, status: NodeStatus, nowMs: number): NodeRecord {
  return node.status === status ? node : { ...node, status, sinceMs: nowMs };
}

function replaced(nodes: readonly NodeRecord[], node: NodeRecord): readonly NodeRecord[] {
  const before = nodes.find((one) => one.id === node.id);
  if (JSON.stringify(before) === JSON.stringify(node)) return nodes;
  return nodes.map((one) => (one === before ? node : one));
}

/** @throws KF_BAD_NODE. */
function checked(node: NodeRecord): NodeRecord {
  const { id, release, protocol, addresses, weight, zone } = node;
  const bad = (why: string): KeyfleetError => new KeyfleetError('KF_BAD_NODE', `node ${JSON.stringify(id)}: ${why}`);
  if (!/^[A-Za-z0-9_-]{1,64}$/.test(id)) throw bad('its id has 1 to 64 of A-Z a-z 0-9 _ -');
  if (!(weight > 0 && weight <= 1_000_000)) throw bad(`its weight is a number above 0, up to 1000000, not ${weight}`);
  if (typeof zone !== 'string' || zone.length > 64) throw bad('its zone has at most 64 characters');
  if (typeof release !== 'string' || release.length > 64) throw bad('its release has at most 64 characters');
  const { min, max } = protocol;
  if (!(Number.isInteger(min) && Number.isInteger(max) && min >= 0 && min <= max)) throw bad(`protocols ${min} to ${max} are none`);
  for (const address of [addresses.resp, addresses.http]) {
    if (address !== undefined && (typeof address !== 'string' || address.length > 512)) throw bad('an address has at most 512 characters');
  }
  return node;
}

function inUse(id: string, why: string): KeyfleetError {
  return new KeyfleetError('KF_NODE_IN_USE', `node ${id} cannot leave: ${why}`);
}
