import { KeyfleetError } from '../base/errors.ts';
import type { KeyInput } from '../partition/hasher.ts';
import { argBytes, commandNamed, keyOf, keyPlaces, requestArgs } from './client-command.ts';
import type { RoutedCommand } from './command-table.ts';
import { checkWipes, noLease, notTogether } from './guarded-commands.ts';
import { splitCommand } from './joined-answers.ts';
import type { CallOptions, PoolCore } from './pool-core.ts';
import { JoinedReplies } from './replies-join.ts';
import { type CommandArg, encodeRequest } from './request-encoder.ts';
import { BackendLink, type Pending } from './server-link.ts';
import { isNilReply, mayWait, withTimeLeft } from './waiting-commands.ts';

/** Where each command of a pool's library goes: to the server of its keys, split over several, to all, over a connection of its own, or nowhere. */
export class CommandRouting {
  readonly #core: PoolCore;

  constructor(core: PoolCore) {
    this.#core = core;
  }

  /** @throws what `pending` is to hear when nothing was sent. */
  run(args: readonly CommandArg[], pending: Pending, options: CallOptions): void {
    if (args.length === 0) throw new KeyfleetError('KF_BAD_COMMAND', 'a command has a name');
    const name = String(args[0]);
    if (options.server !== undefined) {
      this.#core.sendTo(this.#core.serverNamed(options.server), args, pending);
      return;
    }
    const command = commandNamed(name);
    if (options.key !== undefined || command === undefined) {
      const key = options.key ?? args[1];
      if (key === undefined)
        throw new KeyfleetError(
          'KF_BAD_COMMAND',
          `${name} is not known here and has no argument to route by; say which key or server it is for`,
        );
      this.#send(command, args, [keyOf(key)], pending);
      return;
    }
    switch (command.kind) {
      case 'keyed':
      case 'blocking': {
        const keys = keyPlaces(command, args).map((place) => keyOf(args[place]!));
        if (keys.length === 0) throw new KeyfleetError('KF_BAD_COMMAND', `${name.toUpperCase()} names no key that would tell its server`);
        if (command.isSplit) this.#split(command, args, keys, pending);
        else this.#send(command, args, keys, pending);
        return;
      }
      case 'any':
        this.#core.sendTo(this.#anyServer(), args, pending);
        return;
      case 'all': {
        if (this.#core.moving?.maySend === false) throw noLease();
        checkWipes(this.#core.map, command.name, String(args[1] ?? ''));
        const servers = this.#core.liveServers();
        const join = new JoinedReplies(
          pending,
          command.name === 'script' && String(args[1]).toLowerCase() === 'exists' ? 'every' : (command.join ?? 'first'),
          servers.length,
        );
        servers.forEach((server, part) => {
          this.#core.sendTo(server, args, join.part(part));
        });
        return;
      }
      case 'pubsub':
        if (command.name !== 'publish' && command.name !== 'spublish') throw notSupported(name, 'as a command; use subscribe()');
        this.#send(command, args, [keyOf(args[1] ?? '')], pending);
        return;
      case 'transaction':
        throw notSupported(name, 'as a command, since connections are shared; use multi() or watch()');
      case 'local':
        if (command.name === 'ping' || command.name === 'echo') {
          this.#core.sendTo(this.#anyServer(), args, pending);
          return;
        }
        throw notSupported(
          name,
          name.toLowerCase() === 'scan'
            ? 'as a command; use scan(), which goes over all servers'
            : 'by a pool as a whole; say which server: call([…], { server })',
        );
      case 'refused':
        throw notSupported(name, `by a pool: ${command.why}`);
    }
  }

  #send(command: RoutedCommand | undefined, args: readonly CommandArg[], keys: readonly KeyInput[], pending: Pending): void {
    const server = this.#core.oneServer(String(args[0]), keys);
    const blocks = command?.kind === 'blocking' && mayWait(command.name, requestArgs(args));
    if (this.#core.moving !== undefined) {
      const scriptable = !blocks && command !== undefined && !/^(eval|fcall)/.test(command.name);
      this.#checkTogether(keys);
      if (this.#core.moving.takes({ args, keys, write: command?.isWrite ?? true, scriptable, waits: blocks }, pending)) return;
    }
    if (blocks) this.block(server, args, pending);
    else this.#core.sendTo(server, args, pending);
  }

  /** @throws KF_POOL_MOVING when keys are not all on the same move. */
  #checkTogether(keys: readonly KeyInput[]): void {
    if (!this.#core.map.hasMoves || keys.length === 1) return;
    const move = this.#core.map.moveOf(this.#core.map.slotOf(keys[0]!));
    if (keys.some((key) => this.#core.map.moveOf(this.#core.map.slotOf(key)) !== move)) throw notTogether();
  }

  /** One command to each server, the answers joined. */
  #split(command: RoutedCommand, args: readonly CommandArg[], keys: readonly KeyInput[], pending: Pending): void {
    const place = command.places[0]!;
    const step = place.kind === 'range' ? place.step : 1;
    if ((args.length - 1) % step !== 0) throw new KeyfleetError('KF_BAD_COMMAND', `${String(args[0])}: every key needs its value`);
    const moving = this.#core.moving !== undefined && this.#core.map.hasMoves;
    // Slots on the move are asked for key by key; -1 - order keeps them apart from servers.
    const parts = splitCommand(args, keys, step, (key, order) =>
      moving && this.#core.map.moveOf(this.#core.map.slotOf(key)) !== undefined ? -1 - order : this.#core.serverOf(key),
    );
    if (parts.length === 1) {
      const [part] = parts;
      this.#send(command, part!.args, part!.keys, pending);
      return;
    }
    const join = new JoinedReplies(
      pending,
      command.join!,
      parts.length,
      parts.map(({ orders }) => orders),
    );
    parts.forEach((part, index) => {
      this.#send(command, part.args, part.keys, join.part(index));
    });
  }

  /** What waits at the server must not keep others waiting: it gets a connection of its own, and goes on elsewhere when its keys do. */
  block(server: number, args: readonly CommandArg[], pending: Pending): void {
    const link = this.#core.links[server]!;
    if (!(link instanceof BackendLink)) {
      link.send(args, pending);
      return;
    }
    const name = String(args[0]).toLowerCase();
    const sinceMs = performance.now();
    let isMoved = false;
    const own = this.#core.privates.take(link.backend, true, {
      onMoved: () => {
        isMoved = true;
      },
    });
    own.keys = this.#core.keysOf(args).map((key) => argBytes(key));
    own.isWaiting = true;
    own.connection.send(
      encodeRequest(args),
      {
        onReply: (_, bytes, start) => {
          this.#core.privates.give(own);
          const again =
            isMoved && isNilReply(bytes, start) ? withTimeLeft(name, requestArgs(args), performance.now() - sinceMs) : undefined;
          if (again === undefined) link.onReply(pending, bytes, start);
          else this.#core.run(again, pending);
        },
        onFailure: (_, error) => link.onFailure(pending, error),
      },
      undefined,
    );
  }

  #anyServer(): number {
    const live = this.#core.liveServers();
    const up = live.find((server) => {
      const link = this.#core.links[server]!;
      return !(link instanceof BackendLink) || link.backend.failures === 0;
    });
    return up ?? live[0]!;
  }
}

/** KF_NOT_SUPPORTED, with the reason. */
export function notSupported(name: string, why: string): KeyfleetError {
  return new KeyfleetError('KF_NOT_SUPPORTED', `${name} is not served ${why}`);
}
