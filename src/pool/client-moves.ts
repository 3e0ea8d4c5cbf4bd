import { setTimeout as sleep } from 'node:timers/promises';
import type { Bytes } from '../base/bytes.ts';
import { KeyfleetError } from '../base/errors.ts';
import type { KeyInput } from '../partition/hasher.ts';
import { argBytes } from './client-command.ts';
import { type GuardedCommand, GuardedCommands, noLease, PATIENCE_MS } from './guarded-commands.ts';
import type { MovingCommand, MovingSlots, PoolCore } from './pool-core.ts';
import type { PoolMap } from './pool-map.ts';
import { RedisReplyError, type ReplyValue } from './reply-value.ts';
import { BackendLink, type Pending } from './server-link.ts';

/** What a router needs of the mover. */
export interface MoverPort {
  /** Moves these keys now. */
  pull(moveId: string, keys: readonly Bytes[]): Promise<void>;
  /** False while nothing may be sent; a mover of this process leaves it out. */
  readonly maySend?: boolean;
}

interface LibraryCommand extends GuardedCommand {
  readonly asBuffers: boolean;
}

type Answer = { readonly value: ReplyValue } | { readonly refused: RedisReplyError };

/**
 * Makes a client a router that keys may move under: commands on slots that are on the move go through the guard, all others as ever.
 * `publish` is the router's side of the mover's barrier.
 */
export class ClientMoves implements MovingSlots {
  readonly #core: PoolCore;
  readonly #mover: MoverPort;
  readonly #guarded: GuardedCommands<Answer, LibraryCommand>;

  constructor(core: PoolCore, mover: MoverPort) {
    this.#core = core;
    this.#mover = mover;
    this.#guarded = new GuardedCommands<Answer, LibraryCommand>({
      map: () => core.map,
      send: (server, args, { asBuffers }) =>
        new Promise((resolve, reject) => {
          if (!this.maySend) {
            reject(noLease());
            return;
          }
          core.sendTo(server, args, {
            asBuffers,
            resolve: (value) => resolve({ value }),
            reject: (error) => (error instanceof RedisReplyError ? resolve({ refused: error }) : reject(error)),
          });
        }),
      errorOf: (answer) => ('refused' in answer ? answer.refused.message : undefined),
      pull: (moveId, keys) => mover.pull(moveId, keys),
    });
  }

  get maySend(): boolean {
    return this.#mover.maySend !== false;
  }

  takes(command: MovingCommand, pending: Pending): boolean {
    const { map } = this.#core;
    if (!map.hasMoves && this.#guarded.isIdle) return false;
    const keys = command.keys.map(argBytes);
    const move = map.moveOf(map.slotOf(keys[0]!));
    const isPlain = move === undefined || move.mode === 'planned';
    if (command.waits) {
      if (isPlain) return false;
      // Not behind its key's other commands, nor they behind it: it may wait for one of them.
      this.#guarded.bring(keys).then(
        (server) => this.#core.sendAlone(server, command.args, pending),
        (error: unknown) => pending.reject(error),
      );
      return true;
    }
    if (isPlain && !keys.some((key) => this.#guarded.has(key))) return false;
    const args = command.args.map((arg) => (typeof arg === 'bigint' ? String(arg) : arg));
    const { write, scriptable } = command;
    this.#guarded.run({ args, keys, write, scriptable, asBuffers: pending.asBuffers }).then(
      (answer) => ('refused' in answer ? pending.reject(answer.refused) : pending.resolve(answer.value)),
      (error: unknown) => pending.reject(error),
    );
    return true;
  }

  async homeOf(keys: readonly KeyInput[]): Promise<number | undefined> {
    for (const endMs = performance.now() + PATIENCE_MS; !this.maySend; await sleep(5)) if (performance.now() > endMs) throw noLease();
    const { map } = this.#core;
    if (!map.hasMoves || keys.every((key) => map.moveOf(map.slotOf(key)) === undefined)) return undefined;
    return this.#guarded.bring(keys.map(argBytes));
  }

  /** Goes by `map` from now on, and resolves once nothing that was begun before can be carried out any more. */
  async publish(map: PoolMap): Promise<void> {
    await Promise.all([this.#guarded.drained(), this.#core.pass(map)]);
  }
}

/** Puts the guard before a client's commands. @throws KF_NOT_SUPPORTED over clients of the user's, whose commands under way nobody can wait for. */
export function joinMoves(core: PoolCore, mover: MoverPort): ClientMoves {
  checkOwnSockets(core);
  const moves = new ClientMoves(core, mover);
  core.moving = moves;
  return moves;
}

/** @throws KF_NOT_SUPPORTED. */
export function checkOwnSockets(core: PoolCore): void {
  if (core.links.every((link) => link instanceof BackendLink)) return;
  throw new KeyfleetError(
    'KF_NOT_SUPPORTED',
    'keys cannot move under a pool over clients of your own: what they have under way cannot be waited for',
  );
}
