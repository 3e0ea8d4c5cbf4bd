import { type Bytes, fromUtf8, utf8 } from '../../src/base/bytes.ts';
import type { KeyfleetError } from '../../src/base/errors.ts';
import { Prng } from '../../src/base/prng.ts';
import type { KeyspaceCounts, ReplySink, ScannedPage, ScannedRecord, ShardStats } from '../../src/node/keyspace-handle.ts';
import type { RedisKeyspace } from '../../src/resp/door.ts';
import { errorReply, OK, type Reply } from '../../src/shard/redis/reply.ts';

/** When the fake answers: inside the call, or some milliseconds later and out of order. */
export type Delivery = 'now' | 'later';

/**
 * A keyspace of strings for tests of the door alone: it can answer late, out of order, or never. GET, SET, APPEND, DEL, EXISTS, MGET, MSET.
 * The store itself is tested behind the door in test/resp/store.test.ts.
 */
export class FakeKeyspace implements RedisKeyspace<Bytes> {
  readonly name = 'default';
  readonly isLocal = true;
  readonly values = new Map<string, Bytes>();
  /** The requests of the many-forms, as they came. */
  readonly many: string[] = [];
  /** A write to this key fails with the error. */
  failing: { readonly key: string; readonly error: KeyfleetError } | undefined;
  /** While true, answers pile up; with `holdsWrites`, those to writes of one key. */
  isStuck = false;
  holdsWrites = false;
  #stuck: (() => void)[] = [];
  readonly #delivery: Delivery;
  readonly #prng = new Prng(1);

  constructor(delivery: Delivery = 'now') {
    this.#delivery = delivery;
  }

  submit(_key: Bytes, command: readonly Bytes[], sink: ReplySink<Reply>, token: number): void {
    this.#answer(command, sink, token, this.holdsWrites);
  }

  ask(_key: Bytes, query: readonly Bytes[], sink: ReplySink<Reply>, token: number): void {
    this.#answer(query, sink, token);
  }

  submitMany(_keys: readonly Bytes[], command: readonly Bytes[], sink: ReplySink<Reply>, token: number): void {
    this.many.push(command.map(fromUtf8).join(' '));
    this.#answer(command, sink, token);
  }

  askMany(_keys: readonly Bytes[], query: readonly Bytes[], sink: ReplySink<Reply>, token: number): void {
    this.many.push(query.map(fromUtf8).join(' '));
    this.#answer(query, sink, token);
  }

  /** Nothing is told: what is tested with this does not wait for changes. */
  onChange(): () => void {
    return () => {};
  }

  watch(): () => void {
    return () => {};
  }

  unstick(): void {
    this.isStuck = false;
    this.holdsWrites = false;
    for (const one of this.#stuck.splice(0)) one();
  }

  #answer(args: readonly Bytes[], sink: ReplySink<Reply>, token: number, isHeld = this.isStuck): void {
    const { failing } = this;
    const answer =
      failing && args.slice(1).some((arg) => fromUtf8(arg) === failing.key)
        ? () => sink.failed(token, failing.error)
        : (
            (reply: Reply) => () =>
              sink.settled(token, reply)
          )(this.#run(args));
    if (isHeld || this.isStuck) this.#stuck.push(answer);
    else if (this.#delivery === 'now') answer();
    else setTimeout(answer, this.#prng.below(8));
  }

  #run(args: readonly Bytes[]): Reply {
    const [name, ...rest] = args;
    const key = fromUtf8(rest[0]!);
    switch (fromUtf8(name!).toLowerCase()) {
      case 'get':
        return this.values.get(key) ?? null;
      case 'set':
        this.values.set(key, rest[1]!.slice());
        return OK;
      case 'append': {
        const value = Buffer.concat([this.values.get(key) ?? utf8(''), rest[1]!]);
        this.values.set(key, value);
        return value.length;
      }
      case 'del':
        return rest.filter((one) => this.values.delete(fromUtf8(one))).length;
      case 'exists':
        return rest.filter((one) => this.values.has(fromUtf8(one))).length;
      case 'mget':
        return rest.map((one) => this.values.get(fromUtf8(one)) ?? null);
      case 'mset':
        for (let i = 0; i < rest.length; i += 2) this.values.set(fromUtf8(rest[i]!), rest[i + 1]!.slice());
        return OK;
      default:
        return errorReply('ERR the fake has no such command');
    }
  }

  scan({ cursor, limit }: { readonly cursor: number; readonly limit: number }): ScannedPage<Bytes> {
    const all = [...this.values].sort(([a], [b]) => (a < b ? -1 : 1));
    const records = all.slice(cursor, cursor + limit).map(([key, value], i) => record(key, value, cursor + i));
    return { records, next: cursor + limit < all.length ? cursor + limit : undefined };
  }

  scanKeys(options: { readonly cursor: number; readonly limit: number }): ScannedPage<Bytes> {
    return this.scan(options);
  }

  counts(): KeyspaceCounts {
    return { keyCount: this.keyCount, sizeBytes: this.sizeBytes, expiringCount: 0 };
  }

  shardStats(): readonly ShardStats[] {
    return [];
  }

  sample(unit: number): ScannedRecord<Bytes> | undefined {
    const all = [...this.values];
    const chosen = all[Math.floor(unit * all.length)];
    return chosen && record(...chosen, 0);
  }

  get keyCount(): number {
    return this.values.size;
  }

  get sizeBytes(): number {
    return [...this.values.values()].reduce((sum, value) => sum + value.length, 0);
  }

  readonly expiringCount = 0;

  clear(): Promise<void> {
    this.values.clear();
    return Promise.resolve();
  }
}

function record(key: string, value: Bytes, position: number): ScannedRecord<Bytes> {
  return { key: utf8(key), position, value, expireAtMs: undefined, sizeBytes: value.length };
}
