import type { Bytes } from '../base/bytes.ts';
import { KeyfleetError } from '../base/errors.ts';
import { argBytes } from './client-command.ts';
import { GuardedCommands } from './guarded-commands.ts';
import type { MovingCommand, MovingSlots, PoolCore } from './pool-core.ts';
import { promised } from './pool-core.ts';
import type { PoolMap } from './pool-map.ts';
import { RedisReplyError, type ReplyValue } from './reply-value.ts';
import { BackendLink, type Pending } from './server-link.ts';

/** What a router needs of the mover. */
export interface MoverPort {
  /** Moves these keys now. */
  pull(moveId: string, keys: readonly Bytes[]): Promise<void>;
}

/**
 * Makes a client a router that keys may move under: commands on slots that are on the move go through the guard, all others as ever.
 * `publish` is the router's side of the mover's barrier.
 */
export class ClientMoves implements MovingSlots {
  readonly #core: PoolCore;
  readonly #guarded: GuardedCommands<ReplyValue>;

  constructor(core: PoolCore, mover: MoverPort) {
    this.#core = core;
    this.#guarded = new GuardedCommands<ReplyValue>({
      map: () => core.map,
      send: (server, args) =>
        promised((pending) => core.sendAlone(server, args, pending), true).catch((error: unknown) => {
          if (error instanceof RedisReplyError) return error;
          throw error;
        }),
      errorOf: (reply) => (reply instanceof RedisReplyError ? reply.message : undefined),
      pull: (moveId, keys) => mover.pull(moveId, keys),
    });
  }

  takes(command: MovingCommand, pending: Pending): boolean {
    const keys = command.keys.map(argBytes);
    if (this.#core.map.moveOf(command.slot) === undefined && (this.#guarded.isIdle || !keys.some((key) => this.#guarded.has(key))))
      return false;
    const args = command.args.map((arg) => (typeof arg === 'bigint' ? String(arg) : arg));
    this.#guarded.run({ args, keys, slot: command.slot, write: command.write, scriptable: command.scriptable }).then(
      (value) => {
        if (value instanceof RedisReplyError) pending.reject(value);
        else pending.resolve(pending.asBuffers ? value : asText(value));
      },
      (error: unknown) => pending.reject(error),
    );
    return true;
  }

  /**
   * Goes by `map` from now on, and resolves once everything begun before is answered.
   *
   * @throws BackendError when a server does not answer: what was sent to it may yet be carried out, so the barrier does not stand.
   */
  async publish(map: PoolMap): Promise<void> {
    if (map.epoch > this.#core.map.epoch) this.#core.setMap(map);
    await Promise.all([this.#core.answered(), this.#guarded.drained()]);
  }
}

/** Puts the guard before a client's commands. @throws KF_NOT_SUPPORTED over clients of the user's, whose commands under way nobody can wait for. */
export function joinMoves(core: PoolCore, mover: MoverPort): ClientMoves {
  if (!core.links.every((link) => link instanceof BackendLink))
    throw new KeyfleetError(
      'KF_NOT_SUPPORTED',
      'keys cannot move under a pool over clients of your own: what they have under way cannot be waited for',
    );
  const moves = new ClientMoves(core, mover);
  core.moving = moves;
  return moves;
}

function asText(value: ReplyValue): ReplyValue {
  if (Buffer.isBuffer(value)) return value.toString();
  return Array.isArray(value) ? value.map(asText) : value;
}
