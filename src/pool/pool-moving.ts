/** Keeps a pool of this process in step with its owner: the lease, the newest map, and commands that wait for a lease. */
import { KeyfleetError } from '../base/errors.ts';
import type { KeyInput } from '../partition/hasher.ts';
import { ClientMoves, checkOwnSockets } from './client-moves.ts';
import { noLease, PATIENCE_MS } from './guarded-commands.ts';
import { PoolFollower } from './move-follower.ts';
import { routerName } from './moves/move-coordinator.ts';
import type { PoolControl } from './pool-config.ts';
import type { MovingCommand, MovingSlots, PoolCore } from './pool-core.ts';
import type { CommandArg } from './request-encoder.ts';
import type { Pending } from './server-link.ts';

export class PoolMoving implements MovingSlots {
  readonly #core: PoolCore;
  readonly #follower: PoolFollower;
  readonly #moves: ClientMoves;
  /** Commands that wait for a lease. */
  #waiting: { readonly args: readonly CommandArg[]; readonly pending: Pending; readonly sinceMs: number }[] = [];
  #timer: NodeJS.Timeout | undefined;

  /** @throws KF_NOT_SUPPORTED over clients of the user's. */
  constructor(core: PoolCore, control: PoolControl) {
    checkOwnSockets(core);
    this.#core = core;
    const follower = new PoolFollower(control, {
      config: core.config,
      begin: (id) => core.renameConnections(routerName(id)),
      apply: (map) => this.#moves.publish(map),
    });
    this.#follower = follower;
    this.#moves = new ClientMoves(core, {
      pull: (id, keys) => follower.pull(id, keys),
      get maySend() {
        return follower.maySend;
      },
    });
  }

  get maySend(): boolean {
    return this.#follower.maySend;
  }

  takes(command: MovingCommand, pending: Pending): boolean {
    if (this.maySend && this.#waiting.length === 0) return this.#moves.takes(command, pending);
    this.#waiting.push({ args: command.args, pending, sinceMs: performance.now() });
    this.#timer ??= setInterval(() => this.#retry(), 5);
    return true;
  }

  homeOf(keys: readonly KeyInput[]): Promise<number | undefined> {
    return this.#moves.homeOf(keys);
  }

  async close(): Promise<void> {
    clearInterval(this.#timer);
    for (const { pending } of this.#waiting) pending.reject(new KeyfleetError('KF_CLOSED', 'the pool was closed; nothing was sent'));
    this.#waiting = [];
    await this.#follower.close();
  }

  #retry(): void {
    const waiting = this.#waiting;
    if (this.maySend) {
      this.#waiting = [];
      for (const { args, pending } of waiting) this.#core.run(args, pending);
    } else {
      const nowMs = performance.now();
      const { refusal } = this.#follower;
      this.#waiting = waiting.filter(({ pending, sinceMs }) => {
        if (refusal === undefined && nowMs - sinceMs < PATIENCE_MS) return true;
        pending.reject(refusal ?? noLease());
        return false;
      });
    }
    if (this.#waiting.length > 0) return;
    clearInterval(this.#timer);
    this.#timer = undefined;
  }
}
