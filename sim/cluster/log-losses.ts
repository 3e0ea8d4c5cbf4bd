import { KeyfleetError } from '../../src/base/errors.ts';
import type { Prng } from '../../src/base/prng.ts';
import { stateKey } from '../../src/shard/key-layout.ts';
import { META_SHARD_ID } from '../../src/shard/meta/meta-records.ts';
import type { ReplySink } from '../../src/shard/reply-sink.ts';
import { decodeShardState, type ShardState } from '../../src/shard/shard-state.ts';
import type { MemoryStorage } from '../../src/storage/memory.ts';
import type { SimMachine } from '../sim-machine.ts';
import type { ClusterProcess } from './cluster-process.ts';
import type { ClusterWorld } from './sim-cluster.ts';
import type { SimLogs } from './sim-shard-logs.ts';

// Logs that are lost whole, those of some shard or of the meta shard, now and then together with the power of all nodes or of whoever led; and what must
// hold of how they go on: docs/protocol/log-generations.md.

const DISK_LOOK_MS = 2;
const DISK_PATIENCE_MS = 2_000;

export class LogLosses {
  readonly #world: ClusterWorld;
  readonly #logs: SimLogs;
  /** By the log's name: how far the disk of somebody was who led by it. Whatever was acknowledged by then is no later entry. */
  readonly #promised = new Map<string, { readonly seq: number; readonly node: string }>();
  /** Entries that the lost logs had and the next ones do not. */
  entriesLost = 0;
  recoveries = 0;
  /** Nodes that were ready once. */
  readonly #joined = new Set<string>();
  readonly #lastOfLost = new Map<string, number>();

  constructor(world: ClusterWorld, logs: SimLogs) {
    this.#world = world;
    this.#logs = logs;
    logs.onBegunAnew = (shard, generation, seq) => this.#begunAnew(shard, generation, seq);
  }

  /** Some log goes, or all of them at once. */
  strike(): void {
    const { scheduler, machines } = this.#world;
    const { chance } = scheduler;
    const names = [...this.#logs.all.keys()].filter((name) => this.#isKnown(name));
    if (names.length === 0) return;
    const meta = names.filter((name) => name.startsWith(`${META_SHARD_ID}.`));
    const struck = chance.below(8) === 0 ? names : [chance.pick(chance.below(4) === 0 && meta.length > 0 ? meta : names)];
    const lose = (): void => {
      this.#note();
      for (const name of struck) this.#lose(name);
    };
    switch (chance.below(5)) {
      case 0:
        this.#world.blackout(2_000, lose);
        break;
      case 1: {
        // Whoever led it dies with it.
        const leading = machines.filter((machine) => ledBy(machine).some((shard) => struck.some((name) => idOf(name)[0] === shard)));
        for (const machine of leading) {
          machine.dieWithin(chance.below(20), () => scheduler.after(chance.below(8_000), 'restart', () => machine.start()));
        }
        lose();
        break;
      }
      default:
        lose();
    }
  }

  /** The log of a shard goes that is frozen for its left neighbour to take over, or has been taken over by some replicas, and the map does not know yet. */
  strikeMerge(chance: Prng): void {
    const frozen = this.#world.machines.flatMap(({ process, storage }) =>
      (process?.node?.keyspaceRecords() ?? []).flatMap(({ shards, workflows = [] }) =>
        workflows.flatMap((one) => {
          if (one.kind !== 'merge' || stateIn(storage, one.right)?.status !== 'frozen') return [];
          const { generation = 1 } = shards.find(({ id }) => id === one.right) ?? {};
          return [`${one.right}.${generation}`];
        }),
      ),
    );
    const names = [...new Set(frozen)].filter((name) => this.#logs.all.has(name) && this.#isKnown(name));
    if (names.length === 0 || chance.below(4) > 0) return;
    this.#note();
    this.#lose(chance.pick(names));
  }

  /** To be called now and then: what may have been acknowledged by now. */
  look(): void {
    for (const { name, process } of this.#world.machines) if (process?.isReady) this.#joined.add(name);
    this.#note();
  }

  /**
   * A read may show what the log alone has, of which nothing is promised; it is believed when all that any process had run by then has come to its disk,
   * and no process has died since it was asked.
   */
  onceOnDisks<Reply>(sink: ReplySink<Reply>): ReplySink<Reply> {
    const { machines, scheduler } = this.#world;
    const lives = machines.map(({ life }) => life);
    const unknown = (token: number): void => sink.failed(token, new KeyfleetError('KF_OUTCOME_UNKNOWN', 'it may show what no disk has'));
    return {
      failed: sink.failed,
      settled: (token, reply) => {
        const wanted = machines.map(({ storage }) => (isIdle(storage) ? storage.committed : storage.openNumber));
        const lastMs = scheduler.nowMs + DISK_PATIENCE_MS;
        const look = (): void => {
          if (machines.some(({ life }, at) => life !== lives[at]) || scheduler.nowMs > lastMs) unknown(token);
          else if (machines.every(({ storage }, at) => storage.durable >= wanted[at]!)) sink.settled(token, reply);
          else scheduler.after(DISK_LOOK_MS, 'on-disk', look);
        };
        look();
      },
    };
  }

  /**
   * The meta shard knows it by its id, so that another in its place would be seen to be another; of the meta shard's own all nodes have joined the
   * cluster, and follow that generation. What may go wrong before that: docs/protocol/log-generations.md, limits.
   */
  #isKnown(name: string): boolean {
    const { machines } = this.#world;
    const [shard, generation] = idOf(name);
    if (shard === META_SHARD_ID) {
      return machines.every((one) => this.#joined.has(one.name) && stateIn(one.storage, shard)?.logGeneration === generation);
    }
    const isIt = (one: { readonly generation?: number }): boolean => (one.generation ?? 1) === generation;
    return machines.some(({ process }) =>
      process?.node
        ?.keyspaceRecords()
        .some(
          ({ shards, workflows = [] }) =>
            shards.some((one) => one.id === shard && isIt(one) && one.log !== undefined) ||
            workflows.some((one) => one.kind === 'retire' && one.shard === shard && isIt(one)),
        ),
    );
  }

  #lose(name: string): void {
    const log = this.#logs.all.get(name);
    if (!log) return;
    this.#lastOfLost.set(name, log.lastSeq);
    const [shard, generation] = idOf(name);
    this.#world.tell(`the log ${name} is lost, with ${log.lastSeq} entries`);
    this.#world.faults.count('log-lost');
    this.#logs.delete(shard, generation);
  }

  /** What the disks of leaders have by now. */
  #note(): void {
    for (const machine of this.#world.machines) {
      const { storage, name: node } = machine;
      if (!isIdle(storage) || storage.durable !== storage.committed) continue;
      for (const shard of ledBy(machine)) {
        const { applied = 0, logGeneration } = stateIn(storage, shard) ?? {};
        const name = `${shard}.${logGeneration}`;
        if (applied > (this.#promised.get(name)?.seq ?? 0)) this.#promised.set(name, { seq: applied, node });
      }
    }
  }

  #begunAnew(shard: number, generation: number, seq: number): void {
    const before = `${shard}.${generation - 1}`;
    this.#world.tell(`the log ${shard}.${generation} begins behind entry ${seq}`);
    const promised = this.#promised.get(before);
    this.recoveries++;
    this.entriesLost += Math.max(0, (this.#lastOfLost.get(before) ?? 0) - seq);
    if (promised && promised.seq > seq) {
      this.#world.fail(`the log ${shard}.${generation} begins behind entry ${seq}, and ${promised.node} had led up to ${promised.seq}`);
    }
  }
}

/** Shard and generation. */
function idOf(log: string): [number, number] {
  return log.split('.').map(Number) as [number, number];
}

/** The shards that it leads by its own sight. */
function ledBy({ process, name }: SimMachine<ClusterProcess>): number[] {
  const view = process?.node?.view();
  const led = (view?.keyspaces ?? []).flatMap(({ shards }) => shards.flatMap(({ id, here }) => (here?.leads ? [id] : [])));
  return view?.metaLeader === name ? [META_SHARD_ID, ...led] : led;
}

function stateIn(storage: MemoryStorage, shard: number): ShardState | undefined {
  const stored = storage.get(stateKey(shard));
  return stored && decodeShardState(stored);
}

/** Nothing was written that is in no batch yet. */
function isIdle(storage: MemoryStorage): boolean {
  return storage.savepoint() === 0;
}
