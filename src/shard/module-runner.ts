import type { Bytes } from '../base/bytes.ts';
import { KeyfleetError } from '../base/errors.ts';
import type { ChangeLedger } from './change-ledger.ts';
import { openMany, openManyForQuery, type Ran } from './many-records.ts';
import { type RecordDuties, RecordView, ShardRecord } from './shard-record.ts';
import type { ShardState } from './shard-state.ts';
import type { ShardStorage } from './shard-storage.ts';
import { SizedBytes } from './sized-bytes.ts';
import type { ValueModule } from './value-module.ts';

export interface ModuleRunnerOptions<Value, Command, Reply, Query, Answer> {
  readonly storage: ShardStorage;
  readonly module: ValueModule<Value, Command, Reply, Query, Answer>;
  readonly positionOf: (key: Bytes) => number;
  readonly duties: RecordDuties;
  /** Told what each command changes. */
  readonly ledger: ChangeLedger;
  /** Told of the work that each command and query was; by default one small command. */
  readonly worked: (position: number, load: number | undefined) => void;
}

/** Runs the functions of a value module on the records of a shard. Knows nothing of entries: whoever calls undoes what failed. */
export class ModuleRunner<Value, Command, Reply, Query, Answer> {
  readonly #options: ModuleRunnerOptions<Value, Command, Reply, Query, Answer>;
  readonly #module: ValueModule<Value, Command, Reply, Query, Answer>;
  /** What a query of a key that is not there counts as work; undefined: what the module says. */
  loadPerQueryToMissingKey: number | undefined;
  readonly #record: ShardRecord<Value>;
  readonly #view: RecordView<Value>;

  constructor(options: ModuleRunnerOptions<Value, Command, Reply, Query, Answer>) {
    const { storage, module, duties } = options;
    this.#options = options;
    this.#module = module;
    this.#record = new ShardRecord(storage, module.codec, duties, new SizedBytes());
    this.#view = new RecordView(storage, module.codec, new SizedBytes());
  }

  command(state: ShardState, nowMs: number, key: Bytes, position: number, command: Command): Reply {
    const { ledger, worked } = this.#options;
    const record = this.#record;
    record.load(state.table, position, key, nowMs);
    const result = this.#module.command(record, record.value, command);
    record.take(result.value, result.expireAtMs, result.sizeBytes, ledger.change);
    ledger.note(position);
    worked(position, result.load);
    return result.reply;
  }

  /** @throws KF_CROSS_SHARD when the module opens a key that is not the shard's; KF_NOT_SUPPORTED. */
  commandMany(state: ShardState, nowMs: number, position: number, command: Command): Ran<Reply> {
    const { storage, module, duties, ledger, worked } = this.#options;
    if (!module.commandMany) throw notSupported(module.name);
    const many = openMany<Value>({
      nowMs,
      open: (key) => {
        const record = new ShardRecord(storage, module.codec, duties);
        record.load(state.table, this.#ownPosition(state, key), key, nowMs);
        return record;
      },
    });
    const result = module.commandMany(many.context, command);
    many.take(ledger.change, (changedAt) => ledger.note(changedAt));
    worked(position, result.load);
    return { reply: result.reply, changedKeys: many.changedKeys };
  }

  /** At `nowMs`, or if it is later at what `clock` says. */
  query(state: ShardState, nowMs: number, clock: (() => number) | undefined, key: Bytes, position: number, query: Query): Answer {
    const view = this.#view;
    view.load(state.table, position, key, nowMs, clock);
    const result = this.#module.query(view, view.value, query);
    const load = view.value === undefined ? (this.loadPerQueryToMissingKey ?? result.load) : result.load;
    this.#options.worked(position, load);
    return result.answer;
  }

  /** @throws as {@link commandMany}. */
  queryMany(state: ShardState, nowMs: number, position: number, query: Query): Answer {
    const { storage, module, worked } = this.#options;
    if (!module.queryMany) throw notSupported(module.name);
    const context = openManyForQuery<Value>({
      nowMs,
      open: (key) => {
        const view = new RecordView(storage, module.codec);
        view.load(state.table, this.#ownPosition(state, key), key, nowMs);
        return view;
      },
    });
    const result = module.queryMany(context, query);
    worked(position, result.load);
    return result.answer;
  }

  /** Removes the key if it has expired by `nowMs`, and says whether it has. */
  expire(state: ShardState, nowMs: number, key: Bytes, position: number): boolean {
    const { ledger } = this.#options;
    const record = this.#record;
    record.load(state.table, position, key, nowMs);
    if (!record.exists || record.value !== undefined) return false;
    record.take(undefined, undefined, undefined, ledger.change);
    ledger.note(position);
    return true;
  }

  #ownPosition({ range }: ShardState, key: Bytes): number {
    const position = this.#options.positionOf(key);
    const { from, to } = range;
    if (position < from || position >= to) {
      throw new KeyfleetError('KF_CROSS_SHARD', `a key at position ${position} in a command to the shard of [${from}, ${to})`);
    }
    return position;
  }
}

function notSupported(module: string): KeyfleetError {
  return new KeyfleetError('KF_NOT_SUPPORTED', `the value module ${module} has no commands over several keys`);
}
