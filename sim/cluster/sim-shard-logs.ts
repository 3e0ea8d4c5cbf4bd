import { KeyfleetError } from '../../src/base/errors.ts';
import type { ClusterLog, MakeLogOptions, OpenLogOptions, ShardLogs } from '../../src/log/shard-logs.ts';
import type { LogBasis } from '../../src/shard/meta/shard-map.ts';
import type { Faults } from '../faults.ts';
import type { Scheduler } from '../scheduler.ts';
import { LogLink, type LogLinkOptions, SimLog } from '../sim-log.ts';
import type { SimMachine } from '../sim-machine.ts';

/** What is known of a log beside its entries. */
interface Identity {
  readonly id: string;
  readonly basis: LogBasis | undefined;
}

/** The logs of all shards: what the log's servers have. */
export class SimLogs {
  readonly #logs = new Map<string, SimLog>();
  readonly #identities = new Map<SimLog, Identity>();
  #begun = 0;

  /** By shard and generation, those that there are. */
  get all(): ReadonlyMap<string, SimLog> {
    return this.#logs;
  }

  /** How many there ever were. */
  get begun(): number {
    return this.#begun;
  }

  get(shard: number, generation: number): SimLog | undefined {
    return this.#logs.get(`${shard}.${generation}`);
  }

  create(shard: number, generation: number, basis?: LogBasis): SimLog {
    const log = new SimLog(`${shard}.${generation}`);
    if (basis) log.restart(basis.seq);
    this.#begun++;
    this.#identities.set(log, { id: `${this.#begun}`, basis });
    this.#logs.set(log.name, log);
    return log;
  }

  /** The id of the log that begins behind `basis`, made unless it is there. */
  make({ shard, generation, basis, isFirstFinal = false }: MakeLogOptions): string {
    const known = this.get(shard, generation);
    const found = known && this.identity(known);
    if (found && isFirstFinal) return found.id;
    if (found?.basis?.seq === basis.seq && found.basis.hash === basis.hash) return found.id;
    this.delete(shard, generation);
    this.onBegunAnew(shard, generation, basis.seq);
    return this.identity(this.create(shard, generation, basis)).id;
  }

  /** A generation behind the first begins, behind entry `seq`. */
  onBegunAnew: (shard: number, generation: number, seq: number) => void = () => {};

  identity(log: SimLog): Identity {
    return this.#identities.get(log)!;
  }

  delete(shard: number, generation: number): void {
    const name = `${shard}.${generation}`;
    const log = this.#logs.get(name);
    if (log) log.isDeleted = true;
    this.#logs.delete(name);
  }
}

export interface SimShardLogsOptions {
  readonly logs: SimLogs;
  readonly scheduler: Scheduler;
  readonly faults: Faults;
  readonly machine: SimMachine<unknown>;
}

/** The logs as one process finds them. */
export class SimShardLogs implements ShardLogs {
  readonly #options: SimShardLogsOptions;
  readonly #life: number;

  constructor(options: SimShardLogsOptions) {
    this.#options = options;
    this.#life = options.machine.life;
  }

  open({ shard, generation, create }: OpenLogOptions): Promise<ClusterLog> {
    const { logs, scheduler, faults, machine } = this.#options;
    return this.#ask('open-log', () => {
      const log = logs.get(shard, generation) ?? (create ? logs.create(shard, generation) : undefined);
      if (!log) throw new KeyfleetError('KF_LOG_LOST', `shard ${shard} has no log of generation ${generation}`);
      return new SimClusterLog({ log, scheduler, faults, machine }, logs.identity(log));
    });
  }

  make(options: MakeLogOptions): Promise<string> {
    return this.#ask('make-log', () => this.#options.logs.make(options));
  }

  generations(shard: number): Promise<readonly number[]> {
    return this.#ask('list-logs', () =>
      [...this.#options.logs.all.keys()].flatMap((name) => (name.startsWith(`${shard}.`) ? [Number(name.split('.')[1])] : [])),
    );
  }

  delete(shard: number, generation: number): Promise<void> {
    return this.#ask('delete-log', () => this.#options.logs.delete(shard, generation));
  }

  /** Does something at the servers, and tells what came of it. */
  #ask<T>(label: string, act: () => T): Promise<T> {
    const { scheduler, faults, machine } = this.#options;
    const delayMs = (): number => 0.5 + scheduler.chance.unit() * 5 + (faults.strikes('slow-log', 20) ? scheduler.chance.below(1_500) : 0);
    return new Promise((resolve, reject) => {
      const tell = (action: () => void): void => void machine.later(label, delayMs(), action, this.#life);
      const unreachable = (): void => reject(new KeyfleetError('KF_UNAVAILABLE', 'the log cannot be reached', { retryable: true }));
      if (machine.logIsCutOff) {
        tell(unreachable);
        return;
      }
      machine.emit(label, delayMs(), () => {
        try {
          const done = act();
          tell(machine.logIsCutOff || faults.strikes('read-failed', 30) ? unreachable : () => resolve(done));
        } catch (error) {
          tell(() => reject(error));
        }
      });
    });
  }
}

class SimClusterLog extends LogLink implements ClusterLog {
  readonly maxEntryBytes = 64 * 1024;
  readonly id: string;
  readonly basis: LogBasis | undefined;
  readonly #world: LogLinkOptions;
  readonly #life: number;
  readonly #stops = new Set<() => void>();

  constructor(options: LogLinkOptions, { id, basis }: Identity) {
    super(options);
    this.id = id;
    this.basis = basis;
    this.#world = options;
    this.#life = options.machine.life;
  }

  onGrew(listener: () => void): () => void {
    const { log, scheduler, faults, machine } = this.#world;
    const end = log.onAppended(() => {
      if (machine.life !== this.#life) {
        stop();
        return;
      }
      if (faults.strikes('hint-lost', 5)) return;
      scheduler.after(0.1 + scheduler.chance.unit(), 'hint', () => {
        if (!machine.logIsCutOff && this.#stops.has(stop)) machine.later('grew', 0, listener, this.#life);
      });
    });
    const stop = (): void => {
      end();
      this.#stops.delete(stop);
    };
    this.#stops.add(stop);
    return stop;
  }

  async close(): Promise<void> {
    for (const stop of [...this.#stops]) stop();
  }
}
