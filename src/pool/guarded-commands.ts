/**
 * How a router, whichever it is, sends a command whose slot is on the move. What it does follows the move's mode, which only the map says:
 *
 * - guarded: GUARD at the source; KFASK → the plain command at the target; KFBUSY → again after 1, 2, 4 … 20 ms; KFMIX, or a command that no script can run →
 *   the mover brings its keys to the target first;
 * - returning (a move that is being cancelled): the same with source and target exchanged;
 * - held: nothing is sent until the next map.
 *
 * Commands of one key run one after the other, so that a retry overtakes nothing that came later from the same caller.
 */
import { setTimeout as sleep } from 'node:timers/promises';
import type { Bytes } from '../base/bytes.ts';
import { isKeyfleetError, KeyfleetError } from '../base/errors.ts';
import { busyKey, guardScript, openKey } from './moves/guard-scripts.ts';
import type { Argument } from './moves/move-link.ts';
import type { PoolMap, SlotMove } from './pool-map.ts';

export interface GuardedCommand {
  readonly args: readonly Argument[];
  /** At least one; all of one slot, or of slots of one move. */
  readonly keys: readonly Bytes[];
  /** Unknown commands count as writes. */
  readonly write: boolean;
  /** False for what a script cannot run: MULTI, blocking commands, EVAL and its kin. Its keys are brought to the target first. */
  readonly scriptable: boolean;
  /** Its reply is wanted as RESP3 has it. */
  readonly resp3?: boolean;
}

export interface GuardPorts<R, C extends GuardedCommand = GuardedCommand> {
  /** The newest map. */
  map(): PoolMap;
  /** Sends a plain command to a server of the map, by its index. */
  send(server: number, args: readonly Argument[], command: C): Promise<R>;
  /** The text of an error reply. */
  errorOf(reply: R): string | undefined;
  /** Asks the mover to move these keys now. */
  pull(moveId: string, keys: readonly Bytes[]): Promise<void>;
  /** How long a command may wait for a busy key, a hold or a source that restarts; {@link PATIENCE_MS} when absent. */
  readonly patienceMs?: number;
}

/** More arguments than this do not go through Lua's `unpack`. */
const MOST_SCRIPT_ARGS = 5_000;
const SLOWEST_RETRY_MS = 20;
/** A look whether routers are still held asks nobody. */
const HELD_RETRY_MS = 1;
/** How long commands wait for keys on their way, or for a lease. */
export const PATIENCE_MS = 10_000;

/** The id that a move's scripts and reserved keys carry while it runs backwards. */
export const returningId = (moveId: string): string => `${moveId}.back`;

export class GuardedCommands<R, C extends GuardedCommand = GuardedCommand> {
  readonly #ports: GuardPorts<R, C>;
  /** The last command of each key, by its Latin-1. */
  readonly #tails = new Map<string, Promise<unknown>>();
  /** What is on the wire. */
  readonly #attempts = new Set<Promise<unknown>>();

  constructor(ports: GuardPorts<R, C>) {
    this.#ports = ports;
  }

  /** Whether a command of this key is under way here; a later one must come here too, even when its slot is not on the move any more. */
  has(key: Bytes): boolean {
    return this.#tails.size > 0 && this.#tails.has(nameOf(key));
  }

  /** Whether there is any such key: the cheap question to ask first. */
  get isIdle(): boolean {
    return this.#tails.size === 0;
  }

  /** Resolves once everything that was on the wire when it was called is answered. What only waits is not waited for. */
  async drained(): Promise<void> {
    await Promise.allSettled(this.#attempts);
  }

  /** @throws KF_POOL_MOVING, retryable, when its patience ends: nothing was done then. Else as `send` does. */
  run(command: C): Promise<R> {
    const names = [...new Set(command.keys.map(nameOf))];
    const before = names.map((name) => this.#tails.get(name)).filter((one) => one !== undefined);
    const running = before.length === 0 ? this.#run(command) : Promise.allSettled(before).then(() => this.#run(command));
    const tail = running.then(noop, noop).then(() => {
      for (const name of names) if (this.#tails.get(name) === tail) this.#tails.delete(name);
    });
    for (const name of names) this.#tails.set(name, tail);
    return running;
  }

  /**
   * For what outlives one command, transactions and commands that wait: has the mover bring the keys to the server where they belong next, and answers which that is.
   *
   * @throws KF_POOL_MOVING, retryable, when they are not all on the same move, or when its patience ends.
   */
  async bring(keys: readonly Bytes[]): Promise<number> {
    const ports = this.#ports;
    const startedMs = performance.now();
    for (let waitMs = 1; ; waitMs = Math.min(SLOWEST_RETRY_MS, waitMs * 2)) {
      const map = ports.map();
      const move = map.moveOf(map.slotOf(keys[0]!));
      if (keys.some((key) => map.moveOf(map.slotOf(key)) !== move)) throw notTogether();
      const home = map.homeOf(keys[0]!);
      if (move === undefined || move.mode === 'planned') return home!;
      if (home !== undefined) {
        try {
          await ports.pull(move.id, keys);
          if (ports.map() === map) return home;
        } catch (error) {
          if (!isKeyfleetError(error) || !error.retryable) throw error;
        }
      }
      this.#checkPatience(startedMs);
      await sleep(waitMs);
    }
  }

  #checkPatience(startedMs: number): void {
    if (performance.now() - startedMs > (this.#ports.patienceMs ?? PATIENCE_MS)) throw tooLong();
  }

  async #run(command: C): Promise<R> {
    const startedMs = performance.now();
    for (let waitMs = 1; ; waitMs = Math.min(SLOWEST_RETRY_MS, waitMs * 2)) {
      const reply = await this.#attempt(command);
      if (reply !== undefined) return reply.reply;
      this.#checkPatience(startedMs);
      const map = this.#ports.map();
      const isHeld = map.moveOf(map.slotOf(command.keys[0]!))?.mode === 'held';
      await sleep(isHeld ? HELD_RETRY_MS : waitMs);
    }
  }

  /** One try; undefined when it is to be tried again. */
  #attempt(command: C): Promise<{ readonly reply: R } | undefined> {
    const ports = this.#ports;
    const map = ports.map();
    // Slots are numbered anew when a plan refines them, so a command is not held to the number it had.
    const slot = map.slotOf(command.keys[0]!);
    const move = map.moveOf(slot);
    if (move?.mode === 'held') return Promise.resolve(undefined);
    const sent =
      move === undefined || move.mode === 'planned'
        ? ports.send(map.ownerOf(slot), command.args, command).then((reply) => ({ reply }))
        : this.#guarded(command, move);
    // Not sent, for want of a lease.
    const work = sent.catch((error: unknown) => {
      if (isKeyfleetError(error) && error.code === 'KF_POOL_MOVING') return undefined;
      throw error;
    });
    this.#attempts.add(work);
    const gone = (): void => void this.#attempts.delete(work);
    work.then(gone, gone);
    return work;
  }

  async #guarded(command: C, move: SlotMove): Promise<{ readonly reply: R } | undefined> {
    const ports = this.#ports;
    const back = move.mode === 'returning';
    const [from, to] = back ? [move.to, move.from] : [move.from, move.to];
    const id = back ? returningId(move.id) : move.id;
    const { args, keys } = command;
    if (command.scriptable && args.length <= MOST_SCRIPT_ARGS) {
      const reply = await ports.send(
        from,
        ['EVALSHA', guardScript(id).sha, keys.length + 2, ...keys, busyKey(id), openKey(id), guardMode(command), ...args],
        command,
      );
      const text = ports.errorOf(reply);
      if (text === undefined) return { reply };
      // The source restarted: the mover must see to it first.
      if (text.startsWith('KFBUSY') || text.startsWith('NOSCRIPT')) return undefined;
      if (!text.startsWith('KFASK') && !text.startsWith('KFMIX')) return { reply };
      if (text.startsWith('KFASK')) return { reply: await ports.send(to, args, command) };
    }
    try {
      await ports.pull(move.id, keys);
    } catch (error) {
      // The mover is not ready, or looks after a server that was lost.
      if (isKeyfleetError(error) && error.retryable) return undefined;
      throw error;
    }
    return { reply: await ports.send(to, args, command) };
  }
}

/** What GUARD is told: 1 for a write, and 2 more for a reply of RESP3. */
function guardMode({ write, resp3 }: GuardedCommand): string {
  return String(Number(write) + (resp3 === true ? 2 : 0));
}

/** The keys of one command are not all on the same move. */
export function notTogether(): KeyfleetError {
  return new KeyfleetError('KF_POOL_MOVING', 'some of its keys are on their way to another server; nothing was done, try again', {
    retryable: true,
  });
}

/** Refuses what would take the marks of a move, or its scripts, off the servers. `word` is the command's first argument. @throws KF_POOL_MOVING, retryable. */
export function checkWipes(map: PoolMap, name: string, word: string): void {
  const wipes = name === 'flushall' || name === 'flushdb' || (name === 'script' && word.toLowerCase() === 'flush');
  if (map.hasMoves && wipes)
    throw new KeyfleetError(
      'KF_POOL_MOVING',
      `'${name}' would take the marks of the keys that are on their way with it; try again when they have arrived`,
      { retryable: true },
    );
}

/** Nothing may be sent for want of a lease. */
export function noLease(): KeyfleetError {
  return new KeyfleetError('KF_POOL_MOVING', 'the owner of the pool does not answer, so nothing may be sent; nothing was done', {
    retryable: true,
  });
}

function tooLong(): KeyfleetError {
  return new KeyfleetError('KF_POOL_MOVING', 'the keys are on their way to another server, and that takes too long; nothing was done', {
    retryable: true,
  });
}

function nameOf(key: Bytes): string {
  return Buffer.from(key.buffer, key.byteOffset, key.length).toString('latin1');
}

function noop(): void {}
