import type { Bytes } from '../base/bytes.ts';
import { isKeyfleetError } from '../base/errors.ts';
import type { AskOptions, ReplySink } from '../node/keyspace-handle.ts';
import { redisSlot } from '../partition/redis-slot.ts';
import type { CommandArgs } from '../shard/redis/command-table.ts';
import type { Reply } from '../shard/redis/reply.ts';
import { transactionCommand } from '../shard/redis/transaction.ts';
import type { RedisKeyspace } from './door.ts';

// One connection's requests to a keyspace whose commands are run elsewhere and later. A client that sends SET and GET of one key without waiting
// in between relies on their order, and two requests that are on their way may be tried again each for itself, and so change places. Hence of each
// slot a connection has one write on its way, or reads; what comes meanwhile waits, and then goes as one command, so that a pipeline of a thousand
// INCR of one key costs two trips to the log and not a thousand.

/** What a connection asks of its keyspace. */
export type KeyspaceRequests = Pick<RedisKeyspace, 'submit' | 'submitMany' | 'ask' | 'askMany'>;

/** So much goes as one command. */
const MOST_TOGETHER = 256;
const MOST_BYTES_TOGETHER = 64 * 1024;

interface Waiting {
  readonly isWrite: boolean;
  readonly keys: readonly Bytes[];
  readonly isMany: boolean;
  readonly args: CommandArgs;
  readonly sink: ReplySink<Reply>;
  readonly token: number;
  readonly options: AskOptions | undefined;
  /** It has failed among others, for reasons of its own or theirs. */
  isAlone: boolean;
}

interface SlotQueue {
  /** Requests on their way. */
  running: number;
  /** One of them is a write: then it is the only one. */
  writes: boolean;
  readonly waiting: Waiting[];
}

export class OrderedKeyspace implements KeyspaceRequests {
  readonly #keyspace: KeyspaceRequests;
  /** The slots that something is on its way to. */
  readonly #slots = new Map<number, SlotQueue>();

  constructor(keyspace: KeyspaceRequests) {
    this.#keyspace = keyspace;
  }

  submit(key: Bytes, args: CommandArgs, sink: ReplySink<Reply>, token: number): void {
    this.#add({ isWrite: true, keys: [key], isMany: false, args, sink, token, options: undefined, isAlone: false });
  }

  submitMany(keys: readonly Bytes[], args: CommandArgs, sink: ReplySink<Reply>, token: number): void {
    this.#add({ isWrite: true, keys, isMany: true, args, sink, token, options: undefined, isAlone: args[0]![0] === 0 });
  }

  ask(key: Bytes, args: CommandArgs, sink: ReplySink<Reply>, token: number, options?: AskOptions): void {
    this.#add({ isWrite: false, keys: [key], isMany: false, args, sink, token, options, isAlone: args[0]![0] === 0 });
  }

  askMany(keys: readonly Bytes[], args: CommandArgs, sink: ReplySink<Reply>, token: number, options?: AskOptions): void {
    this.#add({ isWrite: false, keys, isMany: true, args, sink, token, options, isAlone: false });
  }

  #add(request: Waiting): void {
    const slot = redisSlot(request.keys[0]!);
    let queue = this.#slots.get(slot);
    if (!queue) this.#slots.set(slot, (queue = { running: 0, writes: false, waiting: [] }));
    queue.waiting.push(request);
    this.#advance(slot, queue);
  }

  /** Sends what may go now. */
  #advance(slot: number, queue: SlotQueue): void {
    while (queue.waiting.length > 0 && !queue.writes) {
      const [first] = queue.waiting as [Waiting, ...Waiting[]];
      if (first.isWrite && queue.running > 0) return;
      queue.running++;
      if (!first.isWrite) {
        queue.waiting.shift();
        this.#send(first, slot, queue);
        continue;
      }
      queue.writes = true;
      const together = takeTogether(queue.waiting);
      if (together.length === 1) this.#send(first, slot, queue);
      else this.#sendTogether(together, slot, queue);
    }
    if (queue.running === 0 && queue.waiting.length === 0) this.#slots.delete(slot);
  }

  #over(slot: number, queue: SlotQueue): void {
    queue.running--;
    queue.writes = false;
    this.#advance(slot, queue);
  }

  #send({ isWrite, isMany, keys, args, sink, token, options }: Waiting, slot: number, queue: SlotQueue): void {
    const own: ReplySink<Reply> = {
      settled: (_, reply) => {
        sink.settled(token, reply);
        this.#over(slot, queue);
      },
      failed: (_, error) => {
        sink.failed(token, error);
        this.#over(slot, queue);
      },
    };
    if (isWrite) {
      if (isMany) this.#keyspace.submitMany(keys, args, own, 0);
      else this.#keyspace.submit(keys[0]!, args, own, 0);
    } else if (isMany) this.#keyspace.askMany(keys, args, own, 0, options);
    else this.#keyspace.ask(keys[0]!, args, own, 0, options);
  }

  #sendTogether(together: readonly Waiting[], slot: number, queue: SlotQueue): void {
    const own: ReplySink<Reply> = {
      settled: (_, replies) => {
        together.forEach(({ sink, token }, i) => {
          sink.settled(token, (replies as readonly Reply[])[i]!);
        });
        this.#over(slot, queue);
      },
      failed: (_, error) => {
        // One of them was refused, and all were undone: each hears for itself.
        if (isKeyfleetError(error) && !error.retryable && error.code !== 'KF_OUTCOME_UNKNOWN') {
          for (const one of together) one.isAlone = true;
          queue.waiting.unshift(...together);
        } else for (const { sink, token } of together) sink.failed(token, error);
        this.#over(slot, queue);
      },
    };
    const keys = together.flatMap((one) => one.keys);
    this.#keyspace.submitMany(keys, transactionCommand(together.map(({ args }) => args)), own, 0);
  }
}

/** Takes from the front what can go as one command: at least the first. */
function takeTogether(waiting: Waiting[]): Waiting[] {
  let count = 0;
  let bytes = 0;
  while (count < waiting.length && count < MOST_TOGETHER) {
    const { args, isAlone } = waiting[count]!;
    for (const arg of args) bytes += arg.length;
    if (count > 0 && (isAlone || bytes > MOST_BYTES_TOGETHER)) break;
    count++;
    if (isAlone) break;
  }
  return waiting.splice(0, count);
}
