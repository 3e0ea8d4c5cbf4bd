import { assert } from '../base/assert.ts';
import type { Bytes } from '../base/bytes.ts';
import type { AskOptions, ReplySink } from '../node/keyspace-handle.ts';
import { redisSlot } from '../partition/redis-slot.ts';
import { type CommandArgs, type CommandSpec, keysOf } from '../shard/redis/command-table.ts';
import { OK, type Reply } from '../shard/redis/reply.ts';
import type { KeyspaceRequests } from './ordered-keyspace.ts';

/** Whether all keys fall into one slot of Redis. */
export function allInOneSlot(keys: readonly Bytes[]): boolean {
  if (keys.length < 2) return true;
  const slot = redisSlot(keys[0]!);
  for (let i = 1; i < keys.length; i++) if (redisSlot(keys[i]!) !== slot) return false;
  return true;
}

/**
 * Carries out MGET, MSET, DEL, UNLINK, EXISTS or TOUCH, whose keys may lie anywhere: as it is when they share a slot; else one command for
 * each slot, all started at once, and the replies joined. Atomic for the keys of one slot. When one part fails its error is the answer, and the
 * other parts may have been carried out.
 */
export function splitAndJoin(
  keyspace: KeyspaceRequests,
  spec: CommandSpec,
  args: CommandArgs,
  sink: ReplySink<Reply>,
  token: number,
  options?: AskOptions,
): void {
  const { route } = spec;
  assert(route.kind === 'split-and-join', () => `${spec.name} is not split`);
  const isWrite = spec.access === 'write';
  const keys = keysOf(spec, args);
  const step = spec.keyStep;
  // MSET with an odd number of arguments: for the module to refuse.
  if (allInOneSlot(keys) || (args.length - spec.firstKey) % step !== 0) {
    run(keyspace, isWrite, { keys, args }, sink, token, options);
    return;
  }
  const parts = new Map<number, Part>();
  keys.forEach((key, order) => {
    const slot = redisSlot(key);
    let part = parts.get(slot);
    if (!part) parts.set(slot, (part = { keys: [], args: [args[0]!], orders: [] }));
    part.keys.push(key);
    part.orders.push(order);
    for (let i = 0; i < step; i++) part.args.push(args[spec.firstKey + order * step + i]!);
  });
  const join = new Join([...parts.values()], route.join, keys.length, sink, token);
  join.parts.forEach((part, i) => {
    run(keyspace, isWrite, part, join, i, options);
  });
}

interface Part {
  readonly keys: Bytes[];
  readonly args: Bytes[];
  /** Where each key stood in the request. */
  readonly orders: number[];
}

function run(
  keyspace: KeyspaceRequests,
  isWrite: boolean,
  { keys, args }: { readonly keys: readonly Bytes[]; readonly args: CommandArgs },
  sink: ReplySink<Reply>,
  token: number,
  options: AskOptions | undefined,
): void {
  if (keys.length === 1) {
    if (isWrite) keyspace.submit(keys[0]!, args, sink, token);
    else keyspace.ask(keys[0]!, args, sink, token, options);
  } else if (isWrite) keyspace.submitMany(keys, args, sink, token);
  else keyspace.askMany(keys, args, sink, token, options);
}

/** Waits for the answers of all parts; the token of a part is its index. */
class Join implements ReplySink<Reply> {
  readonly parts: readonly Part[];
  readonly #how: 'sum' | 'array' | 'ok';
  readonly #sink: ReplySink<Reply>;
  readonly #token: number;
  readonly #array: Reply[];
  #missing: number;
  #sum = 0;
  #error: Reply | undefined;
  #failure: Error | undefined;

  constructor(parts: readonly Part[], how: 'sum' | 'array' | 'ok', keyCount: number, sink: ReplySink<Reply>, token: number) {
    this.parts = parts;
    this.#how = how;
    this.#sink = sink;
    this.#token = token;
    this.#missing = parts.length;
    this.#array = how === 'array' ? new Array<Reply>(keyCount).fill(null) : [];
  }

  settled(index: number, reply: Reply): void {
    if (this.#how === 'sum' && typeof reply === 'number') this.#sum += reply;
    else if (this.#how === 'array' && Array.isArray(reply)) {
      this.parts[index]!.orders.forEach((order, i) => {
        this.#array[order] = (reply as readonly Reply[])[i]!;
      });
    } else if (this.#how !== 'ok' || reply !== OK) this.#error ??= reply; // an error reply of the module
    this.#done();
  }

  failed(_index: number, error: Error): void {
    this.#failure ??= error;
    this.#done();
  }

  #done(): void {
    if (--this.#missing > 0) return;
    if (this.#failure) this.#sink.failed(this.#token, this.#failure);
    else if (this.#error !== undefined) this.#sink.settled(this.#token, this.#error);
    else this.#sink.settled(this.#token, this.#how === 'sum' ? this.#sum : this.#how === 'array' ? this.#array : OK);
  }
}
