import { type Bytes, fromUtf8, utf8 } from '../../base/bytes.ts';
import { REDIS_SLOT_COUNT, redisSlot } from '../../partition/redis-slot.ts';
import { NOT_AN_INTEGER } from '../../shard/redis/error-replies.ts';
import { errorReply, type Reply, type TaggedReply } from '../../shard/redis/reply.ts';
import { integerOf } from './ascii.ts';

// The words of Redis Cluster, as Redis 7.0 has them: what every server of ours that looks like one says, whatever is behind it.

/** A node as cluster clients are shown it. */
export interface ClusterMember {
  /** 40 hex digits, the same in all answers of all nodes. */
  readonly id: string;
  readonly host: string;
  readonly port: number;
  /** The one that answers. */
  readonly isSelf: boolean;
  readonly isUp: boolean;
}

/** The slots `first` to `last`, both included, and who has them. */
export interface SlotRun {
  readonly first: number;
  readonly last: number;
  readonly leader: ClusterMember;
  readonly replicas: readonly ClusterMember[];
}

/** A cluster as one of its nodes knows it. */
export interface ClusterPicture {
  readonly epoch: number;
  readonly members: readonly ClusterMember[];
  /** In order, without overlap. */
  readonly runs: readonly SlotRun[];
}

export const CLUSTER_DISABLED: TaggedReply = errorReply('ERR This instance has cluster support disabled');

/** What COUNTKEYSINSLOT and GETKEYSINSLOT ask for; the error that they deserve else. `args` has the right number. */
export function readKeysInSlot(args: readonly Bytes[]): { readonly slot: number; readonly most: number } | TaggedReply {
  const slot = integerOf(args[2]!);
  const most = args.length > 3 ? integerOf(args[3]!) : Number.POSITIVE_INFINITY;
  if (slot === undefined || most === undefined) return NOT_AN_INTEGER;
  if (slot >= 0 && slot < REDIS_SLOT_COUNT && most >= 0) return { slot, most };
  return errorReply(`ERR Invalid slot${args.length > 3 ? ' or number of keys' : ''}`);
}

/** `MOVED`: there, from now on; `ASK`: there, this once. */
export function redirectReply(word: 'MOVED' | 'ASK', slot: number, address: string): TaggedReply {
  return errorReply(`${word} ${slot} ${address}`);
}

/** What a subcommand of CLUSTER answers that only looks at the picture; undefined for all others. `args` has the right number. */
export function clusterReply(word: string, args: readonly Bytes[], picture: ClusterPicture): Reply | undefined {
  switch (word) {
    case 'slots':
      return picture.runs.map(({ first, last, leader, replicas }): Reply => [first, last, ...[leader, ...replicas].map(slotsNode)]);
    case 'shards':
      return shardsReply(picture);
    case 'nodes':
      return verbatim(picture.members.map((member) => `${nodeLine(picture, member)}\n`).join(''));
    case 'info':
      return verbatim(infoText(picture));
    case 'myid':
      return utf8(selfOf(picture).id);
    case 'keyslot':
      return redisSlot(args[2]!);
    case 'links':
      return [];
    case 'replicas':
    case 'slaves':
      return replicasReply(picture, fromUtf8(args[2]!));
    default:
      return undefined;
  }
}

function selfOf({ members }: ClusterPicture): ClusterMember {
  return members.find(({ isSelf }) => isSelf) ?? members[0]!;
}

function slotsNode({ host, port, id }: ClusterMember): Reply {
  return [utf8(host), port, utf8(id), []];
}

/** One for each leader and set of replicas. */
function shardsReply({ members, runs }: ClusterPicture): Reply {
  const shards = new Map<string, { readonly slots: number[]; readonly run: Pick<SlotRun, 'leader' | 'replicas'> }>();
  const shardOf = (run: Pick<SlotRun, 'leader' | 'replicas'>): number[] => {
    const name = [run.leader, ...run.replicas].map(({ id }) => id).join();
    const known = shards.get(name);
    if (known) return known.slots;
    const slots: number[] = [];
    shards.set(name, { slots, run });
    return slots;
  };
  for (const run of runs) {
    const slots = shardOf(run);
    if (slots.at(-1) === run.first - 1) slots[slots.length - 1] = run.last;
    else slots.push(run.first, run.last);
  }
  for (const member of members) {
    if (!runs.some(({ leader, replicas }) => leader.id === member.id || replicas.some(({ id }) => id === member.id)))
      shardOf({ leader: member, replicas: [] });
  }
  return [...shards.values()].map(
    ({ slots, run }): Reply => ({
      kind: 'map',
      pairs: [
        [utf8('slots'), slots],
        [utf8('nodes'), [shardNode(run.leader, 'master'), ...run.replicas.map((one) => shardNode(one, 'replica'))]],
      ],
    }),
  );
}

function shardNode({ id, host, port, isUp }: ClusterMember, role: 'master' | 'replica'): Reply {
  return {
    kind: 'map',
    pairs: [
      [utf8('id'), utf8(id)],
      [utf8('port'), port],
      [utf8('ip'), utf8(host)],
      [utf8('endpoint'), utf8(host)],
      [utf8('hostname'), utf8('')],
      [utf8('role'), utf8(role)],
      [utf8('replication-offset'), 0],
      [utf8('health'), utf8(isUp ? 'online' : 'failed')],
    ],
  };
}

/** Every node is shown as a master: each leads some slots and follows in others, for which Redis has no word. */
function nodeLine({ epoch, runs }: ClusterPicture, { id, host, port, isSelf, isUp }: ClusterMember): string {
  const slots = runs.flatMap(({ first, last, leader }) => (leader.id === id ? [first === last ? `${first}` : `${first}-${last}`] : []));
  const flags = `${isSelf ? 'myself,' : ''}master${isUp ? '' : ',fail'}`;
  const head = `${id} ${host}:${port}@${port + 10_000} ${flags} - 0 0 ${epoch} ${isUp ? 'connected' : 'disconnected'}`;
  return [head, ...slots].join(' ');
}

function infoText({ epoch, members, runs }: ClusterPicture): string {
  const assigned = runs.reduce((sum, { first, last }) => sum + last - first + 1, 0);
  const ok = runs.reduce((sum, { first, last, leader }) => sum + (leader.isUp ? last - first + 1 : 0), 0);
  const leaders = new Set(runs.map(({ leader }) => leader.id));
  const lines = [
    'cluster_enabled:1',
    `cluster_state:${ok === REDIS_SLOT_COUNT ? 'ok' : 'fail'}`,
    `cluster_slots_assigned:${assigned}`,
    `cluster_slots_ok:${ok}`,
    'cluster_slots_pfail:0',
    `cluster_slots_fail:${assigned - ok}`,
    `cluster_known_nodes:${members.length}`,
    `cluster_size:${leaders.size}`,
    `cluster_current_epoch:${epoch}`,
    `cluster_my_epoch:${epoch}`,
  ];
  return lines.map((line) => `${line}\r\n`).join('');
}

function replicasReply(picture: ClusterPicture, id: string): Reply {
  if (!picture.members.some((member) => member.id === id)) return errorReply(`ERR Unknown node ${id}`);
  return [];
}

function verbatim(text: string): TaggedReply {
  return { kind: 'verbatim', format: 'txt', text: utf8(text) };
}
