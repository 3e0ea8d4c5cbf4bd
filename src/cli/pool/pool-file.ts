import { isKeyfleetError, KeyfleetError, messageOf } from '../../base/errors.ts';
import { askedByFile } from '../../pool/moves/asked-change.ts';
import { asksForOthers, changeCommands, untaken } from '../../pool/moves/file-changes.ts';
import type { ChangeAnswer } from '../../pool/moves/move-admin.ts';
import type { PlannedMove } from '../../pool/moves/move-records.ts';
import type { PoolConfig } from '../../pool/pool-config.ts';
import { readPoolsFile } from '../../pool/pools-file.ts';
import type { Logger } from '../terminal/logger.ts';
import { askOwner } from './pool-owner-client.ts';

/** The pool of this name; the only one when no name is given. @throws KF_CONFIG, KF_USAGE. */
export function readOnePool(path: string, name: string | undefined): PoolConfig {
  const { pools } = readPoolsFile(path);
  const found = name === undefined && pools.length === 1 ? pools[0] : pools.find((pool) => pool.name === name);
  if (found === undefined) throw new KeyfleetError('KF_USAGE', `--pool: one of ${pools.map((pool) => pool.name).join(', ')}`);
  return found;
}

/** Moves in one line, for logs. */
export function shownMoves(moves: readonly PlannedMove[]): string {
  if (moves.length === 0) return 'no slots move';
  return `moving ${moves.map(({ from, to, slotCount }) => `${slotCount} slots from ${from} to ${to}`).join(', ')}`;
}

/**
 * The servers of a proxy's file, whenever it is read again: what has changed among them is asked of the pool's owner, whose moves bring it about; without an owner the
 * log says what to do. What was refused is asked for again the next time.
 */
export class FileServers {
  /** As they were taken last. */
  readonly #taken: Map<string, PoolConfig>;
  readonly #log: Logger;

  constructor(pools: readonly PoolConfig[], log: Logger) {
    this.#taken = new Map(pools.map((pool) => [pool.name, pool]));
    this.#log = log;
  }

  /** Never rejects. */
  async reload(pools: readonly PoolConfig[]): Promise<void> {
    for (const pool of pools) {
      const before = this.#taken.get(pool.name);
      if (before !== undefined && (await this.#take(before, pool))) this.#taken.set(pool.name, pool);
    }
    for (const name of this.#taken.keys())
      if (!pools.some((pool) => pool.name === name))
        this.#log.warn({ pool: name }, 'the pool is in the file no more; it is served until the process is started again');
  }

  async #take(before: PoolConfig, after: PoolConfig): Promise<boolean> {
    const log = this.#log;
    const pool = after.name;
    const { placement, atStart } = untaken(before, after);
    if (atStart.length > 0) log.warn({ pool }, `taken by the next start only: ${atStart.join(', ')}`);
    if (placement.length > 0) {
      const why = `${placement.join(', ')} cannot change while keys are there, and nothing of the servers is taken`;
      log.error({ pool, code: 'KF_POOL_PLAN' }, why);
      return false;
    }
    // A cluster says itself which servers it has.
    if (after.cluster || !asksForOthers(before, after)) return true;
    const { control } = before;
    if (control === undefined) {
      const commands = changeCommands(before.servers, after.servers).map((one) => `\`${one}\``);
      const why = `other servers are not taken, since keys would have to move: start \`keyfleet pool owner\`, have the proxies follow it, then ${commands.join(', ') || '`keyfleet pool apply FILE`'}`;
      log.error({ pool, code: 'KF_POOL_PLAN' }, why);
      return false;
    }
    try {
      const { moves, isThere } = await askOwner<ChangeAnswer>(control, 'change', askedByFile(after, before));
      log.info(
        { pool },
        isThere ? 'the pool has the servers of the file already' : `the owner takes the servers of the file: ${shownMoves(moves)}`,
      );
      return true;
    } catch (error) {
      const code = isKeyfleetError(error) ? error.code : 'KF_INTERNAL';
      log.error({ pool, code }, `the owner does not take the servers of the file: ${messageOf(error)}`);
      return false;
    }
  }
}
