import { assert } from '../base/assert.ts';
import type { Bytes } from '../base/bytes.ts';
import { fromUtf8 } from '../base/bytes.ts';
import { KeyfleetError } from '../base/errors.ts';
import type { KeyspaceCounts, KeyspaceHandle, ReplySink } from '../node/keyspace-handle.ts';
import type { CommandArgs } from '../shard/redis/command-table.ts';
import { dumpQuery, restoreCommand } from '../shard/redis/door-collections.ts';
import { deleteCommand, getQuery, putCommand } from '../shard/redis/door-commands.ts';
import { CONDITION_FAILED, CREATED, DELETED } from '../shard/redis/door-replies.ts';
import type { Reply } from '../shard/redis/reply.ts';
import { isString, type RedisValue } from '../shard/redis/value.ts';
import type { RequestId } from '../shard/request-id.ts';
import type { CollectionRecord } from './collection-json.ts';
import type { DeleteOutcome, Found, Held, HttpKeyspace, PutOutcome, ScanPage, ShardStatus, WriteOptions } from './http-store.ts';

export type RedisHandle = KeyspaceHandle<RedisValue, CommandArgs, Reply, CommandArgs, Reply>;

/** The keyspace that RESP serves, as the HTTP door sees it: the same strings. */
export class RedisHttpKeyspace implements HttpKeyspace {
  readonly #handle: RedisHandle;
  readonly #answers = new Answers();

  constructor(handle: RedisHandle) {
    this.#handle = handle;
  }

  /** Whether it stands on `handle`: a keyspace that was taken away and made again has another. */
  isOf(handle: RedisHandle): boolean {
    return this.#handle === handle;
  }

  get name(): string {
    return this.#handle.name;
  }

  async counts(): Promise<KeyspaceCounts> {
    return this.#handle.counts();
  }

  get keyCount(): number {
    return this.#handle.keyCount;
  }

  get sizeBytes(): number {
    return this.#handle.sizeBytes;
  }

  get expiringCount(): number {
    return this.#handle.expiringCount;
  }

  shards(): readonly ShardStatus[] {
    return this.#handle.shardStats().map((shard) => ({ ...shard, id: String(shard.id) }));
  }

  async get(key: Bytes): Promise<Found | undefined> {
    const reply = await this.#answers.of((sink, token) => this.#handle.ask(key, getQuery(key), sink, token));
    if (reply === null) return undefined;
    assert(Array.isArray(reply), () => 'a get answers a value and its time to live');
    const [value, ttlMs] = reply as unknown as readonly [Bytes, number];
    return { value, ttlMs: ttlMs < 0 ? undefined : ttlMs };
  }

  put(key: Bytes, value: Bytes, options: WriteOptions & { readonly ttlMs: number | undefined }): Promise<PutOutcome> {
    const command = putCommand(key, value, options);
    const answer = this.#answers.of((sink, token) => this.#handle.submit(key, command, sink, token, options.request));
    return answer.then((reply) => (reply === CREATED ? 'created' : reply === CONDITION_FAILED ? 'condition-failed' : 'replaced'));
  }

  async read(key: Bytes): Promise<Held | undefined> {
    const reply = await this.#answers.of((sink, token) => this.#handle.ask(key, dumpQuery(key), sink, token));
    if (reply === null) return undefined;
    assert(Array.isArray(reply), () => 'a dump answers a type, a time to live and parts');
    const [type, ttlMs, parts] = reply as unknown as readonly [Bytes, number, readonly Bytes[]];
    return { type: fromUtf8(type) as Held['type'], parts, ttlMs: ttlMs < 0 ? undefined : ttlMs };
  }

  async restore({ key, type, parts, from, ttlMs }: CollectionRecord, request: RequestId | undefined): Promise<PutOutcome> {
    const command = restoreCommand(key, { kind: type, parts, from, ttlMs });
    const reply = await this.#answers.of((sink, token) => this.#handle.submit(key, command, sink, token, request));
    return reply === CREATED ? 'created' : 'replaced';
  }

  async delete(key: Bytes, { condition, request }: WriteOptions): Promise<DeleteOutcome> {
    const command = deleteCommand(key, condition);
    const reply = await this.#answers.of((sink, token) => this.#handle.submit(key, command, sink, token, request));
    return reply === DELETED ? 'deleted' : reply === CONDITION_FAILED ? 'condition-failed' : 'absent';
  }

  async scan(options: { readonly cursor: number; readonly limit: number }): Promise<ScanPage> {
    const { records, next } = await this.#handle.scan(options);
    const nowMs = Date.now();
    return {
      next,
      records: records.map(({ key, value, expireAtMs, sizeBytes }) => ({
        key,
        value: isString(value) ? value : undefined,
        type: isString(value) ? 'string' : value.kind,
        ttlMs: expireAtMs === undefined ? undefined : Math.max(1, expireAtMs - nowMs),
        sizeBytes,
      })),
    };
  }
}

/** Turns answers to numbered submissions into promises. */
class Answers implements ReplySink<Reply> {
  readonly #waiting = new Map<number, { readonly resolve: (reply: Reply) => void; readonly reject: (error: Error) => void }>();
  #nextToken = 0;

  of(submit: (sink: ReplySink<Reply>, token: number) => void): Promise<Reply> {
    return new Promise((resolve, reject) => {
      const token = this.#nextToken++;
      this.#waiting.set(token, { resolve, reject });
      submit(this, token);
    });
  }

  settled(token: number, reply: Reply): void {
    const waiting = this.#take(token);
    const error = errorOf(reply);
    if (error) waiting.reject(error);
    else waiting.resolve(reply);
  }

  failed(token: number, error: Error): void {
    this.#take(token).reject(error);
  }

  #take(token: number): { readonly resolve: (reply: Reply) => void; readonly reject: (error: Error) => void } {
    const waiting = this.#waiting.get(token);
    assert(waiting !== undefined, () => `submission ${token} is answered twice`);
    this.#waiting.delete(token);
    return waiting;
  }
}

/** An error reply in Redis's words as an error of ours. */
function errorOf(reply: Reply): KeyfleetError | undefined {
  if (typeof reply !== 'object' || reply === null || !('kind' in reply) || reply.kind !== 'error') return undefined;
  if (reply.text.startsWith('WRONGTYPE')) return new KeyfleetError('KF_WRONG_TYPE', 'the key holds something else than a string');
  return new KeyfleetError('KF_REFUSED', reply.text);
}
