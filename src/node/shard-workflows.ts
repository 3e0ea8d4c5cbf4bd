import { assert } from '../base/assert.ts';
import { isKeyfleetError, KeyfleetError } from '../base/errors.ts';
import type { AnyLocalShard, LocalLog } from '../log/local.ts';
import type { ControlCommand } from '../shard/control-command.ts';
import { garbageKey, hookCursorKey, stateKey } from '../shard/key-layout.ts';
import { decide, type ShardSize } from '../shard/meta/decide.ts';
import { type KeyspaceRecord, mapOf } from '../shard/meta/meta-records.ts';
import type { MapChange, Workflow } from '../shard/meta/shard-map.ts';
import { nextStep, type WorkflowStep } from '../shard/meta/workflow-step.ts';
import type { KeyspaceCommand, KeyspaceReply } from '../shard/meta-module.ts';
import type { BornShard } from '../shard/shard-control.ts';
import { countsRange } from '../shard/slot-counts.ts';
import type { Storage } from '../storage/storage.ts';
import type { AnyKeyspaceRuntime } from './keyspace-runtime.ts';
import { LoadMeter } from './load-meter.ts';
import { cutOf, sizeOfShard } from './shard-cut.ts';
import { ShardTable } from './shard-table.ts';

// Splits and merges on one machine: looks at the sizes of the shards now and then, has the meta shard decide, and takes the steps of whatever is
// under way. Which step comes next follows from the states alone (workflow-step.ts), so a node that died goes on where it was.
//
// On a local log each step joins the open batch and is visible at once. So all steps of a workflow are taken in one turn of the event loop, no
// client comes in between, and they are durable in their order or not at all. Nobody waits for a disk, and no record is touched.

export interface ShardWorkflowsOptions {
  readonly storage: Storage;
  readonly log: LocalLog;
  readonly keyspaces: () => Iterable<AnyKeyspaceRuntime>;
  readonly now: () => number;
  /** The meta shard's record of a keyspace that there is. */
  readonly record: (name: string) => KeyspaceRecord;
  readonly runMeta: (command: KeyspaceCommand) => KeyspaceReply;
  /** A shard that has just been cut from another. */
  readonly open: (keyspace: AnyKeyspaceRuntime, born: BornShard) => AnyLocalShard;
  /** Storage holds garbage to remove at leisure. */
  readonly onGarbage: () => void;
  /** Asked before each step is taken; false: not by this node, not now. For tests that die there. */
  readonly mayTake?: (step: WorkflowStep) => boolean;
  /** Between two looks; 0: none by itself. */
  readonly everyMs: number;
  readonly onError: (error: Error) => void;
}

export class ShardWorkflows {
  readonly #options: ShardWorkflowsOptions;
  readonly #loads: LoadMeter;
  #timer: NodeJS.Timeout | undefined;
  #isRunning = false;

  constructor(options: ShardWorkflowsOptions) {
    this.#options = options;
    this.#loads = new LoadMeter(options.now);
  }

  start(): void {
    this.#isRunning = true;
    this.#schedule();
  }

  stop(): void {
    this.#isRunning = false;
    clearTimeout(this.#timer);
  }

  /** One look at everything: begins what the sizes call for, and takes all steps that can be taken. @throws what the storage throws. */
  async look(): Promise<void> {
    for (const keyspace of [...this.#options.keyspaces()]) {
      if (!this.#isServed(keyspace)) continue;
      this.#decide(keyspace);
      await this.finish(keyspace);
    }
  }

  /** Begins a split or a merge, or cancels one, and takes its steps. The number of the workflow, and whether it is over. @throws as {@link KeyspaceCommand}. */
  async begin(keyspace: AnyKeyspaceRuntime, change: MapChange): Promise<{ readonly op: number; readonly isOver: boolean }> {
    const { name } = keyspace;
    const before = new Set(this.#workflows(name).map(({ op }) => op));
    this.#options.runMeta({ kind: 'change-map', name, change });
    const op = 'op' in change ? change.op : this.#workflows(name).find((one) => !before.has(one.op))!.op;
    await this.finish(keyspace);
    await this.#options.log.flush();
    return { op, isOver: !this.#workflows(name).some((one) => one.op === op && one.kind !== 'retire') };
  }

  /** Where to cut a shard in halves: by keys, or by bytes or load where the policy has more to say of those. @throws KF_BAD_SPLIT_POINT. */
  middleOf(keyspace: AnyKeyspaceRuntime, id: number): number {
    const shard = keyspace.table.member(id);
    const at = shard && cutOf(shard.machine, this.#options.record(keyspace.name).policy, this.loadPerSecond(shard));
    if (at !== undefined) return at;
    if (!shard) throw new KeyfleetError('KF_NO_SHARD', `keyspace ${keyspace.name} has no shard ${id}`);
    throw new KeyfleetError('KF_BAD_SPLIT_POINT', `shard ${id} is one slot, and cannot be cut`);
  }

  /** Work of each shard lately, in units of one small command, a second. */
  loadPerSecond(shard: AnyLocalShard): number {
    return this.#loads.perSecond(shard.machine);
  }

  /** Takes the steps of all that is under way in a keyspace, one workflow a turn, so that clients have theirs in between. */
  async finish(keyspace: AnyKeyspaceRuntime): Promise<void> {
    for (const { op } of this.#workflows(keyspace.name)) {
      if (this.#isServed(keyspace) && this.#advance(keyspace, op)) await new Promise((resolve) => setImmediate(resolve));
    }
  }

  /** As {@link finish}, within this turn. */
  finishNow(keyspace: AnyKeyspaceRuntime): void {
    for (const { op } of this.#workflows(keyspace.name)) this.#advance(keyspace, op);
  }

  #schedule(): void {
    const { everyMs } = this.#options;
    if (!this.#isRunning || everyMs === 0) return;
    this.#timer = setTimeout(async () => {
      try {
        if (this.#options.storage.refusal === undefined) await this.look();
      } catch (error) {
        // A full disk: what is under way goes on when there is room.
        if (!isKeyfleetError(error)) throw error;
        this.#options.onError(error);
      }
      this.#schedule();
    }, everyMs);
    this.#timer.unref();
  }

  #decide(keyspace: AnyKeyspaceRuntime): void {
    const { record, runMeta, now } = this.#options;
    const known = record(keyspace.name);
    const { policy } = known;
    const map = mapOf(known);
    for (const { machine } of keyspace.shards) {
      machine.loadPerQueryToMissingKey = policy.loadPerQueryToMissingKey;
      this.#loads.look(machine);
    }
    const grows = map.shards.length < policy.minShards;
    const sizes: ShardSize[] = [];
    for (const { id } of map.shards) {
      const shard = keyspace.table.member(id);
      if (!shard) continue;
      sizes.push(sizeOfShard(shard.machine, policy, this.loadPerSecond(shard), grows));
    }
    if (decide({ map, policy, sizes, nowMs: now() }).length > 0) runMeta({ kind: 'decide', name: keyspace.name, sizes });
  }

  /** Takes the steps of one workflow as far as they go. True when there were any. */
  #advance(keyspace: AnyKeyspaceRuntime, op: number): boolean {
    let steps = 0;
    while (true) {
      const workflow = this.#workflows(keyspace.name).find((one) => one.op === op);
      const step = workflow && nextStep(workflow, (id) => keyspace.table.member(id)?.machine.state);
      if (!step || this.#options.mayTake?.(step) === false) return steps > 0;
      this.#take(keyspace, step);
      assert(++steps < 32, () => `workflow ${op} of keyspace ${keyspace.name} comes to no end: ${JSON.stringify(step)}`);
    }
  }

  #take(keyspace: AnyKeyspaceRuntime, step: WorkflowStep): void {
    const { runMeta, log } = this.#options;
    const { name } = keyspace;
    switch (step.kind) {
      case 'append':
        this.#append(keyspace, step.shard, step.command);
        break;
      case 'meta':
        runMeta({ kind: 'change-map', name, change: step.change });
        break;
      case 'forget':
        log.atomically((batch) => {
          runMeta({ kind: 'change-map', name, change: step.change });
          batch.delete(stateKey(step.shard));
          const counts = countsRange(step.shard);
          batch.put(garbageKey(counts.from), counts.to);
          batch.delete(hookCursorKey(step.shard));
        });
        this.#options.onGarbage();
        this.#setMembers(
          keyspace,
          keyspace.table.members().filter(({ machine }) => machine.state.id !== step.shard),
        );
    }
  }

  #append(keyspace: AnyKeyspaceRuntime, id: number, command: ControlCommand): void {
    const { log, open, storage } = this.#options;
    const shard = keyspace.table.member(id)!;
    log.control(shard, command);
    const members = [...keyspace.table.members()];
    const { born } = shard.machine;
    if (born) {
      const child = open(keyspace, born);
      // What it shows was written by its parent, in batches up to this one.
      child.lastWrite = storage.openNumber;
      members.push(child);
    }
    this.#setMembers(keyspace, members);
  }

  /** The keyspace's shards are these, unless the open batch never happens. */
  #setMembers(keyspace: AnyKeyspaceRuntime, members: readonly AnyLocalShard[]): void {
    const before = keyspace.table.members();
    this.#options.log.onAbandon(() => {
      keyspace.setTable(new ShardTable(before));
      setImmediate(() => keyspace.retryParked());
    });
    keyspace.setTable(new ShardTable(members));
    keyspace.retryParked();
  }

  /** It may have been taken away while we waited. */
  #isServed(keyspace: AnyKeyspaceRuntime): boolean {
    return [...this.#options.keyspaces()].includes(keyspace);
  }

  #workflows(name: string): readonly Workflow[] {
    return mapOf(this.#options.record(name)).workflows;
  }
}
