/** Keeps a pool that the proxy serves in step with its owner: the lease, the newest map, and requests whose keys are on the move. */
import { setTimeout as sleep } from 'node:timers/promises';
import type { Bytes } from '../../base/bytes.ts';
import { isKeyfleetError, KeyfleetError, messageOf } from '../../base/errors.ts';
import type { RoutedCommand } from '../command-table.ts';
import { checkWipes, type GuardedCommand, GuardedCommands, noLease, notTogether, PATIENCE_MS } from '../guarded-commands.ts';
import { splitCommand } from '../joined-answers.ts';
import { latin1Slice } from '../latin1.ts';
import { PoolFollower } from '../move-follower.ts';
import { routerName } from '../moves/move-coordinator.ts';
import type { Argument } from '../moves/move-link.ts';
import type { PoolControl } from '../pool-config.ts';
import type { PoolMap } from '../pool-map.ts';
import type { ReplySink } from '../reply-sink.ts';
import { encodeRequest } from '../request-encoder.ts';
import { mayWait } from '../waiting-commands.ts';
import type { ProxyClient } from './proxy-client.ts';
import { keysOfRequest, sendParts } from './proxy-dispatch.ts';
import type { ProxyPool, SpecialRoutes } from './proxy-pool.ts';
import { failureReply } from './proxy-wire.ts';

interface ProxyGuarded extends GuardedCommand {
  readonly resp3: boolean;
  /** The client's id, whose requests share one connection to a server. */
  readonly lane: number;
}

/** Keys of a request that the mover brings to where they go, before the request is started. */
interface Bringing {
  isDone: boolean;
  /** Of the map by which they were brought. */
  epoch: number;
  error: unknown;
}

const LOOK_MS = 5;
/** What the proxy answers without a word to a server. */
const NEEDS_NO_SERVER: ReadonlySet<RoutedCommand['kind']> = new Set(['local', 'refused']);
export class ProxyMoving implements SpecialRoutes {
  readonly #pool: ProxyPool;
  readonly #follower: PoolFollower;
  readonly #guarded: GuardedCommands<Bytes, ProxyGuarded>;
  /** Clients whose request waits for a lease. */
  #waiting = new Set<ProxyClient>();
  readonly #bringing = new WeakMap<ProxyClient, Bringing>();
  /** Since when there is no lease. */
  #without: number | undefined = performance.now();
  readonly #timer: NodeJS.Timeout;

  constructor(pool: ProxyPool, control: PoolControl) {
    this.#pool = pool;
    this.#guarded = new GuardedCommands<Bytes, ProxyGuarded>({
      map: () => pool.map,
      send: (server, args, command) => this.#send(server, args, command),
      errorOf: (reply) => (reply[0] === MINUS ? latin1Slice(reply, 1, reply.length - 2) : undefined),
      pull: (move, keys) => this.#follower.pull(move, keys),
    });
    this.#follower = new PoolFollower(control, {
      config: pool.config,
      begin: (id) => pool.renameConnections(routerName(id)),
      apply: (map) => this.#apply(map),
      foregroundP99Ms: () => pool.stats.p99SinceAskedMs(),
      onLost: (why) => pool.events.onOwnerLost?.(why),
      onFound: (epoch) => pool.events.onOwnerFound?.(epoch),
    });
    this.#timer = setInterval(() => this.#look(), LOOK_MS);
    this.#timer.unref();
  }

  /** Whether anything may be sent to the servers now. */
  get maySend(): boolean {
    return this.#follower.maySend;
  }

  get isActive(): boolean {
    return !this.maySend || this.#pool.map.hasMoves || !this.#guarded.isIdle;
  }

  holds(client: ProxyClient, command: RoutedCommand): boolean {
    const needsServer = !NEEDS_NO_SERVER.has(command.kind) || command.name === 'scan' || command.name === 'randomkey';
    if (!needsServer) return false;
    if (!this.maySend) {
      if (performance.now() - (this.#without ??= performance.now()) > PATIENCE_MS) this.#refuse(client, command, noLease());
      else {
        client.hold('room');
        this.#waiting.add(client);
      }
      return true;
    }
    if (!this.#pool.map.hasMoves) return false;
    try {
      checkWipes(this.#pool.map, command.name, client.scanner.argCount > 1 ? latin1Slice(client.scanner.arg(1)) : '');
    } catch (error) {
      this.#refuse(client, command, error);
      return true;
    }
    const outlives =
      command.name === 'watch' ||
      command.name === 'ssubscribe' ||
      (command.kind === 'blocking' && mayWait(command.name, client.scanner)) ||
      client.session?.wouldTake(command) === true;
    return outlives && this.#brings(client, command);
  }

  takes(client: ProxyClient, command: RoutedCommand, server: number, keys: readonly Bytes[]): boolean {
    const { map } = this.#pool;
    if (!map.hasMoves && this.#guarded.isIdle) return false;
    const move = map.moveOf(map.slotOf(keys[0]!));
    if (keys.length > 1 && keys.some((key) => map.moveOf(map.slotOf(key)) !== move)) {
      this.#refuse(client, command, notTogether());
      return true;
    }
    if ((move === undefined || move.mode === 'planned') && !keys.some((key) => this.#guarded.has(key))) return false;
    const { stats } = this.#pool;
    stats.server(server).requests++;
    this.#run(client, command, client.scanner.args(), keys, client, client.open(command, server, 1));
    return true;
  }

  takesSplit(client: ProxyClient, command: RoutedCommand, args: readonly Bytes[], keys: readonly Bytes[], step: number): boolean {
    const pool = this.#pool;
    const { map } = pool;
    const isAlone = (key: Bytes): boolean => (map.moveOf(map.slotOf(key))?.mode ?? 'planned') !== 'planned' || this.#guarded.has(key);
    // Keys on the move are asked for one by one; -1 - order keeps them apart from servers.
    const parts = splitCommand(args, keys, step, (key, order) => (isAlone(key) ? -1 - order : pool.serverOf(key)));
    if (!parts.some(({ group }) => group < 0)) return false;
    sendParts(client, command, parts, (part, join, index) => {
      const server = pool.serverOf(part.keys[0]!);
      pool.stats.server(server).requests++;
      if (part.group < 0) this.#run(client, command, part.args, part.keys, join, index);
      else pool.backends(client.version)[server]!.send(encodeRequest(part.args), join, index, client.id);
    });
    return true;
  }

  async bring(keys: readonly Bytes[]): Promise<number> {
    const deadlineMs = performance.now() + PATIENCE_MS;
    for (;;) {
      const server = await this.#guarded.bring(keys);
      if (this.maySend) return server;
      if (performance.now() > deadlineMs) throw noLease();
      await sleep(LOOK_MS);
    }
  }

  close(): void {
    clearInterval(this.#timer);
    void this.#follower.close();
  }

  #run(
    client: ProxyClient,
    command: RoutedCommand,
    args: readonly Bytes[],
    keys: readonly Bytes[],
    sink: ReplySink<number>,
    token: number,
  ): void {
    const scriptable = !/^(eval|fcall)/.test(command.name);
    this.#guarded.run({ args, keys, write: command.isWrite, scriptable, resp3: client.version === 3, lane: client.id }).then(
      (bytes) => sink.onReply(token, bytes, 0, bytes.length),
      (error: unknown) => sink.onFailure(token, isKeyfleetError(error) ? error : new KeyfleetError('KF_INTERNAL', messageOf(error))),
    );
  }

  #send(server: number, args: readonly Argument[], { resp3, lane }: ProxyGuarded): Promise<Bytes> {
    return new Promise((resolve, reject) => {
      const backend = this.#pool.backends(resp3 ? 3 : 2)[server];
      if (backend === undefined || !this.maySend) {
        reject(noLease());
        return;
      }
      backend.send(
        encodeRequest(args),
        { onReply: (_, bytes, start, end) => resolve(bytes.subarray(start, end)), onFailure: (_, error) => reject(error) },
        undefined,
        lane,
      );
    });
  }

  /** True while keys of the request have to be brought to another server before it can be started. */
  #brings(client: ProxyClient, command: RoutedCommand): boolean {
    const { map } = this.#pool;
    const there = this.#bringing.get(client);
    if (there?.isDone === true) {
      this.#bringing.delete(client);
      if (there.error !== undefined) {
        this.#refuse(client, command, there.error);
        return true;
      }
      if (there.epoch === map.epoch) return false;
    } else if (there !== undefined) {
      client.hold('room');
      return true;
    }
    const keys = keysOfRequest(client, command);
    if (keys === undefined || keys.every((key) => (map.moveOf(map.slotOf(key))?.mode ?? 'planned') === 'planned')) return false;
    const bringing: Bringing = { isDone: false, epoch: 0, error: undefined };
    this.#bringing.set(client, bringing);
    client.hold('room');
    this.#guarded
      .bring(keys)
      .catch((error: unknown) => {
        bringing.error = error;
      })
      .then(() => {
        bringing.isDone = true;
        bringing.epoch = this.#pool.map.epoch;
        client.release();
      });
    return true;
  }

  #refuse(client: ProxyClient, command: RoutedCommand, error: unknown): void {
    client.session?.spoil();
    client.reply(command, failureReply(error));
  }

  async #apply(map: PoolMap): Promise<void> {
    await Promise.all([this.#guarded.drained(), this.#pool.pass(map)]);
  }

  /** Clients that wait for a lease go on once there is one, or once waiting is over. */
  #look(): void {
    const { maySend } = this;
    if (maySend) this.#without = undefined;
    else this.#without ??= performance.now();
    this.#pool.lookAgain();
    if (this.#waiting.size === 0) return;
    if (!maySend && performance.now() - this.#without! <= PATIENCE_MS) return;
    const waiting = this.#waiting;
    this.#waiting = new Set();
    for (const client of waiting) client.release();
  }
}

const MINUS = 45;
