import { type JetStreamClient, jetstream, jetstreamManager } from '@nats-io/jetstream';
import type { NatsConnection } from '@nats-io/transport-node';
import { streamConfig } from '../../src/nats/stream-config.ts';
import type { ReplySink } from '../../src/node/keyspace-handle.ts';

// What JetStream alone does with what shards ask of it: streams configured as logs are, as many messages on their way to each, each behind the number that the one before
// it will have, and what arrives meanwhile packed into the next. No state, no disk of its own, no answer but the acknowledgement: as far as the engine goes.

/** As the leader of a shard has: DEFAULT_LIMITS.maxInFlight. */
const MESSAGES_IN_FLIGHT = 8;
/** What stands around the commands of an entry, and around key and value of a command. */
const ENTRY_BYTES = 64;
const COMMAND_BYTES = 12;

/** Makes a stream like a shard's log. */
export async function makeBareStream(connection: NatsConnection, name: string): Promise<void> {
  const manager = await jetstreamManager(connection);
  await manager.streams.add(streamConfig({ name, replicas: 3 }));
}

export class BareStream {
  readonly #client: JetStreamClient;
  readonly #name: string;
  readonly #commandBytes: number;
  #waiting: { readonly sink: ReplySink<unknown>; readonly token: number }[] = [];
  #inFlight = 0;
  #isDue = false;
  #last: number;
  #messages = 0;

  private constructor(client: JetStreamClient, name: string, commandBytes: number, last: number) {
    this.#client = client;
    this.#name = name;
    this.#commandBytes = commandBytes;
    this.#last = last;
  }

  /** Of commands whose key and value have so many bytes. There may be one writer at a time. */
  static async open(connection: NatsConnection, name: string, itemBytes: number): Promise<BareStream> {
    const { state } = await (await jetstreamManager(connection)).streams.info(name);
    return new BareStream(jetstream(connection), name, itemBytes + COMMAND_BYTES, state.last_seq);
  }

  /** Messages sent so far. */
  get messages(): number {
    return this.#messages;
  }

  submit(sink: ReplySink<unknown>, token: number): void {
    this.#waiting.push({ sink, token });
    this.#sendSoon();
  }

  #sendSoon(): void {
    if (this.#isDue) return;
    this.#isDue = true;
    setImmediate(() => {
      this.#isDue = false;
      this.#send();
    });
  }

  #send(): void {
    if (this.#waiting.length === 0 || this.#inFlight >= MESSAGES_IN_FLIGHT) return;
    const commands = this.#waiting;
    this.#waiting = [];
    this.#inFlight++;
    this.#messages++;
    const message = new Uint8Array(ENTRY_BYTES + commands.length * this.#commandBytes);
    const expect = { streamName: this.#name, lastSequence: this.#last++ };
    this.#client.publish(this.#name, message, { expect, timeout: 5_000 }).then(
      () => {
        for (const { sink, token } of commands) sink.settled(token, undefined);
        this.#settled();
      },
      (error: Error) => {
        for (const { sink, token } of commands) sink.failed(token, error);
        this.#settled();
      },
    );
  }

  #settled(): void {
    this.#inFlight--;
    this.#sendSoon();
  }
}
