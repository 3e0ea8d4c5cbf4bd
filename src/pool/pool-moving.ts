/** Keeps a pool of this process in step with its owner: the lease, the newest map, and commands whose slots are on the move. */
import type { Bytes } from '../base/bytes.ts';
import { KeyfleetError } from '../base/errors.ts';
import type { KeyInput } from '../partition/hasher.ts';
import { argBytes } from './client-command.ts';
import { type GuardedCommand, GuardedCommands } from './guarded-commands.ts';
import { routerName } from './move-coordinator.ts';
import { type PoolControl, PoolFollower } from './move-follower.ts';
import type { MovingSlots, PoolCore } from './pool-core.ts';
import type { PoolMap } from './pool-map.ts';
import { RedisReplyError, type ReplyValue } from './reply-value.ts';
import type { CommandArg } from './request-encoder.ts';
import type { Pending } from './server-link.ts';

interface LibraryCommand extends GuardedCommand {
  readonly asBuffers: boolean;
}

type Answer = { readonly value: ReplyValue } | { readonly refused: RedisReplyError };

const PATIENCE_MS = 10_000;

export class PoolMoving implements MovingSlots {
  readonly #core: PoolCore;
  readonly #follower: PoolFollower;
  readonly #guarded: GuardedCommands<Answer, LibraryCommand>;
  /** Commands that wait for a lease. */
  #waiting: { readonly args: readonly CommandArg[]; readonly pending: Pending; readonly sinceMs: number }[] = [];
  #timer: NodeJS.Timeout | undefined;

  constructor(core: PoolCore, control: PoolControl) {
    this.#core = core;
    this.#guarded = new GuardedCommands<Answer, LibraryCommand>({
      map: () => core.map,
      send: (server, args, command) => this.#send(server, args, command.asBuffers),
      errorOf: (answer) => ('refused' in answer ? answer.refused.message : undefined),
      pull: (move, keys) => this.#follower.pull(move, keys),
      patienceMs: PATIENCE_MS,
    });
    this.#follower = new PoolFollower(control, {
      config: core.config,
      begin: (id) => core.renameConnections(routerName(id)),
      apply: (map) => this.#apply(map),
    });
  }

  takes(command: Parameters<MovingSlots['takes']>[0], pending: Pending): boolean {
    if (!this.#follower.maySend || this.#waiting.length > 0) {
      this.#waiting.push({ args: command.args, pending, sinceMs: performance.now() });
      this.#timer ??= setInterval(() => this.#retry(), 5);
      return true;
    }
    const keys = command.keys.map(bytesOf);
    const move = this.#core.map.moveOf(command.slot);
    if ((move === undefined || move.mode === 'planned') && (this.#guarded.isIdle || !keys.some((key) => this.#guarded.has(key))))
      return false;
    this.#guarded.run({ ...command, args: command.args.map(plainArg), keys, asBuffers: pending.asBuffers }).then(
      (answer) => ('refused' in answer ? pending.reject(answer.refused) : pending.resolve(answer.value)),
      (error: unknown) => pending.reject(error),
    );
    return true;
  }

  /** For transactions: the server where all the keys are, after the mover has brought them there. @throws KF_POOL_MOVING. */
  async homeOf(keys: readonly KeyInput[]): Promise<number | undefined> {
    if (!this.#follower.maySend)
      throw new KeyfleetError('KF_POOL_MOVING', 'the owner of the pool does not answer, so nothing may be sent', { retryable: true });
    const move = this.#core.map.moveOf(this.#core.map.slotOf(keys[0]!));
    if (move === undefined || move.mode === 'planned') return undefined;
    if (move.mode !== 'guarded' || keys.some((key) => this.#core.map.moveOf(this.#core.map.slotOf(key)) !== move))
      throw new KeyfleetError('KF_POOL_MOVING', 'the keys are on their way', { retryable: true });
    await this.#follower.pull(move.id, keys.map(bytesOf));
    return move.to;
  }

  async close(): Promise<void> {
    clearInterval(this.#timer);
    for (const { pending } of this.#waiting) pending.reject(new KeyfleetError('KF_CLOSED', 'the pool was closed; nothing was sent'));
    this.#waiting = [];
    await this.#follower.close();
  }

  async #apply(map: PoolMap): Promise<void> {
    const links = this.#core.links.length;
    const drained = this.#guarded.drained();
    // What was sent goes before these on each connection; servers that are away have nothing under way.
    const pings: Promise<unknown>[] = [];
    for (let server = 0; server < links; server++)
      for (let lane = 0; lane < Math.max(1, this.#core.config.serverConnections); lane++)
        pings.push(
          new Promise<void>((resolve) => {
            this.#core.sendTo(server, ['PING'], { asBuffers: false, resolve: () => resolve(), reject: () => resolve() }, lane);
          }),
        );
    this.#core.setMap(map);
    await Promise.all([drained, ...pings]);
  }

  #retry(): void {
    const waiting = this.#waiting;
    if (this.#follower.maySend) {
      this.#waiting = [];
      for (const { args, pending } of waiting) this.#core.run(args, pending);
    } else {
      const nowMs = performance.now();
      this.#waiting = waiting.filter(({ pending, sinceMs }) => {
        if (nowMs - sinceMs < PATIENCE_MS) return true;
        pending.reject(
          new KeyfleetError('KF_POOL_MOVING', 'the owner of the pool does not answer, so nothing may be sent', { retryable: true }),
        );
        return false;
      });
    }
    if (this.#waiting.length > 0) return;
    clearInterval(this.#timer);
    this.#timer = undefined;
  }

  #send(server: number, args: readonly CommandArg[], asBuffers: boolean): Promise<Answer> {
    return new Promise((resolve, reject) => {
      if (!this.#follower.maySend) {
        reject(new KeyfleetError('KF_POOL_MOVING', 'the lease on the map has run out; nothing was sent', { retryable: true }));
        return;
      }
      this.#core.sendTo(server, args, {
        asBuffers,
        resolve: (value) => resolve({ value }),
        reject: (error) => (error instanceof RedisReplyError ? resolve({ refused: error }) : reject(error)),
      });
    });
  }
}

function bytesOf(key: KeyInput): Bytes {
  return typeof key === 'string' ? Buffer.from(key) : key;
}

function plainArg(arg: CommandArg): string | Bytes {
  return typeof arg === 'object' ? argBytes(arg) : String(arg);
}
