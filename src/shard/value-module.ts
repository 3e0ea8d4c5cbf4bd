import type { Bytes } from '../base/bytes.ts';

/**
 * What a keyspace's values are: a pure function that changes one and a pure function that reads one. The same module, value and command
 * give the same result on every replica, today and in a replay: no clock but `ctx.nowMs`, no randomness, nothing awaited.
 * A throw from `command` or `query` undoes whatever the call wrote and reaches the caller as an error.
 *
 * A value that grows large keeps its parts in `ctx.cells`, an ordered map under the key, read and written piecewise; the value itself then
 * holds the summary (type, count). Removing the value removes its cells.
 */
export interface ValueModule<Value, Command, Reply, Query, Answer> {
  /** Stable: it is recorded with the keyspace. */
  readonly name: string;
  /** How a value lies in storage. */
  readonly codec: ValueCodec<Value>;
  /** How a command travels in a log. */
  readonly commandCodec: ValueCodec<Command>;
  /** How a reply travels between nodes, and how a session keeps it until its client has heard it. Absent: as MessagePack, see message-pack.ts. */
  readonly replyCodec?: ValueCodec<Reply>;
  /** How a query and its answer travel between nodes. Absent: as MessagePack. */
  readonly queryCodec?: ValueCodec<Query>;
  readonly answerCodec?: ValueCodec<Answer>;
  /** Changes one key. `value` is undefined when the key is absent (or has expired). */
  command(ctx: CommandContext, value: Value | undefined, command: Command): CommandResult<Value, Reply>;
  /** Reads one key. */
  query(ctx: QueryContext, value: Value | undefined, query: Query): { readonly answer: Answer; readonly load?: number };
  /** Changes several keys of one shard at once, all or nothing; absent when the module has no such commands. */
  commandMany?(ctx: ManyContext<Value>, command: Command): { readonly reply: Reply; readonly load?: number };
  queryMany?(ctx: ManyQueryContext<Value>, query: Query): { readonly answer: Answer; readonly load?: number };
}

export interface ValueCodec<T> {
  encode(value: T): Bytes;
  /** `bytes` may be kept. */
  decode(bytes: Bytes): T;
  /** The same without bytes of their own, for a codec whose speed matters; must agree with the above. */
  readonly inPlace?: InPlaceCodec<T>;
}

export interface InPlaceCodec<T> {
  /** How many bytes {@link encode} writes. It is called next, for the same value. */
  size(value: T): number;
  encode(value: T, target: Bytes, at: number): void;
  /** Reads `bytes[from … to)`, which do not stay as they are: what is kept must be copied. */
  decode(bytes: Bytes, from: number, to: number): T;
}

export interface QueryContext {
  readonly key: Bytes;
  /** Command: the entry's time. Query: the leader's time, never before that of the last entry. Milliseconds since 1970. */
  readonly nowMs: number;
  /** When the key expires; undefined: never. */
  readonly expireAtMs: number | undefined;
  /** What the key holds, cells included, as the module reported it by `sizeBytes`. */
  readonly sizeBytes: number;
  readonly cells: CellReader;
}

export interface CommandContext extends QueryContext {
  readonly cells: Cells;
}

export interface CommandResult<Value, Reply> {
  readonly reply: Reply;
  /** The value from now on; undefined removes the key with its cells; the same object as was given: not written again. */
  readonly value: Value | undefined;
  /** When the key expires from now on: a time, `null` for never, absent: as before (never, for a new key). A time not after `nowMs` removes it. */
  readonly expireAtMs?: number | null;
  /** Size of the value with its cells, in bytes; absent: the encoded value's length. */
  readonly sizeBytes?: number;
  /** How much work this was, in units of one small command; absent: 1. */
  readonly load?: number;
}

export interface CellReader {
  get(cell: Bytes): Bytes | undefined;
  has(cell: Bytes): boolean;
  /** Cells with `from <= cell < to` in byte-wise order. A cell longer than MAX_CELL_BYTES sorts by its first bytes, then by digest. */
  scan(options?: {
    readonly from?: Bytes;
    readonly to?: Bytes;
    readonly reverse?: boolean;
    readonly limit?: number;
  }): IterableIterator<Cell>;
}

export interface Cell {
  readonly cell: Bytes;
  readonly value: Bytes;
}

export interface Cells extends CellReader {
  set(cell: Bytes, value: Bytes): void;
  delete(cell: Bytes): void;
  /** Removes all cells of the key. O(cells). */
  clear(): void;
}

/** One key of a command over several. Changes are taken when the command returns. */
export interface OpenRecord<Value> {
  readonly key: Bytes;
  readonly value: Value | undefined;
  readonly expireAtMs: number | undefined;
  readonly sizeBytes: number;
  readonly cells: Cells;
  /** As {@link CommandResult}, without the reply. */
  set(value: Value | undefined, options?: { readonly expireAtMs?: number | null; readonly sizeBytes?: number }): void;
}

export interface ManyContext<Value> {
  readonly nowMs: number;
  /** Opens a key; the same object for the same key. @throws KF_CROSS_SHARD when the shard does not hold it. */
  open(key: Bytes): OpenRecord<Value>;
}

export interface ManyQueryContext<Value> {
  readonly nowMs: number;
  open(key: Bytes): Omit<OpenRecord<Value>, 'cells' | 'set'> & { readonly cells: CellReader };
}
