import { EventEmitter } from 'node:events';
import type { KeyfleetError } from '../base/errors.ts';
import type { KeyInput } from '../partition/hasher.ts';
import type { BackendError } from './backend-error.ts';
import { Batch } from './batch.ts';
import { commandNamed } from './client-command.ts';
import { type ClientMoves, joinMoves, type MoverPort } from './client-moves.ts';
import type { PoolOptions } from './client-settings.ts';
import { COMMAND_METHODS, type Key, type PoolCommands, type Value } from './pool-commands.ts';
import type { PoolConfig, PoolServer } from './pool-config.ts';
import { type CallOptions, PoolCore, promised } from './pool-core.ts';
import type { PoolMap } from './pool-map.ts';
import { PoolMoving } from './pool-moving.ts';
import type { ReplyValue } from './reply-value.ts';
import type { CommandArg } from './request-encoder.ts';
import { type ScanOptions, scanServers } from './scan-servers.ts';
import { type Subscription, subscribe } from './subscription.ts';
import { watchAndRun } from './watch.ts';

/** What a pool emits; `error` never. */
export interface PoolEvents {
  up: [server: PoolServer];
  down: [server: PoolServer, error: BackendError, failures: number];
  ejected: [server: PoolServer];
  returned: [server: PoolServer];
  close: [];
}

/**
 * A pool of Redis-like servers that this process routes over by itself: every key has one server, found by the same rules as twemproxy, a Redis
 * Cluster or the `keyfleet pool` proxy over the same file.
 *
 * Promise: commands of one turn of the event loop go to each server in one write, and those to one server are carried out in the order in
 * which they were called (with `server_connections: 1`). A command is never sent twice. A server that is away is an error at once, `KF_BACKEND_DOWN`
 * when nothing can have been done, `KF_OUTCOME_UNKNOWN` when it may have been; with `auto_eject_hosts` its keys go elsewhere meanwhile (caches only).
 */
export type Pool = PoolClient & PoolCommands<string>;

/** A pool without the methods that are named after commands; see {@link Pool}. */
export class PoolClient extends EventEmitter<PoolEvents> {
  readonly #core: PoolCore;
  /** The same commands with strings as Buffers, for what is not text. */
  readonly buffers: PoolCommands<Buffer>;

  /** @throws KF_CONFIG. */
  constructor(options: PoolOptions) {
    super();
    this.#core = new PoolCore(options, {
      up: (server) => void this.emit('up', server),
      down: (server, error, failures) => void this.emit('down', server, error, failures),
      ejected: (server) => void this.emit('ejected', server),
      returned: (server) => void this.emit('returned', server),
    });
    const { control } = this.#core.config;
    if (control !== undefined) this.#core.moving = new PoolMoving(this.#core, control);
    installMethods(this, this.#core, false);
    const buffers = {} as PoolCommands<Buffer>;
    installMethods(buffers, this.#core, true);
    this.buffers = buffers;
  }

  get config(): PoolConfig {
    return this.#core.config;
  }

  /** Which server every slot belongs to. */
  get map(): PoolMap {
    return this.#core.map;
  }

  get servers(): readonly PoolServer[] {
    return this.#core.map.servers;
  }

  /** The core, for what watches over moves. */
  get core(): PoolCore {
    return this.#core;
  }

  /** The server that a key belongs to. */
  serverOf(key: KeyInput): PoolServer {
    return this.#core.map.servers[this.#core.serverOf(key)]!;
  }

  /**
   * Any command, the name first. One that is not known is routed by its first argument, or by what `options` say; `server` sends any command to
   * that server, as it is.
   *
   * @throws RedisReplyError `KF_REDIS_ERROR`, the server's error reply; KF_CROSS_SLOT when its keys are on several servers; KF_NOT_SUPPORTED;
   * KF_BAD_COMMAND; KF_BACKEND_DOWN, KF_BACKEND_BUSY, KF_BACKEND_REFUSED: nothing was done; KF_OUTCOME_UNKNOWN.
   */
  call(args: readonly CommandArg[], options: CallOptions = {}): Promise<ReplyValue> {
    return promised((pending) => this.#core.run(args, pending, options), options.asBuffers === true);
  }

  /** Several commands as one list of answers; errors stand in the list. Not atomic. Every call is pipelined anyway: this is for its form. */
  pipeline(): Batch {
    return new Batch((commands) => Promise.all(commands.map((args) => this.call(args).catch((error: KeyfleetError) => error))));
  }

  /** Several commands as one MULTI … EXEC on one server. @throws KF_CROSS_SLOT when their keys are not on one; nothing is sent then. */
  multi(): Batch {
    return new Batch((commands) => this.#core.multi(commands));
  }

  /**
   * Reads `keys`, decides, and changes them only if nobody else has: `run` gets a way to read, and answers what to do; undefined ends without a change.
   * Tried again, up to `attempts` times, when somebody was quicker.
   *
   * @throws KF_PRECONDITION_FAILED when somebody was quicker every time; KF_CROSS_SLOT; what `run` throws.
   */
  watch(
    keys: readonly Key[],
    run: (read: (args: readonly CommandArg[]) => Promise<ReplyValue>) => Promise<readonly (readonly CommandArg[])[] | undefined>,
    options: { readonly attempts?: number } = {},
  ): Promise<ReplyValue[] | undefined> {
    return watchAndRun(this.#core, keys, run, options.attempts ?? 16);
  }

  /** All keys, server after server, in no order; a key that is there throughout comes at least once. Keys of ours (`__kf:…`) are left out. */
  scan(options: ScanOptions = {}): AsyncIterableIterator<string> {
    return scanServers(this.#core, options, false) as AsyncIterableIterator<string>;
  }

  /** {@link scan} for keys that are not text. */
  scanBuffers(options: ScanOptions = {}): AsyncIterableIterator<Buffer> {
    return scanServers(this.#core, options, true) as AsyncIterableIterator<Buffer>;
  }

  /** Listens to a channel on the server of its name, where {@link PoolCommands.publish} publishes it. Connects again after a loss; what was said meanwhile is lost. */
  subscribe(channel: string, onMessage: (message: Buffer, channel: string) => void): Promise<Subscription> {
    return subscribe(this.#core, channel, onMessage);
  }

  /**
   * Lets keys move under this pool: from now on it is a router of `mover`, to be told of every map through `publish` of what is returned.
   * Without this a pool must not be used while keys are moved by others.
   *
   * @throws KF_NOT_SUPPORTED over clients of your own.
   */
  joinMoves(mover: MoverPort): ClientMoves {
    return joinMoves(this.#core, mover);
  }

  /** Ends all connections; requests without an answer fail. */
  close(): void {
    this.#core.close();
    this.emit('close');
  }
}

/** A pool over the servers of a file, or of options; connections are made with the first command to each. @throws KF_CONFIG. */
export function createPool(options: string | PoolOptions): Pool {
  return new PoolClient(typeof options === 'string' ? { file: options } : options) as Pool;
}

function installMethods(target: object, core: PoolCore, asBuffers: boolean): void {
  for (const name of COMMAND_METHODS) {
    const command = commandNamed(name)!;
    const verb = name.toUpperCase();
    const { soleKey } = command;
    const shape = ARGUMENTS[name];
    const method = shape
      ? (...given: unknown[]) => promised((pending) => core.run([verb, ...shape(given)], pending), asBuffers)
      : soleKey > 0
        ? (...given: Value[]) => {
            const args = [verb, ...given];
            return new Promise((resolve, reject) => {
              core.runKeyed(command, soleKey, args, { asBuffers, resolve, reject });
            });
          }
        : (...given: Value[]) => promised((pending) => core.run([verb, ...given], pending), asBuffers);
    Object.defineProperty(target, name, {
      value: name === 'hgetall' ? (key: Key) => (method(key) as Promise<ReplyValue>).then(fieldsOf) : method,
    });
  }
}

/** Methods whose arguments are not those of the command as they stand. */
const ARGUMENTS: Readonly<Partial<Record<string, (given: readonly unknown[]) => Value[]>>> = {
  mget: ([keys]) => keys as Value[],
  mset: ([pairs]) => flat(pairs as readonly (readonly [Value, Value])[] | Record<string, Value>),
  msetnx: ([pairs]) => flat(pairs as readonly (readonly [Value, Value])[] | Record<string, Value>),
  hset: withFields,
  hmset: withFields,
};

function withFields([key, first, ...rest]: readonly unknown[]): Value[] {
  const isRecord = typeof first === 'object' && first !== null && !(first instanceof Uint8Array);
  return [key as Value, ...(isRecord ? flat(first as Record<string, Value>) : [first as Value, ...(rest as Value[])])];
}

function flat(pairs: readonly (readonly [Value, Value])[] | Readonly<Record<string, Value>>): Value[] {
  const list = Array.isArray(pairs) ? (pairs as readonly (readonly [Value, Value])[]) : Object.entries(pairs);
  return list.flat();
}

function fieldsOf(value: ReplyValue): ReplyValue | Record<string, ReplyValue> {
  if (!Array.isArray(value)) return value;
  const fields: Record<string, ReplyValue> = {};
  for (let i = 0; i + 1 < value.length; i += 2) {
    // A field may be called __proto__.
    Object.defineProperty(fields, String(value[i]), { value: value[i + 1]!, enumerable: true, configurable: true, writable: true });
  }
  return fields;
}
