import { isKeyfleetError } from '../../base/errors.ts';
import type { ControlCommand } from '../../shard/control-command.ts';
import { encodeEntry } from '../../shard/entry.ts';
import { type KeyspaceRecord, META_SHARD_ID, mapOf } from '../../shard/meta/meta-records.ts';
import type { MapChange, Workflow } from '../../shard/meta/shard-map.ts';
import { nextStep } from '../../shard/meta/workflow-step.ts';
import type { ReplySink } from '../../shard/reply-sink.ts';
import type { ShardState } from '../../shard/shard-state.ts';
import type { NodeClock } from '../node-clock.ts';
import type { HostedShard } from './hosted-shard.ts';
import type { MetaClient } from './meta-client.ts';
import type { MetaView } from './meta-view.ts';
import type { ClusterReports } from './reports.ts';
import type { ShardHost } from './shard-host.ts';

// What a node does for the shards that it has: as their leader it appends the steps of splits and merges that are due, gives them the table that the
// keyspace has now, and hands them over to the replica that is to lead; and it begins those that were cut from a parent. Each is safe to do twice, by
// whomever: what was done already has no effect.

/** Between two looks when nothing has happened. */
const LOOK_MS = 250;
/** A child is begun at once by who led its parent, and after this time by anybody. */
const GENESIS_AFTER_MS = 500;
const GENESIS_TIMEOUT_MS = 2_000;
/** So long a node leads before it hands over, and so long it waits before it tries again. */
const SETTLED_MS = 1_000;
const HAND_OVER_AGAIN_MS = 10_000;
/** Who is to lead may lack so many entries. */
const MAX_LAG = 1_000;

export interface ShardDutiesOptions {
  readonly self: string;
  readonly clock: NodeClock;
  readonly meta: MetaView;
  readonly host: ShardHost;
  readonly client: MetaClient;
  readonly reports: ClusterReports;
  /** Has another replica lead a shard that this node leads. */
  readonly handOver: (shard: HostedShard, to: string) => void;
  readonly onError: (error: Error) => void;
}

export class ShardDuties {
  readonly #options: ShardDutiesOptions;
  /** What is on its way to a log or to the meta shard. */
  readonly #underWay = new Set<string>();
  readonly #ledSinceMs = new Map<number, number>();
  readonly #triedMs = new Map<number, number>();
  readonly #bornMs = new Map<number, number>();
  #cancel: () => void = () => {};
  #lookIsDue = false;
  #isStopped = false;

  constructor(options: ShardDutiesOptions) {
    this.#options = options;
  }

  start(): void {
    this.#cancel = this.#options.clock.after(LOOK_MS, () => {
      this.look();
      if (!this.#isStopped) this.start();
    });
  }

  stop(): void {
    this.#isStopped = true;
    this.#cancel();
  }

  /** Looks when this turn of the event loop is over: something has happened. */
  kick(): void {
    if (this.#lookIsDue || this.#isStopped) return;
    this.#lookIsDue = true;
    this.#options.clock.atTurnEnd(() => {
      this.#lookIsDue = false;
      this.look();
    });
  }

  look(): void {
    if (this.#isStopped) return;
    const { meta, host, clock } = this.#options;
    const nowMs = clock.now().monoMs;
    for (const shard of host.all()) {
      if (shard.leads) this.#ledSinceMs.set(shard.id, this.#ledSinceMs.get(shard.id) ?? nowMs);
      else this.#ledSinceMs.delete(shard.id);
      if (shard.state?.status === 'awaiting-genesis') this.#begin(shard, nowMs);
    }
    for (const record of meta.keyspaces.values()) {
      const { workflows, shards } = mapOf(record);
      for (const workflow of workflows) this.#advance(record, workflow, nowMs);
      for (const { id } of shards) {
        const shard = host.get(id);
        if (!shard?.leads) continue;
        this.#followTable(shard, record);
        this.#prefer(shard, workflows, nowMs);
      }
    }
  }

  // Splits and merges.

  #advance(record: KeyspaceRecord, workflow: Workflow, nowMs: number): void {
    const { host } = this.#options;
    if (workflow.kind === 'merge' && !workflow.gathers) this.#giveToWhoHasBoth(workflow, nowMs);
    const step = nextStep(workflow, (id) => host.get(id)?.state as ShardState | undefined);
    if (step?.kind === 'append') {
      const shard = host.get(step.shard);
      if (shard?.leads && step.command.kind !== 'genesis') this.#append(shard, step.command);
    } else if (step?.kind === 'meta') {
      // A parent may be led by who was brought its data behind the cut, and has no child yet: then who leads the child says so.
      const speakers = workflow.kind === 'split' ? [workflow.parent, workflow.child] : workflow.kind === 'merge' ? [workflow.left] : [];
      if (speakers.some((id) => host.get(id)?.leads)) this.#tell(record.name, step.change);
    }
  }

  /** Who was down while the right shard was gathered has the left one alone, and cannot take the steps of the merge: somebody else is to lead it. */
  #giveToWhoHasBoth({ left, right }: Workflow & { kind: 'merge' }, nowMs: number): void {
    const { self, host, reports } = this.#options;
    const shard = host.get(left);
    if (!shard?.leads || host.get(right)?.state) return;
    const hasBoth = (node: string): boolean => [left, right].every((id) => reports.of(id, node)?.isCaughtUp);
    const next = host.roleOf(left)?.replicas.find((node) => node !== self && this.#isUp(node) && hasBoth(node));
    if (next !== undefined) this.#give(shard, next, nowMs);
  }

  #append(shard: HostedShard, control: ControlCommand): void {
    const name = `${shard.id} ${control.kind} ${control.op}`;
    if (this.#underWay.has(name)) return;
    this.#underWay.add(name);
    const over = (): void => {
      this.#underWay.delete(name);
      this.kick();
    };
    const sink: ReplySink<unknown> = {
      settled: over,
      failed: (_, error) => {
        // It is seen again whether it is due.
        this.#underWay.delete(name);
        if (!isKeyfleetError(error)) throw error;
      },
    };
    shard.driver?.submit({ kind: 'control', control }, sink, 0);
  }

  #tell(keyspace: string, change: MapChange): void {
    const name = `meta ${JSON.stringify(change)}`;
    if (this.#underWay.has(name)) return;
    this.#underWay.add(name);
    this.#options.client
      .run({ kind: 'change-map', name: keyspace, change })
      .catch((error: unknown) => {
        if (!isKeyfleetError(error)) throw error;
        this.#options.onError(error);
      })
      .finally(() => {
        this.#underWay.delete(name);
        this.kick();
      });
  }

  /** Appends the first entry of a shard that was cut from another. It follows from the cut alone, so it does not matter who is first. */
  #begin(shard: HostedShard, nowMs: number): void {
    const { log, state } = shard;
    if (!log || !state) return;
    const since = this.#bornMs.get(shard.id) ?? nowMs;
    this.#bornMs.set(shard.id, since);
    if (state.leader !== this.#options.self && nowMs - since < GENESIS_AFTER_MS) return;
    const name = `${shard.id} genesis`;
    if (this.#underWay.has(name)) return;
    this.#underWay.add(name);
    const { op, peer: parent, peerSeq: parentSeq, epoch, leader, hash: prevHash, nowMs: entryMs } = state;
    const control = { kind: 'genesis', op, parent, parentSeq } as const;
    const entry = encodeEntry(
      { epoch, leader, prevHash, nowMs: entryMs, commands: [{ kind: 'control', control }] },
      shard.keyspace.module.commandCodec,
    );
    let isOver = false;
    const over = (): void => {
      if (isOver) return;
      isOver = true;
      this.#underWay.delete(name);
      this.#bornMs.set(shard.id, this.#options.clock.now().monoMs);
      shard.driver?.logGrew();
      if (leader === this.#options.self) shard.driver?.claimSoon();
    };
    // A log may lose an append and its answer; whoever comes second finds the place taken, so it may be sent again.
    this.#options.clock.after(GENESIS_TIMEOUT_MS, over);
    log.append(entry, 0).then(over, over);
  }

  // Leading.

  /** The keyspace was cleared: the shard goes on in the new table, if it has not yet. */
  #followTable(shard: HostedShard, { table }: KeyspaceRecord): void {
    const name = `${shard.id} clear ${table}`;
    const isThere = shard.machine?.isServing || shard.state?.status === 'loading';
    if (!isThere || shard.state!.table >= table || this.#underWay.has(name)) return;
    this.#underWay.add(name);
    const over = (): void => {
      this.#underWay.delete(name);
    };
    shard.driver?.submit({ kind: 'clear', table }, { settled: over, failed: over }, 0);
  }

  /** The first of its replicas is to lead a shard, once it is there and knows all. */
  #prefer(shard: HostedShard, workflows: readonly Workflow[], nowMs: number): void {
    const { self, host, reports } = this.#options;
    const role = host.roleOf(shard.id);
    const first = role?.replicas[0];
    if (first === undefined || first === self || shard.id === META_SHARD_ID || role?.as !== 'member') return;
    if (nowMs - (this.#ledSinceMs.get(shard.id) ?? nowMs) < SETTLED_MS) return;
    if (workflows.some((one) => one.kind !== 'move' && isIn(one, shard.id))) return;
    const report = reports.of(shard.id, first);
    if (!this.#isUp(first) || !report?.isCaughtUp || report.durableSeq < shard.state!.applied - MAX_LAG) return;
    this.#give(shard, first, nowMs);
  }

  #isUp(node: string): boolean {
    return this.#options.meta.cluster.nodes.some(({ id, status }) => id === node && status === 'up');
  }

  /** Has `next` lead a shard instead of this node, if that was not tried just now. */
  #give(shard: HostedShard, next: string, nowMs: number): void {
    if (nowMs - (this.#triedMs.get(shard.id) ?? Number.NEGATIVE_INFINITY) < HAND_OVER_AGAIN_MS) return;
    this.#triedMs.set(shard.id, nowMs);
    this.#options.handOver(shard, next);
  }
}

function isIn(workflow: Workflow, shard: number): boolean {
  switch (workflow.kind) {
    case 'split':
      return workflow.parent === shard || workflow.child === shard;
    case 'merge':
      return workflow.left === shard || workflow.right === shard;
    default:
      return workflow.shard === shard;
  }
}
