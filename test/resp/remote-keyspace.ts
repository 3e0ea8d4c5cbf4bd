import type { Bytes } from '../../src/base/bytes.ts';
import { Prng } from '../../src/base/prng.ts';
import type {
  AskOptions,
  KeyspaceCounts,
  ReplySink,
  ScannedKeys,
  ScannedPage,
  ScannedRecord,
  ScanOptions,
} from '../../src/node/keyspace-handle.ts';
import type { RedisKeyspace } from '../../src/resp/door.ts';
import { commandArgsCodec, queryArgsCodec } from '../../src/shard/redis/args-codec.ts';
import type { CommandArgs } from '../../src/shard/redis/command-table.ts';
import type { Reply } from '../../src/shard/redis/reply.ts';
import { replyCodec } from '../../src/shard/redis/reply-codec.ts';

const MOST_MS = 6;

/** A keyspace as if it were on another node: requests and answers are written down, take some milliseconds, and overtake each other. */
export class RemoteKeyspace<Value> implements RedisKeyspace<Value> {
  readonly isLocal = false;
  readonly #there: RedisKeyspace<Value>;
  readonly #prng = new Prng(7);
  #underWay = 0;

  constructor(there: RedisKeyspace<Value>) {
    this.#there = there;
  }

  get name(): string {
    return this.#there.name;
  }
  get keyCount(): number {
    return this.#there.keyCount;
  }
  get sizeBytes(): number {
    return this.#there.sizeBytes;
  }
  get expiringCount(): number {
    return this.#there.expiringCount;
  }

  /** Nothing is on its way. */
  get isIdle(): boolean {
    return this.#underWay === 0;
  }

  submit(key: Bytes, args: CommandArgs, sink: ReplySink<Reply>, token: number): void {
    const sent = commandArgsCodec.encode(args);
    this.#later(() => this.#there.submit(key, commandArgsCodec.decode(sent), this.#back(sink), token));
  }

  submitMany(keys: readonly Bytes[], args: CommandArgs, sink: ReplySink<Reply>, token: number): void {
    const sent = commandArgsCodec.encode(args);
    this.#later(() => this.#there.submitMany(keys, commandArgsCodec.decode(sent), this.#back(sink), token));
  }

  ask(key: Bytes, args: CommandArgs, sink: ReplySink<Reply>, token: number, options?: AskOptions): void {
    const sent = queryArgsCodec.encode(args);
    this.#later(() => this.#there.ask(key, queryArgsCodec.decode(sent), this.#back(sink), token, options));
  }

  askMany(keys: readonly Bytes[], args: CommandArgs, sink: ReplySink<Reply>, token: number, options?: AskOptions): void {
    const sent = queryArgsCodec.encode(args);
    this.#later(() => this.#there.askMany(keys, queryArgsCodec.decode(sent), this.#back(sink), token, options));
  }

  async scan(options: ScanOptions): Promise<ScannedPage<Value>> {
    return this.#there.scan(options);
  }

  async scanKeys(options: ScanOptions): Promise<ScannedKeys> {
    return this.#there.scanKeys(options);
  }
  async sample(unit: number): Promise<ScannedRecord<Value> | undefined> {
    return this.#there.sample(unit);
  }
  async counts(): Promise<KeyspaceCounts> {
    return this.#there.counts();
  }
  shardStats(): ReturnType<RedisKeyspace['shardStats']> {
    return this.#there.shardStats();
  }
  /** A replica hears of it when it comes to it. */
  onChange(listener: (key: Bytes | undefined) => void): () => void {
    return this.#there.onChange((key) => this.#later(() => listener(key)));
  }
  async watch(keys: readonly Bytes[], listener: () => void): Promise<() => void> {
    await new Promise<void>((resolve) => this.#later(resolve));
    return this.#there.watch(keys, () => this.#later(listener));
  }
  clear(): Promise<void> {
    return this.#there.clear();
  }

  #back(sink: ReplySink<Reply>): ReplySink<Reply> {
    return {
      settled: (token, reply) => {
        const sent = replyCodec.encode(reply);
        this.#later(() => sink.settled(token, replyCodec.decode(sent)));
      },
      failed: (token, error) => this.#later(() => sink.failed(token, error)),
    };
  }

  #later(run: () => void): void {
    this.#underWay++;
    setTimeout(() => {
      this.#underWay--;
      run();
    }, this.#prng.below(MOST_MS));
  }
}
