import type { NodeRecord } from './node-record.ts';
import { placeShards, replicationOf } from './placement.ts';
import { busyShards, type MapChange, type MappedShard, type MoveChange, type ShardMap } from './shard-map.ts';

// Which moves to begin now, so that step by step every shard comes to where the placement has it. A pure function, run inside the meta shard. It looks
// at the present and at nothing else: a move that was begun is part of it, one that was undone is not.
//
// In this order: shards that have lost replicas, those with fewest left first; then what lies on nodes that drain; then what makes the nodes even. A
// node that is down is waited for: until then it counts as there, is given nothing, and nothing is taken from it but to even out. One that has left
// is struck off at once. When no move is left to make, preferred leaders are made even. A shard never has fewer replicas while it moves: who comes is
// ready before anyone goes.

export interface MoveLimits {
  /** So many shards are brought to a node at a time. Default: 2. */
  readonly perNode: number;
  /** A node is waited for so long after it went down, in milliseconds; then others get what it had, if there are any. Default: 300,000. */
  readonly replaceDownAfterMs: number;
}

export const DEFAULT_MOVE_LIMITS: MoveLimits = { perNode: 2, replaceDownAfterMs: 300_000 };

/** The changes of each map, in the order of `maps`. None at all: everything is as it is to be, or waits for what is under way. */
export function nextMoves(options: {
  /** Of all keyspaces of the cluster. */
  readonly maps: readonly ShardMap[];
  readonly nodes: readonly NodeRecord[];
  readonly replication: number;
  readonly nowMs: number;
  readonly limits?: Partial<MoveLimits>;
}): MapChange[][] {
  return new MovePlan(options).changes();
}

/** Until when {@link nextMoves} answers the same, if nothing changes but the time. */
export function sameMovesUntilMs({ maps, nodes, nowMs, limits }: Omit<Parameters<typeof nextMoves>[0], 'replication'>): number {
  const { replaceDownAfterMs } = { ...DEFAULT_MOVE_LIMITS, ...limits };
  let untilMs = Number.POSITIVE_INFINITY;
  const look = (atMs: number): void => {
    if (atMs > nowMs && atMs < untilMs) untilMs = atMs;
  };
  for (const { shards } of maps) for (const { restUntilMs = 0 } of shards) look(restUntilMs);
  for (const { status, sinceMs } of nodes) if (status === 'down') look(sinceMs + replaceDownAfterMs);
  return untilMs;
}

/** A shard as it will be when the move that it takes part in is over. */
interface Placed {
  readonly shard: MappedShard;
  readonly map: number;
  /** On nodes that have not left. */
  readonly replicas: readonly string[];
  readonly isBusy: boolean;
}

/** A move that should be made; of the smallest urgency first. */
interface Wanted {
  readonly map: number;
  readonly shard: number;
  readonly urgency: readonly [kind: number, replicasLeft: number];
  readonly move: MoveChange;
}

const LOST = 0;
const DRAINED = 1;
const UNEVEN = 2;

class MovePlan {
  readonly #maps: readonly ShardMap[];
  readonly #nodes: ReadonlyMap<string, NodeRecord>;
  /** What counts as there. */
  readonly #kept: readonly NodeRecord[];
  readonly #replication: number;
  /** How many replicas there are to be in the end, and how many there can be now. */
  readonly #wantedReplication: number;
  readonly #nowMs: number;
  readonly #limits: MoveLimits;
  readonly #changes: MapChange[][];
  /** Shards on their way to each node. */
  readonly #coming = new Map<string, number>();

  constructor(options: Parameters<typeof nextMoves>[0]) {
    const { maps, nodes, replication, nowMs, limits } = options;
    this.#maps = maps;
    this.#nowMs = nowMs;
    this.#limits = { ...DEFAULT_MOVE_LIMITS, ...limits };
    this.#nodes = new Map(nodes.map((node) => [node.id, node]));
    this.#kept = nodes.filter((node) => node.status === 'up' || this.#isWaitedFor(node));
    this.#wantedReplication = replication;
    this.#replication = replicationOf(this.#kept, replication);
    this.#changes = maps.map(() => []);
  }

  changes(): MapChange[][] {
    if (this.#kept.length === 0) return this.#changes;
    const placed = this.#maps.flatMap((map, index) => this.#look(map, index));
    const targets = placeShards({
      nodes: this.#kept,
      shards: placed.map(({ shard, replicas }) => ({ id: shard.id, replicas })),
      replication: this.#replication,
    });
    const wanted: Wanted[] = [];
    let isSettled = placed.every(({ isBusy }) => !isBusy);
    for (const one of placed) {
      const next = one.isBusy ? undefined : this.#toward(one, targets.get(one.shard.id)!);
      if (!next) continue;
      wanted.push(next);
      isSettled = false;
    }
    wanted.sort((a, b) => a.urgency[0] - b.urgency[0] || a.urgency[1] - b.urgency[1] || a.shard - b.shard);
    for (const { map, move } of wanted) {
      const coming = move.add === undefined ? 0 : this.#comingTo(move.add);
      if (coming >= this.#limits.perNode) continue;
      if (move.add !== undefined) this.#coming.set(move.add, coming + 1);
      this.#changes[map]!.push(move);
    }
    if (isSettled) for (const { shard, map, replicas } of placed) this.#prefer(map, shard.id, replicas, targets.get(shard.id)![0]!);
    return this.#changes;
  }

  /** The shards of a map. Moves to nodes that cannot take them are undone, and nodes that have left are struck off. */
  #look(map: ShardMap, index: number): Placed[] {
    const changes = this.#changes[index]!;
    const busy = new Set(busyShards(map));
    const moves = new Map<number, { readonly add: string; readonly remove?: string }>();
    const vanishing = new Set<number>();
    for (const workflow of map.workflows) {
      if (workflow.kind === 'merge') {
        vanishing.add(workflow.right);
        for (const node of workflow.gathers ?? []) this.#coming.set(node, this.#comingTo(node) + 1);
      } else if (workflow.kind === 'move') {
        if (this.#nodes.get(workflow.add)?.status === 'up') {
          moves.set(workflow.shard, workflow);
          this.#coming.set(workflow.add, this.#comingTo(workflow.add) + 1);
        } else {
          changes.push({ kind: 'cancel', op: workflow.op });
          busy.delete(workflow.shard);
        }
      }
    }
    return map.shards.flatMap((shard) => {
      const { id, replicas: before = [] } = shard;
      const isBusy = busy.has(id);
      const move = moves.get(id);
      const here = before.filter((node) => this.#statusOf(node) !== 'left');
      // Nobody could give it to anyone.
      if (here.length === 0 || vanishing.has(id)) return [];
      if (!isBusy) for (const remove of before) if (!here.includes(remove)) changes.push({ kind: 'move', shard: id, remove });
      const replicas = move ? [...here.filter((node) => node !== move.remove), move.add] : here;
      return [{ shard, map: index, replicas, isBusy }];
    });
  }

  /** One step from where a shard is to where it should be. */
  #toward({ shard, map, replicas }: Placed, target: readonly string[]): Wanted | undefined {
    const extra = replicas.filter((id) => !target.includes(id));
    const adds = target.filter((id) => !replicas.includes(id) && this.#statusOf(id) === 'up');
    const kept = replicas.filter((id) => this.#isKept(id)).length;
    const serving = kept + replicas.filter((id) => this.#statusOf(id) === 'draining').length;
    const kind = serving < this.#replication ? LOST : kept < this.#replication ? DRAINED : UNEVEN;
    if (kind === UNEVEN && (shard.restUntilMs ?? 0) > this.#nowMs) return undefined;
    // The placement wants it on a node that is down: that is no help now.
    if (kind !== UNEVEN && adds.length === 0) adds.push(...this.#upBeside(replicas));
    let add: string | undefined;
    let remove: string | undefined;
    if (adds.length > 0) {
      // As long as there are too few, nobody goes for the one who comes.
      remove = replicas.length < this.#replication ? undefined : this.#leastOf(extra);
      add = this.#bestOf(
        adds,
        replicas.filter((id) => id !== remove),
      );
    } else {
      if (replicas.length <= this.#replication) return undefined;
      remove = this.#leastOf(extra.filter((id) => this.#canSpare(id, replicas)));
      if (remove === undefined) return undefined;
    }
    const after = [...replicas.filter((id) => id !== remove), ...(add === undefined ? [] : [add])];
    const first = target[0]!;
    const leads = after[0] !== first && after.includes(first) && this.#statusOf(first) === 'up';
    const move: MoveChange = {
      kind: 'move',
      shard: shard.id,
      ...(add === undefined ? {} : { add }),
      ...(remove === undefined ? {} : { remove }),
      ...(leads ? { first } : {}),
    };
    return { map, shard: shard.id, urgency: [kind, serving], move };
  }

  #prefer(map: number, shard: number, replicas: readonly string[], first: string): void {
    if (replicas[0] === first || !replicas.includes(first) || this.#statusOf(first) !== 'up') return;
    this.#changes[map]!.push({ kind: 'prefer', shard, node: first });
  }

  /** Of those that may come: one of the zone that has the fewest of `others`, then the one to which least is on its way. */
  #bestOf(adds: readonly string[], others: readonly string[]): string {
    const inZone = (id: string): number => others.filter((other) => this.#zoneOf(other) === this.#zoneOf(id)).length;
    return [...adds].sort((a, b) => inZone(a) - inZone(b) || this.#comingTo(a) - this.#comingTo(b) || (a < b ? -1 : 1))[0]!;
  }

  /** Whom it is best to be without: who is lost, who is away, who drains; and rather not who leads. */
  #leastOf(ids: readonly string[]): string | undefined {
    const worth = (id: string): number => {
      const status = this.#statusOf(id);
      return status === 'up' ? 3 : status === 'draining' ? 2 : this.#isKept(id) ? 1 : 0;
    };
    let least: string | undefined;
    for (const id of ids) if (least === undefined || worth(id) <= worth(least)) least = id;
    return least;
  }

  /** Enough others are up. A node that is down too long is kept in mind until it has been replaced, or nobody is missing. */
  #canSpare(id: string, replicas: readonly string[]): boolean {
    const others = replicas.filter((other) => other !== id && this.#statusOf(other) === 'up').length;
    return others >= (this.#statusOf(id) === 'down' && !this.#isKept(id) ? this.#wantedReplication : this.#replication);
  }

  #upBeside(replicas: readonly string[]): string[] {
    return this.#kept.filter(({ id, status }) => status === 'up' && !replicas.includes(id)).map(({ id }) => id);
  }

  #isWaitedFor({ status, drains, sinceMs }: NodeRecord): boolean {
    return status === 'down' && !drains && this.#nowMs - sinceMs < this.#limits.replaceDownAfterMs;
  }

  #isKept(id: string): boolean {
    return this.#kept.some((node) => node.id === id);
  }

  #statusOf(id: string): NodeRecord['status'] {
    return this.#nodes.get(id)?.status ?? 'left';
  }

  #zoneOf(id: string): string {
    return this.#nodes.get(id)?.zone ?? '';
  }

  #comingTo(id: string): number {
    return this.#coming.get(id) ?? 0;
  }
}
