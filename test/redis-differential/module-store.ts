import type { Bytes } from '../../src/base/bytes.ts';
import { compareBytes } from '../../src/base/bytes.ts';
import { type CommandArgs, isSpec, keysOf, resolveCommand } from '../../src/shard/redis/command-table.ts';
import {
  createRedisModule,
  type RedisModule,
  type RedisQuery,
  type RedisSettings,
  type RedisValue,
} from '../../src/shard/redis/redis-module.ts';
import type { Reply } from '../../src/shard/redis/reply.ts';
import type { Cell, Cells, OpenRecord } from '../../src/shard/value-module.ts';

interface StoredRecord {
  readonly value: Bytes;
  readonly expireAtMs: number | undefined;
  readonly sizeBytes: number;
}

/**
 * The Redis module over plain maps, the least that keeps the value module's contract: for tests of the module alone.
 * Values are kept encoded, so that the codec is in every test; and sizes are checked against what is really there.
 */
export class ModuleStore {
  nowMs = 0;
  readonly #module: RedisModule;
  readonly #records = new Map<string, StoredRecord>();
  readonly #cells = new Map<string, MapCells>();

  constructor(settings: Partial<RedisSettings> = {}) {
    this.#module = createRedisModule(settings);
  }

  /** Runs a command as a door would: refuses it, or finds its keys and gives it to the module. */
  run(given: CommandArgs, seed?: number): Reply {
    const args: RedisQuery = seed === undefined ? given : Object.assign([...given], { seed });
    const spec = resolveCommand(args);
    if (!isSpec(spec)) return spec;
    const keys = keysOf(spec, args);
    if (keys.length === 0 && spec.access !== 'none') keys.push(args[1]!);
    const isMany = spec.route.kind === 'many-keys-one-slot' || keys.length > 1;
    if (spec.access === 'read') return isMany ? this.#queryMany(args) : this.#query(keys[0]!, args);
    if (spec.access === 'write') return isMany ? this.#commandMany(args) : this.#command(keys[0]!, args);
    if (spec.name === 'flushall') {
      this.#records.clear();
      this.#cells.clear();
      return { kind: 'status', text: 'OK' };
    }
    throw new Error(`${spec.name} is a command of the door`);
  }

  /** What lies under the key, cells included; 0 when it is absent. */
  sizeOf(key: Bytes): number {
    return this.#open(key).sizeBytes;
  }

  #open(key: Bytes): {
    readonly value: RedisValue | undefined;
    readonly expireAtMs: number | undefined;
    readonly sizeBytes: number;
    readonly cells: MapCells;
  } {
    const name = nameOf(key);
    const stored = this.#records.get(name);
    if (stored?.expireAtMs !== undefined && stored.expireAtMs <= this.nowMs) {
      this.#records.delete(name);
      this.#cells.delete(name);
      return this.#open(key);
    }
    let cells = this.#cells.get(name);
    if (cells === undefined) this.#cells.set(name, (cells = new MapCells()));
    return {
      value: stored && this.#module.codec.decode(stored.value),
      expireAtMs: stored?.expireAtMs,
      sizeBytes: stored?.sizeBytes ?? 0,
      cells,
    };
  }

  #query(key: Bytes, args: RedisQuery): Reply {
    const { value, expireAtMs, sizeBytes, cells } = this.#open(key);
    return this.#module.query({ key, nowMs: this.nowMs, expireAtMs, sizeBytes, cells }, value, args).answer;
  }

  #command(key: Bytes, args: CommandArgs): Reply {
    const { value, expireAtMs, sizeBytes, cells } = this.#open(key);
    const travelled = this.#module.commandCodec.decode(this.#module.commandCodec.encode(args));
    const result = this.#module.command({ key, nowMs: this.nowMs, expireAtMs, sizeBytes, cells }, value, travelled);
    this.#keep(key, value, result.value, expireAtMs, result);
    return result.reply;
  }

  #keep(
    key: Bytes,
    before: RedisValue | undefined,
    value: RedisValue | undefined,
    expireBeforeMs: number | undefined,
    options: { readonly expireAtMs?: number | null; readonly sizeBytes?: number },
  ): void {
    const name = nameOf(key);
    const expireAtMs = options.expireAtMs === undefined ? expireBeforeMs : (options.expireAtMs ?? undefined);
    if (value === undefined || (expireAtMs !== undefined && expireAtMs <= this.nowMs)) {
      this.#records.delete(name);
      this.#cells.delete(name);
      return;
    }
    const stored = this.#records.get(name);
    const encoded = value === before && stored !== undefined ? stored.value : this.#module.codec.encode(value);
    const isSame = value === before && options.sizeBytes === undefined && stored !== undefined;
    const sizeBytes = isSame ? stored.sizeBytes : (options.sizeBytes ?? encoded.length);
    const held = encoded.length + (this.#cells.get(name)?.bytes ?? 0);
    if (sizeBytes !== held) throw new Error(`${name} was said to take ${sizeBytes} bytes and takes ${held}`);
    this.#records.set(name, { value: encoded, expireAtMs, sizeBytes });
  }

  #queryMany(args: RedisQuery): Reply {
    return this.#module.queryMany!({ nowMs: this.nowMs, open: (key) => ({ key, ...this.#open(key) }) }, args).answer;
  }

  #commandMany(args: CommandArgs): Reply {
    const opened = new Map<string, { readonly record: OpenRecord<RedisValue>; keep: () => void }>();
    const open = (key: Bytes): OpenRecord<RedisValue> => {
      const name = nameOf(key);
      const known = opened.get(name);
      if (known !== undefined) return known.record;
      const state = this.#open(key);
      const record: { -readonly [name in keyof OpenRecord<RedisValue>]: OpenRecord<RedisValue>[name] } = {
        key,
        ...state,
        set: (value, options = {}) => {
          record.value = value;
          record.sizeBytes = options.sizeBytes ?? record.sizeBytes;
          opened.get(name)!.keep = () => this.#keep(key, state.value, value, state.expireAtMs, options);
        },
      };
      opened.set(name, { record, keep: () => {} });
      return record;
    };
    const { reply } = this.#module.commandMany!({ nowMs: this.nowMs, open }, args);
    for (const { keep } of opened.values()) keep();
    return reply;
  }
}

function nameOf(bytes: Bytes): string {
  return Buffer.from(bytes).toString('latin1');
}

class MapCells implements Cells {
  bytes = 0;
  readonly #cells = new Map<string, Cell>();
  /** In order; undefined until somebody asks. */
  #sorted: Cell[] | undefined;

  get(cell: Bytes): Bytes | undefined {
    return this.#cells.get(nameOf(cell))?.value;
  }

  has(cell: Bytes): boolean {
    return this.#cells.has(nameOf(cell));
  }

  set(cell: Bytes, value: Bytes): void {
    const known = this.#cells.get(nameOf(cell));
    const now = { cell, value };
    this.#cells.set(nameOf(cell), now);
    this.bytes += cell.length + value.length - (known === undefined ? 0 : cell.length + known.value.length);
    if (this.#sorted !== undefined) this.#sorted.splice(firstFrom(this.#sorted, cell), known === undefined ? 0 : 1, now);
  }

  delete(cell: Bytes): void {
    const known = this.#cells.get(nameOf(cell));
    if (known === undefined) return;
    this.#cells.delete(nameOf(cell));
    this.bytes -= cell.length + known.value.length;
    if (this.#sorted !== undefined) this.#sorted.splice(firstFrom(this.#sorted, cell), 1);
  }

  clear(): void {
    this.#sorted = undefined;
    this.#cells.clear();
    this.bytes = 0;
  }

  *scan(
    options: { readonly from?: Bytes; readonly to?: Bytes; readonly reverse?: boolean; readonly limit?: number } = {},
  ): IterableIterator<Cell> {
    this.#sorted ??= [...this.#cells.values()].sort((a, b) => compareBytes(a.cell, b.cell));
    const from = options.from === undefined ? 0 : firstFrom(this.#sorted, options.from);
    const to = options.to === undefined ? this.#sorted.length : firstFrom(this.#sorted, options.to);
    const limit = Math.min(options.limit ?? Number.POSITIVE_INFINITY, to - from);
    // A copy: the cells may change while the caller looks.
    const found = limit === 1 ? [this.#sorted[options.reverse ? to - 1 : from]!] : this.#sorted.slice(from, to);
    if (options.reverse && limit > 1) found.reverse();
    for (let i = 0; i < limit; i++) yield found[i]!;
  }
}

/** The index of the first cell that is not before `wanted`. */
function firstFrom(sorted: readonly Cell[], wanted: Bytes): number {
  let [low, high] = [0, sorted.length];
  while (low < high) {
    const middle = (low + high) >> 1;
    if (compareBytes(sorted[middle]!.cell, wanted) < 0) low = middle + 1;
    else high = middle;
  }
  return low;
}
