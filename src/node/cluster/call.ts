import type { Bytes } from '../../base/bytes.ts';
import type { LoadCommand } from '../../shard/load.ts';
import { messagePack } from '../../shard/message-pack.ts';
import type { AckLevel } from '../../shard/replica/acks.ts';
import type { ReplySink } from '../../shard/reply-sink.ts';
import type { RequestId } from '../../shard/request-id.ts';
import type { ValueCodec } from '../../shard/value-module.ts';
import type { ReadMode } from '../replica-driver.ts';
import type { CallKind } from './call-wire.ts';
import type { AnyModule, HostedShard, ShardKeyspace } from './hosted-shard.ts';
import { type LookRequest, lookAnswerCodec, lookAt } from './look.ts';

export interface CallOptions {
  readonly kind: CallKind;
  readonly keyspace: ShardKeyspace;
  /** The first of its keys. */
  readonly key: Bytes;
  readonly position: number;
  /** The command or query. */
  readonly body: unknown;
  readonly request?: RequestId | undefined;
  readonly read?: ReadMode | undefined;
  readonly ack?: AckLevel | undefined;
  readonly minSeq?: number | undefined;
  readonly sink: ReplySink<never>;
  readonly token: number;
  /** Whoever asks waits until then, by the node's own clock. */
  readonly deadlineMs: number;
  /** After that it is not tried again: it would hardly be told what became of it. Default: `deadlineMs`. */
  readonly lastTryMs?: number | undefined;
}

/** A request on its way to whichever node can answer it; the sink of its own attempts. */
export class Call implements ReplySink<unknown> {
  readonly kind: CallKind;
  readonly keyspace: ShardKeyspace;
  readonly key: Bytes;
  readonly position: number;
  readonly body: unknown;
  readonly request: RequestId | undefined;
  readonly read: ReadMode;
  readonly ack: AckLevel;
  readonly minSeq: number;
  readonly deadlineMs: number;
  readonly lastTryMs: number;
  readonly #sink: ReplySink<never>;
  readonly #token: number;
  readonly #onFailed: (call: Call, error: Error) => void;
  #encoded: Bytes | undefined;
  /** The shard that was tried last, and the node that was asked. */
  shard = -1;
  asked = '';
  attempts = 0;
  /** Something that was sent may have been done, and it is not known. */
  isDoubtful = false;

  /** `onFailed`: an attempt came to nothing, or nobody knows what it came to. */
  constructor(options: CallOptions, onFailed: (call: Call, error: Error) => void) {
    this.kind = options.kind;
    this.keyspace = options.keyspace;
    this.key = options.key;
    this.position = options.position;
    this.body = options.body;
    this.request = options.request;
    this.read = options.read ?? 'lease';
    this.ack = options.ack ?? 'log+1';
    this.minSeq = options.minSeq ?? 0;
    this.deadlineMs = options.deadlineMs;
    this.lastTryMs = options.lastTryMs ?? options.deadlineMs;
    this.#sink = options.sink;
    this.#token = options.token;
    this.#onFailed = onFailed;
  }

  get isQuery(): boolean {
    return isQueryKind(this.kind);
  }

  /** Doing it twice is doing it once. */
  get isRepeatable(): boolean {
    return this.request !== undefined || this.kind === 'clear' || this.kind === 'load' || this.isQuery;
  }

  /** The command or query as it goes to another node. */
  get encoded(): Bytes {
    this.#encoded ??= bodyCodecOf(this.keyspace.module, this.kind).encode(this.body);
    return this.#encoded;
  }

  /** Has the replica on this node run it; there must be one. */
  runOn(shard: HostedShard): void {
    const { key, body, read, minSeq, request, ack, deadlineMs } = this;
    const driver = shard.driver!;
    switch (this.kind) {
      case 'query':
        driver.ask(key, body, this, 0, read, minSeq, deadlineMs);
        break;
      case 'query-many':
        driver.askMany(key, body, this, 0, read, minSeq, deadlineMs);
        break;
      case 'look':
        driver.look(() => lookAt(shard, body as LookRequest), this, 0, read, minSeq, deadlineMs);
        break;
      case 'clear':
        // Whoever asks again finds that it is done.
        if (shard.state!.table >= (body as ClearRequest).table) this.settled(0, undefined);
        else driver.submit({ kind: 'clear', table: (body as ClearRequest).table }, this, 0, ack, deadlineMs);
        break;
      case 'load':
        driver.submit({ kind: 'load', load: (body as LoadRequest).load }, this, 0, ack, deadlineMs);
        break;
      default:
        driver.submit({ kind: this.kind, key, command: body, ...(request ? { request } : {}) }, this, 0, ack, deadlineMs);
    }
  }

  settled(_token: number, reply: unknown): void {
    this.#sink.settled(this.#token, reply as never);
  }

  failed(_token: number, error: Error): void {
    this.#onFailed(this, error);
  }

  /** Ends it: there will be no other attempt. */
  giveUp(error: Error): void {
    this.#sink.failed(this.#token, error);
  }
}

/** Of a whole shard: leaves its table for an empty one. */
export interface ClearRequest {
  readonly position: number;
  readonly table: number;
}

/** A step of a restore. */
export interface LoadRequest {
  readonly position: number;
  readonly load: LoadCommand;
}

export function isQueryKind(kind: CallKind): boolean {
  return kind === 'query' || kind === 'query-many' || kind === 'look';
}

/** How what is asked goes from node to node. */
export function bodyCodecOf(module: AnyModule, kind: CallKind): ValueCodec<unknown> {
  if (namesPlace(kind)) return messagePack();
  return isQueryKind(kind) ? (module.queryCodec ?? messagePack()) : module.commandCodec;
}

/** How the answers go. */
export function replyCodecOf(module: AnyModule, kind: CallKind): ValueCodec<unknown> {
  if (kind === 'look') return lookAnswerCodec(module);
  if (kind === 'clear' || kind === 'load') return messagePack();
  return (isQueryKind(kind) ? module.answerCodec : module.replyCodec) ?? messagePack();
}

/** Where a request belongs that names a place instead of a key; undefined: where its key does. */
export function placeOf(kind: CallKind, body: unknown): number | undefined {
  return namesPlace(kind) ? (body as LookRequest | ClearRequest | LoadRequest).position : undefined;
}

function namesPlace(kind: CallKind): boolean {
  return kind === 'look' || kind === 'clear' || kind === 'load';
}
