import { randomUUID } from 'node:crypto';
import {
  type ConsumerMessages,
  DeliverPolicy,
  JetStreamApiError,
  type JetStreamClient,
  type JetStreamManager,
  jetstream,
  jetstreamManager,
  type Placement,
  type StreamInfo,
} from '@nats-io/jetstream';
import type { NatsConnection } from '@nats-io/transport-node';
import { type Bytes, copyBytes } from '../base/bytes.ts';
import { KeyfleetError, messageOf } from '../base/errors.ts';
import type { AppendOutcome, EntrySeq, LogRecord, ShardLog } from '../log/log.ts';
import type { LogBasis } from '../shard/meta/shard-map.ts';
import { describeLog, identityOf, type LogIdentity } from './log-identity.ts';
import { checkStream, type LogStream, streamConfig } from './stream-config.ts';

// A shard's log as a JetStream stream: an entry is a message, its number the message's sequence, and "only behind number n" is the header
// Nats-Expected-Last-Sequence. The stream is a Raft group of its own; an answer comes once its quorum has the entry, and with `sync_interval:
// always` on its disks.
//
// What is believed of it (docs/protocol/jetstream-log.md): that an acknowledged entry has its number for good, that numbers have no gaps, that
// what one connection sends arrives in that order. What is not: any answer about "the last" entry, which a deposed leader may give, and that a
// consumer starts where it was told to.

export interface JetStreamLogOptions {
  /** Yours to close. One connection may carry any number of logs. */
  readonly connection: NatsConnection;
  /** Of the stream: letters, digits, `-` and `_`, at most 200. */
  readonly name: string;
  /** Make the stream when there is none. Default true. */
  readonly create?: boolean;
  /** Of a new stream: the entry behind which it begins. Default: the shard's first. */
  readonly basis?: LogBasis;
  /** Servers that hold a new stream: 1, 3 or 5. Default 3. */
  readonly replicas?: number;
  /** Where NATS may put a new stream. */
  readonly placement?: Placement;
  /** How long to wait for an acknowledgement before its fate is unknown, and for any other answer. Default 5,000 ms. */
  readonly timeoutMs?: number;
}

/** So long whoever reads waits for an answer. */
const ANSWER_MS = 2_000;
/** While servers elect a leader questions get lost, and the one that is asked when they have one is answered in milliseconds: so they are asked again meanwhile. */
const ASK_AGAIN_MS = 250;
/** So many entries are asked for by their numbers: that needs the log's own servers only, where a consumer is made by the leader of all servers. */
const FEW_ENTRIES = 32;
/** Beside the entry, a message carries its headers. */
const HEADERS_BYTES = 256;
/** As much of a log is on its way to a reader at any time. */
const READ_AHEAD_BYTES = 4 * 1024 * 1024;
/** After so long without an entry a reader asks whether any are left to come. */
const QUIET_MS = 2_000;
/** How often a consumer is to show that it lives: half of it. */
const PULL_EXPIRES_MS = 3_000;
const UNKNOWN_PAUSE_MS = 100;
const WRONG_LAST_SEQUENCE = [10071, 10164];
const STREAM_NOT_FOUND = 10059;
const STREAM_NAME_IN_USE = 10058;

/**
 * Opens the log, making its stream when there is none, unless it is told not to.
 * @throws KF_BAD_OPTION for a name that no stream can have; KF_LOG_UNSAFE for a stream that may lose or change entries; KF_LOG_LOST when there is none
 * and none was to be made; KF_UNAVAILABLE when the servers do not answer in time, or cannot hold it.
 */
export async function jetStreamLog(options: JetStreamLogOptions): Promise<JetStreamLog> {
  const { connection, name, create = true, replicas = 3, placement, basis, timeoutMs = 5_000 } = options;
  if (!/^[A-Za-z0-9_-]{1,200}$/.test(name)) throw new KeyfleetError('KF_BAD_OPTION', `a log cannot be called ${JSON.stringify(name)}`);
  const description = describeLog({ id: randomUUID(), basis });
  const log: LogStream = { name, replicas, description, ...(placement === undefined ? {} : { placement }) };
  const manager = await jetstreamManager(connection, { timeout: timeoutMs, checkAPI: false });
  const found = await findOrMake(manager, log, create);
  checkStream(log, found.config);
  const reader = await jetstreamManager(connection, { timeout: Math.min(timeoutMs, ANSWER_MS), checkAPI: false });
  return new JetStreamLog({ connection, manager, reader, name, timeoutMs, identity: identityOf(found) });
}

/** Of all streams that there are. @throws KF_UNAVAILABLE. */
export async function streamNames(connection: NatsConnection, timeoutMs = 5_000): Promise<string[]> {
  try {
    const manager = await jetstreamManager(connection, { timeout: timeoutMs, checkAPI: false });
    const names: string[] = [];
    for await (const name of manager.streams.names()) names.push(name);
    return names;
  } catch (error) {
    throw unavailable('names', error);
  }
}

async function findOrMake(manager: JetStreamManager, log: LogStream, create: boolean): Promise<StreamInfo> {
  try {
    return await manager.streams.info(log.name);
  } catch (error) {
    if (codeOf(error) !== STREAM_NOT_FOUND) throw unavailable(log.name, error);
    if (!create) throw lost(log.name, error);
  }
  try {
    return await manager.streams.add(streamConfig(log));
  } catch (error) {
    if (codeOf(error) !== STREAM_NAME_IN_USE) throw unavailable(log.name, error);
  }
  try {
    // Somebody else has just made it, as we do or otherwise; or is about to, and it is not found yet.
    return await manager.streams.info(log.name);
  } catch (error) {
    throw unavailable(log.name, error);
  }
}

export class JetStreamLog implements ShardLog {
  readonly name: string;
  readonly #connection: NatsConnection;
  readonly #manager: JetStreamManager;
  readonly #reader: JetStreamManager;
  readonly #stream: JetStreamClient;
  readonly #timeoutMs: number;
  /** @see ClusterLog */
  readonly id: string;
  readonly basis: LogBasis | undefined;
  /** The number of the entry before the stream's first message. */
  readonly #after: EntrySeq;
  #highestSeen = 0;
  /** The newest thing that went wrong, and when. */
  #trouble: { readonly what: string; readonly atMs: number } | undefined;

  /** Use {@link jetStreamLog}. */
  constructor(parts: {
    readonly connection: NatsConnection;
    readonly manager: JetStreamManager;
    readonly reader: JetStreamManager;
    readonly name: string;
    readonly timeoutMs: number;
    readonly identity: LogIdentity;
  }) {
    const { connection, manager, reader, name, timeoutMs, identity } = parts;
    this.id = identity.id;
    this.basis = identity.basis;
    this.#after = identity.basis?.seq ?? 0;
    this.name = name;
    this.#connection = connection;
    this.#manager = manager;
    this.#reader = reader;
    this.#stream = jetstream(connection, { timeout: Math.min(timeoutMs, ANSWER_MS) });
    this.#timeoutMs = timeoutMs;
  }

  /** The longest entry that the servers take: their `max_payload`, 1 MiB unless they are told otherwise, less what the headers need. */
  get maxEntryBytes(): number {
    return (this.#connection.info?.max_payload ?? 1024 * 1024) - HEADERS_BYTES;
  }

  /**
   * Several may be in flight, each behind the number that the one before will have.
   * @throws KF_ENTRY_TOO_LARGE beyond {@link maxEntryBytes}, before anything is sent.
   */
  async append(entry: Bytes, expectedLastSeq: EntrySeq): Promise<AppendOutcome> {
    const { maxEntryBytes } = this;
    if (entry.length > maxEntryBytes) {
      const limit = `the NATS servers take ${maxEntryBytes} (max_payload)`;
      throw new KeyfleetError('KF_ENTRY_TOO_LARGE', `an entry of ${entry.length} bytes; ${limit}`);
    }
    try {
      const ack = await this.#stream.publish(this.name, entry, {
        expect: { streamName: this.name, lastSequence: expectedLastSeq - this.#after },
        timeout: this.#timeoutMs,
      });
      const seq = ack.seq + this.#after;
      this.#saw(seq);
      return { kind: 'appended', seq };
    } catch (error) {
      if (!WRONG_LAST_SEQUENCE.includes(codeOf(error))) {
        this.#note(`an append behind ${expectedLastSeq}: ${messageOf(error)}`);
        // It may have been refused at once, by a connection that is closed or servers without a leader: whoever tries again does so at a bearable pace.
        await new Promise((resolve) => setTimeout(resolve, UNKNOWN_PAUSE_MS));
        return { kind: 'unknown' };
      }
      const told = /wrong last sequence: (\d+)/.exec(messageOf(error))?.[1];
      const lastSeq = told === undefined ? await this.lastSeq() : Number(told) + this.#after;
      this.#saw(lastSeq);
      this.#note(`an append behind ${expectedLastSeq}, but ${lastSeq} was the last`);
      return { kind: 'conflict', lastSeq };
    }
  }

  /** The highest number that the servers have spoken of since the log was opened. A hint, as {@link lastSeq} is. */
  get highestSeen(): EntrySeq {
    return this.#highestSeen;
  }

  #saw(seq: EntrySeq): void {
    if (seq > this.#highestSeen) this.#highestSeen = seq;
  }

  /** The server that it is asked through, and what went wrong last: for people who look for a fault. */
  describe(): string {
    const said = [`server ${this.#connection.getServer()}`, `entries up to ${this.#highestSeen} were spoken of`];
    if (this.#trouble) said.push(`${((Date.now() - this.#trouble.atMs) / 1_000).toFixed(1)} s ago ${this.#trouble.what}`);
    return said.join('; ');
  }

  #note(what: string): void {
    this.#trouble = { what, atMs: Date.now() };
  }

  /** @throws KF_LOG_TRUNCATED; KF_LOG_LOST when the stream is gone; KF_UNAVAILABLE */
  async *read(fromSeq: EntrySeq): AsyncIterableIterator<LogRecord> {
    const lastSeq = await this.lastSeq();
    if (fromSeq > lastSeq) {
      await this.#checkStart(fromSeq);
      return;
    }
    let next = fromSeq;
    if (lastSeq - fromSeq < FEW_ENTRIES) {
      const count = lastSeq - fromSeq + 1;
      for (const record of await Promise.all(Array.from({ length: count }, (_, i) => this.#get(fromSeq + i)))) {
        if (record === undefined) break;
        yield record;
        next++;
      }
      if (next > lastSeq) return;
    }
    for await (const record of this.follow(next)) {
      yield record;
      if (record.seq >= lastSeq) return;
    }
  }

  /** One entry, as the leader of the stream has it: a deposed one has what it has from a quorum. Undefined: it is not there, or does not answer. */
  async #get(seq: EntrySeq): Promise<LogRecord | undefined> {
    try {
      const message = await askedAgain(() => this.#reader.streams.getMessage(this.name, { seq: seq - this.#after }));
      return message === null ? undefined : { seq, entry: copyBytes(message.data) };
    } catch (error) {
      this.#note(`entry ${seq}: ${messageOf(error)}`);
      return undefined;
    }
  }

  /**
   * The entries from `fromSeq` on, in order and without gaps, and then those to come, until `signal` aborts or the caller stops.
   * At most 4 MiB are on their way. Survives the loss of servers as long as the stream does.
   * @throws as {@link read}
   */
  async *follow(fromSeq: EntrySeq, signal?: AbortSignal): AsyncIterableIterator<LogRecord> {
    await this.#checkStart(fromSeq);
    let expected = fromSeq;
    while (!signal?.aborted) {
      const messages = await this.#consume(expected);
      const stop = () => void messages.close();
      signal?.addEventListener('abort', stop, { once: true });
      // Of an abort while the consumer was being made no listener is told.
      if (signal?.aborted) stop();
      void stopWhenUnheard(messages, stop);
      const quiet = new QuietTimer(() => this.#checkStart(expected), stop);
      try {
        for await (const message of messages) {
          quiet.touch();
          const seq = message.seq + this.#after;
          if (seq < expected) continue;
          if (seq > expected) throw truncated(this.name, expected, seq);
          expected = seq + 1;
          yield { seq, entry: copyBytes(message.data) };
        }
        quiet.check();
        // Its consumer has ended by itself, as when its server went.
        if (!signal?.aborted) await new Promise((resolve) => setTimeout(resolve, UNKNOWN_PAUSE_MS));
      } catch (error) {
        // A consumer can end with an error of the client's own, as when its connection is closed.
        throw error instanceof KeyfleetError ? error : this.#failure(error);
      } finally {
        quiet.stop();
        signal?.removeEventListener('abort', stop);
        await messages.close().catch(() => {});
      }
    }
  }

  async truncate(uptoSeq: EntrySeq): Promise<void> {
    // Beyond the last entry, a purge would use up numbers: never further than what is certainly there.
    const upto = Math.min(uptoSeq, await this.lastSeq());
    if (upto <= this.#after) return;
    try {
      await this.#manager.streams.purge(this.name, { seq: upto - this.#after + 1 });
    } catch (error) {
      throw this.#failure(error);
    }
  }

  async lastSeq(): Promise<EntrySeq> {
    return (await this.#info()).state.last_seq + this.#after;
  }

  /** Deletes the log with all its entries. Once it is gone: nothing. */
  async delete(): Promise<void> {
    try {
      await this.#manager.streams.delete(this.name);
    } catch (error) {
      if (codeOf(error) !== STREAM_NOT_FOUND) throw this.#failure(error);
    }
  }

  async #info(): Promise<StreamInfo> {
    try {
      return await askedAgain(() => this.#reader.streams.info(this.name));
    } catch (error) {
      throw this.#failure(error);
    }
  }

  /**
   * Whether `fromSeq` is there already. A hint as `lastSeq` is, but one that lags says too early a beginning, and then the numbers of what comes tell.
   * @throws KF_LOG_TRUNCATED; KF_LOG_LOST when another stream has taken its name.
   */
  async #checkStart(fromSeq: EntrySeq): Promise<boolean> {
    const info = await this.#info();
    if (identityOf(info).id !== this.id) throw lost(this.name, 'another has its name');
    if (fromSeq <= this.#after) throw truncated(this.name, fromSeq, this.#after + 1);
    const [firstSeq, lastSeq] = [info.state.first_seq + this.#after, info.state.last_seq + this.#after];
    // A stream without messages tells where the next one will stand.
    if (fromSeq < firstSeq && fromSeq <= lastSeq) throw truncated(this.name, fromSeq, firstSeq);
    return fromSeq <= lastSeq;
  }

  async #consume(fromSeq: EntrySeq): Promise<ConsumerMessages> {
    try {
      const consumer = await this.#stream.consumers.get(this.name, {
        deliver_policy: DeliverPolicy.StartSequence,
        opt_start_seq: fromSeq - this.#after,
      });
      return await consumer.consume({ max_bytes: READ_AHEAD_BYTES, expires: PULL_EXPIRES_MS });
    } catch (error) {
      throw this.#failure(error);
    }
  }

  #failure(error: unknown): KeyfleetError {
    this.#note(messageOf(error));
    return codeOf(error) === STREAM_NOT_FOUND ? lost(this.name, error) : unavailable(this.name, error);
  }
}

/**
 * A server can tell of a consumer before the one that we are connected to knows where it is, and before that, or when it has gone, our request for entries
 * reaches nobody. The client hears so and would wait for heartbeats that nobody sends.
 */
async function stopWhenUnheard(messages: ConsumerMessages, stop: () => void): Promise<void> {
  for await (const { type } of messages.status()) if (type === 'no_responders') stop();
}

/**
 * Asks, whenever nothing has come for a while, whether anything should have. If so the consumer, which may have gone with its server, is stopped for
 * another to take its place; an error that it hears is thrown by {@link check}.
 */
class QuietTimer {
  readonly #timer: NodeJS.Timeout;
  #isQuiet = true;
  #isAsking = false;
  #heard: { readonly error: unknown } | undefined;

  constructor(ask: () => Promise<boolean>, stop: () => void) {
    this.#timer = setInterval(() => {
      const wasQuiet = this.#isQuiet;
      this.#isQuiet = true;
      if (!wasQuiet || this.#isAsking) return;
      this.#isAsking = true;
      ask()
        .then((isLate) => {
          if (isLate && this.#isQuiet) stop();
        })
        .catch((error: unknown) => {
          // Servers that do not answer may yet; a log that is gone, or truncated, does not come back.
          if (error instanceof KeyfleetError && error.retryable) return;
          this.#heard = { error };
          stop();
        })
        .finally(() => {
          this.#isAsking = false;
        });
    }, QUIET_MS);
  }

  touch(): void {
    this.#isQuiet = false;
  }

  check(): void {
    if (this.#heard) throw this.#heard.error;
  }

  stop(): void {
    clearInterval(this.#timer);
  }
}

/** Asks once more every {@link ASK_AGAIN_MS}, until one of the questions is answered or the first has failed. */
function askedAgain<Answer>(ask: () => Promise<Answer>): Promise<Answer> {
  return new Promise((resolve, reject) => {
    const askOnce = (): void => {
      ask()
        .then(resolve, reject)
        .finally(() => clearInterval(timer));
    };
    const timer = setInterval(askOnce, ASK_AGAIN_MS);
    askOnce();
  });
}

function codeOf(error: unknown): number {
  return error instanceof JetStreamApiError ? error.code : 0;
}

function lost(name: string, cause: unknown): KeyfleetError {
  return new KeyfleetError('KF_LOG_LOST', `stream ${name} is gone`, { cause });
}

function unavailable(name: string, error: unknown): KeyfleetError {
  return new KeyfleetError('KF_UNAVAILABLE', `stream ${name}: ${messageOf(error)}`, { cause: error, retryable: true });
}

function truncated(name: string, fromSeq: EntrySeq, firstSeq: EntrySeq): KeyfleetError {
  return new KeyfleetError('KF_LOG_TRUNCATED', `entry ${fromSeq} of ${name} is gone: the log begins at ${firstSeq}`);
}
