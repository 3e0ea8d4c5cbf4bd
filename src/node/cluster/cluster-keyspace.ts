import type { Bytes } from '../../base/bytes.ts';
import { KeyfleetError } from '../../base/errors.ts';
import { type KeyspaceRecord, mapOf } from '../../shard/meta/meta-records.ts';
import type { KeyspacePolicy } from '../../shard/policy.ts';
import type { RequestId } from '../../shard/request-id.ts';
import type { ValueModule } from '../../shard/value-module.ts';
import { tellingSink } from '../answer-teller.ts';
import type { KeyspaceBackup } from '../backup/range-reading.ts';
import type {
  AskOptions,
  KeyspaceCounts,
  KeyspaceHandle,
  ReplySink,
  ScannedKeys,
  ScannedPage,
  ScannedRecord,
  ScanOptions,
  ShardStats,
  SubmitOptions,
} from '../keyspace-handle.ts';
import type { NodeClock } from '../node-clock.ts';
import type { CallOptions } from './call.ts';
import type { CallKind } from './call-wire.ts';
import { type BackupSurroundings, ClusterBackup } from './cluster-backup.ts';
import type { ShardKeyspace } from './hosted-shard.ts';
import type { WatchedPlace } from './key-watches.ts';
import type { LookAnswer, LookRequest } from './look.ts';
import type { CallRouter } from './router.ts';

const POSITIONS = 0x1_0000_0000;
const NO_KEY: Bytes = new Uint8Array(0);
const LONGEST_SLACK_MS = 500;
/** A request that has less time left, or less than a quarter of it, is not tried again. */
const LAST_TRY_MS = 1_000;

/** Where a key is. */
export interface KeyPlace {
  readonly shard: number;
  /** The node that leads the shard, as far as this one knows. */
  readonly leader: string | undefined;
  /** That is this node. */
  readonly isHere: boolean;
}

/** What a keyspace needs of its node. */
export interface KeyspaceSurroundings {
  readonly clock: NodeClock;
  readonly router: CallRouter;
  readonly maxKeyBytes: number;
  readonly requestTimeoutMs: number;
  /** As the meta shard has it now; undefined: it is no more. */
  readonly record: () => KeyspaceRecord | undefined;
  readonly shardStats: () => readonly ShardStats[];
  readonly clearTable: () => Promise<number>;
  readonly listen: (listener: (key: Bytes | undefined) => void) => () => void;
  readonly watch: (keys: readonly Bytes[], place: (key: Bytes) => WatchedPlace, listener: () => void) => Promise<() => void>;
  readonly backups: BackupSurroundings;
  /** Told of each query that was answered to a client of this node. */
  readonly onAnswer?: ((key: Bytes, query: never, answer: unknown) => void) | undefined;
}

/** A keyspace whose shards are on the nodes of a cluster; any node takes any request. */
export class ClusterKeyspace<Value, Command, Reply, Query, Answer> implements KeyspaceHandle<Value, Command, Reply, Query, Answer> {
  readonly name: string;
  readonly id: number;
  readonly module: ValueModule<Value, Command, Reply, Query, Answer>;
  readonly isLocal = false;
  readonly backup: KeyspaceBackup;
  readonly #keyspace: ShardKeyspace;
  readonly #world: KeyspaceSurroundings;

  constructor(keyspace: ShardKeyspace, world: KeyspaceSurroundings) {
    this.name = keyspace.name;
    this.id = keyspace.id;
    this.module = keyspace.module as unknown as ValueModule<Value, Command, Reply, Query, Answer>;
    this.#keyspace = keyspace;
    this.#world = world;
    this.backup = new ClusterBackup(
      world.backups,
      keyspace,
      () => this.#record(),
      (kind, position, body) => this.#request(kind, position, body),
    );
  }

  get scheme() {
    return this.#keyspace.scheme!;
  }

  submit(key: Bytes, command: Command, sink: ReplySink<Reply>, token: number, request?: RequestId, options: SubmitOptions = {}): void {
    if (this.#isRefused(key, sink, token)) return;
    const { ack, timeoutMs } = options;
    this.#send('command', key, this.scheme.position(key), command, sink, token, { request, ack, timeoutMs });
  }

  ask(key: Bytes, query: Query, sink: ReplySink<Answer>, token: number, options: AskOptions = {}): void {
    if (this.#isRefused(key, sink, token)) return;
    const tell = this.#world.onAnswer;
    const told = tell ? tellingSink(sink, (answer) => tell(key, query as never, answer)) : sink;
    this.#send('query', key, this.scheme.position(key), query, told, token, options);
  }

  submitMany(
    keys: readonly Bytes[],
    command: Command,
    sink: ReplySink<Reply>,
    token: number,
    request?: RequestId,
    options: SubmitOptions = {},
  ): void {
    const position = this.#placeOfAll(keys, sink, token);
    const { ack, timeoutMs } = options;
    if (position !== undefined) this.#send('command-many', keys[0]!, position, command, sink, token, { request, ack, timeoutMs });
  }

  askMany(keys: readonly Bytes[], query: Query, sink: ReplySink<Answer>, token: number, options: AskOptions = {}): void {
    const position = this.#placeOfAll(keys, sink, token);
    if (position !== undefined) this.#send('query-many', keys[0]!, position, query, sink, token, options);
  }

  /** @see KeyspaceHandle.scan. One page is of one shard. */
  async scan({ cursor, limit, end = POSITIONS, read }: ScanOptions & AskOptions): Promise<ScannedPage<Value>> {
    const answer = await this.#look({ what: 'scan', position: cursor, limit, end }, read);
    const next = answer.next ?? (answer.range.to < end ? answer.range.to : undefined);
    return { records: answer.records as readonly ScannedRecord<Value>[], next };
  }

  /** @see KeyspaceHandle.scanKeys. The leaders send what lies under the keys all the same. */
  scanKeys(options: ScanOptions): Promise<ScannedKeys> {
    return this.scan(options);
  }

  /** @see KeyspaceHandle.sample. Which shard is asked depends on what its leader last reported of its size. */
  async sample(unit: number): Promise<ScannedRecord<Value> | undefined> {
    const shards = this.shardStats();
    const total = shards.reduce((sum, { keyCount }) => sum + keyCount, 0);
    let at = unit * total;
    let index = total === 0 ? Math.floor(unit * shards.length) : 0;
    for (; total > 0 && index < shards.length - 1; index++) {
      if (at < shards[index]!.keyCount) break;
      at -= shards[index]!.keyCount;
    }
    for (let tried = 0; tried < shards.length; tried++) {
      const shard = shards[(index + tried) % shards.length]!;
      const within = tried === 0 && shard.keyCount > 0 ? Math.min(at / shard.keyCount, 1 - Number.EPSILON) : unit;
      const { records } = await this.#look({ what: 'sample', position: shard.from, unit: within });
      if (records.length > 0) return records[0] as ScannedRecord<Value>;
    }
    return undefined;
  }

  async counts(): Promise<KeyspaceCounts> {
    const answers = await Promise.all(
      mapOf(this.#record()).shards.map(({ range }) => this.#look({ what: 'counts', position: range.from })),
    );
    return sumOf(answers);
  }

  get keyCount(): number {
    return sumOf(this.shardStats()).keyCount;
  }

  get sizeBytes(): number {
    return sumOf(this.shardStats()).sizeBytes;
  }

  get expiringCount(): number {
    return sumOf(this.shardStats()).expiringCount;
  }

  shardStats(): readonly ShardStats[] {
    return this.#world.shardStats();
  }

  onChange(listener: (key: Bytes | undefined) => void): () => void {
    return this.#world.listen(listener);
  }

  watch(keys: readonly Bytes[], listener: () => void): Promise<() => void> {
    const place = (key: Bytes): WatchedPlace => {
      const { router } = this.#world;
      const shard = router.shardAt(this.#keyspace, this.scheme.position(key));
      if (shard === undefined) return { leader: undefined };
      return router.isHere(shard) ? 'here' : { leader: router.leaderOf(shard) };
    };
    return this.#world.watch(keys, place, listener);
  }

  /** Shard by shard: while it goes on, some are empty and some are not yet. Fulfilled when all are. @throws KF_UNAVAILABLE; then it may be done again. */
  async clear(): Promise<void> {
    const table = await this.#world.clearTable();
    const { shards } = mapOf(this.#record());
    await Promise.all(shards.map(({ range: { from: position } }) => this.#request('clear', position, { position, table })));
  }

  where(key: Bytes): KeyPlace {
    const { router } = this.#world;
    const shard = router.shardAt(this.#keyspace, this.scheme.position(key));
    if (shard === undefined) throw this.#noKeyspace();
    const leader = router.leaderOf(shard);
    return { shard, leader, isHere: router.leadsHere(shard) };
  }

  /** Where to cut the shard that has a position in halves; undefined: nowhere. */
  async middleOf(position: number, policy: KeyspacePolicy, loadPerSecond: number): Promise<number | undefined> {
    return (await this.#look({ what: 'middle', position, policy, loadPerSecond })).next;
  }

  #look(request: LookRequest, read?: AskOptions['read']): Promise<LookAnswer> {
    return this.#request('look', request.position, request, read) as Promise<LookAnswer>;
  }

  #request(kind: CallKind, position: number, body: unknown, read?: AskOptions['read']): Promise<unknown> {
    return new Promise((resolve, reject) => {
      const sink = { settled: (_: number, answer: unknown) => resolve(answer), failed: (_: number, error: Error) => reject(error) };
      this.#send(kind, NO_KEY, position, body, sink, 0, { read });
    });
  }

  #send(
    kind: CallKind,
    key: Bytes,
    position: number,
    body: unknown,
    sink: ReplySink<never>,
    token: number,
    options: Pick<CallOptions, 'request' | 'read' | 'minSeq' | 'ack'> & Pick<SubmitOptions, 'timeoutMs'>,
  ): void {
    const { router, clock, requestTimeoutMs } = this.#world;
    const { request, read, minSeq, ack, timeoutMs } = options;
    const patienceMs = timeoutMs === undefined ? requestTimeoutMs : Math.min(requestTimeoutMs, timeoutMs - slackOf(timeoutMs));
    const deadlineMs = clock.now().monoMs + patienceMs;
    const lastTryMs = deadlineMs - Math.min(LAST_TRY_MS, patienceMs / 4);
    // Field by field: `...options` before other fields takes 6 us, half of what a lease read costs.
    router.send({ kind, keyspace: this.#keyspace, key, position, body, request, read, minSeq, ack, sink, token, deadlineMs, lastTryMs });
  }

  #isRefused(key: Bytes, sink: ReplySink<never>, token: number): boolean {
    const { maxKeyBytes } = this.#world;
    if (key.length <= maxKeyBytes) return false;
    sink.failed(token, new KeyfleetError('KF_KEY_TOO_LARGE', `a key of ${key.length} bytes; the limit is ${maxKeyBytes}`));
    return true;
  }

  #placeOfAll(keys: readonly Bytes[], sink: ReplySink<never>, token: number): number | undefined {
    const { groupShift } = this.scheme;
    const { router } = this.#world;
    let first: number | undefined;
    let group = -1;
    for (const key of keys) {
      if (this.#isRefused(key, sink, token)) return undefined;
      const position = this.scheme.position(key);
      const ofKey = groupShift === undefined ? (router.shardAt(this.#keyspace, position) ?? -1) : position >>> groupShift;
      if (first !== undefined && ofKey !== group) {
        const together = groupShift === undefined ? 'shard' : 'slot; a hash tag {…} keeps keys in one';
        sink.failed(token, new KeyfleetError('KF_CROSS_SLOT', `the ${keys.length} keys of the command are not in one ${together}`));
        return undefined;
      }
      first ??= position;
      group = ofKey;
    }
    if (first === undefined) sink.failed(token, new KeyfleetError('KF_BAD_COMMAND', 'a command over several keys names no key'));
    return first;
  }

  #record(): KeyspaceRecord {
    const record = this.#world.record();
    if (!record) throw this.#noKeyspace();
    return record;
  }

  #noKeyspace(): KeyfleetError {
    return new KeyfleetError('KF_NO_KEYSPACE', `there is no keyspace ${this.name}`);
  }
}

/** Whoever waits gives up at his own time, and then knows nothing: the answer is to be there before that. */
function slackOf(timeoutMs: number): number {
  return Math.min(LONGEST_SLACK_MS, timeoutMs / 4);
}

function sumOf(counts: readonly KeyspaceCounts[]): KeyspaceCounts {
  let [keyCount, sizeBytes, expiringCount] = [0, 0, 0];
  for (const one of counts) {
    keyCount += one.keyCount;
    sizeBytes += one.sizeBytes;
    expiringCount += one.expiringCount;
  }
  return { keyCount, sizeBytes, expiringCount };
}
