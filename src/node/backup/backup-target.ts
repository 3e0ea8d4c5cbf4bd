import { randomBytes } from 'node:crypto';
import type { Bytes } from '../../base/bytes.ts';
import { KeyfleetError } from '../../base/errors.ts';
import { encodedItems, joinItems } from '../../shard/backup-items.ts';
import type { KeyspacePolicy } from '../../shard/policy.ts';
import type { PositionSchemeName } from '../../shard/position-scheme.ts';
import type { KeyspaceCounts } from '../keyspace-handle.ts';
import type { ServedKeyspace, StoreHost } from '../store-host.ts';
import type { LoadState } from './range-reading.ts';

// What a backup is restored into: a store in this process, or one behind HTTP (src/cli/backup/backup-client.ts).

/** What is to be restored. */
export interface RestoreBeginning {
  /** The backup. */
  readonly backup: string;
  readonly module: string;
  readonly scheme: PositionSchemeName;
  /** Of a keyspace that is made for it: where its shards begin, and its policy. */
  readonly starts: readonly number[];
  readonly policy: Partial<KeyspacePolicy>;
  /** The longest item that will come. */
  readonly longestItemBytes: number;
  /** Gives up what an earlier restore has left, this backup's or another's. */
  readonly restart: boolean;
}

export interface RestoreBegun {
  /** Of this restore; the one that was interrupted, where there is one of this backup. */
  readonly id: string;
  /** An interrupted one is gone on with. */
  readonly goesOn: boolean;
}

/** All has been put. */
export interface RestoreEnd {
  /** Sessions not used since had expired where the backup was taken. */
  readonly sessionsExpiredBeforeMs: number;
  /** The keys that there must be. */
  readonly records: number;
}

/** What is known of a restore before the backup has been read. */
export type RestoreWish = Pick<RestoreBeginning, 'backup' | 'module' | 'scheme' | 'restart'>;

export interface BackupTarget {
  /**
   * Looks whether {@link begin} would refuse it, as far as that can be seen before all of the backup has been read. Changes nothing.
   * @throws as begin; but where this backup has been restored into the keyspace to the end, it says so.
   */
  check(keyspace: string, wish: RestoreWish): Promise<{ readonly isDone: boolean }>;
  /**
   * Makes the keyspace if there is none, and has it answer nobody until {@link end}.
   * @throws KF_KEYSPACE_NOT_EMPTY, KF_KEYSPACE_MISMATCH, KF_MODULE_MISSING, KF_RESTORE_RUNNING, KF_VALUE_TOO_LARGE; nothing is changed then.
   */
  begin(keyspace: string, what: RestoreBeginning): Promise<RestoreBegun>;
  /** Puts what a block holds, durably. Doing it twice is doing it once. @throws KF_NOT_LOADING, KF_BACKUP_DAMAGED. */
  put(keyspace: string, id: string, block: Bytes): Promise<void>;
  /** Serves the keyspace again. @throws KF_NOT_LOADING; KF_COUNT_MISMATCH when it has not as many keys as it should, and then it stays as it is. */
  end(keyspace: string, id: string, what: RestoreEnd): Promise<KeyspaceCounts>;
}

/** What a restore needs of the store in this process. */
export type RestoreHost = Pick<StoreHost, 'keyspaces' | 'keyspaceRecords' | 'moduleNamed' | 'registerKeyspace'>;

/** A store in this process. */
export class StoreBackupTarget implements BackupTarget {
  readonly #host: RestoreHost;

  constructor(host: RestoreHost) {
    this.#host = host;
  }

  async check(name: string, wish: RestoreWish): Promise<{ readonly isDone: boolean }> {
    if (!this.#isThere(name, wish)) return { isDone: false };
    const states = await this.#served(name).backup.loadStates();
    const isOurs = states.every(({ isLoading, loadId }) => !isLoading && loadId.startsWith(`${wish.backup}/`));
    const isDone = isOurs && states.some(({ keyCount }) => keyCount > 0);
    const isGivenUp = wish.restart && states.some(({ isLoading }) => isLoading);
    if (!isDone && !isGivenUp) restoreId(name, wish.backup, states);
    return { isDone };
  }

  async begin(name: string, what: RestoreBeginning): Promise<RestoreBegun> {
    const keyspace = await this.#keyspace(name, what);
    const { maxItemBytes } = keyspace.backup;
    if (what.longestItemBytes > maxItemBytes) {
      const limit = `the logs of this cluster take ${maxItemBytes} (max_payload of the NATS servers)`;
      throw new KeyfleetError(
        'KF_VALUE_TOO_LARGE',
        `the backup of keyspace ${name} has a value of ${what.longestItemBytes} bytes; ${limit}`,
      );
    }
    let states = await keyspace.backup.loadStates();
    if (what.restart && states.some(({ isLoading }) => isLoading)) {
      await keyspace.clear();
      states = await keyspace.backup.loadStates();
    }
    const { id, goesOn } = restoreId(name, what.backup, states);
    for (let at = 0; at < 0x1_0000_0000; ) at = (await keyspace.backup.restoreStep(at, { step: 'begin', id })).range.to;
    return { id, goesOn };
  }

  async put(name: string, id: string, block: Bytes): Promise<void> {
    const { backup } = this.#served(name);
    const byShard = new Map<number, { readonly position: number; readonly items: Bytes[] }>();
    for (const { item, encoded } of encodedItems(block)) {
      const position = item.kind === 'session' ? item.place : backup.positionOf(item.key);
      const shard = backup.shardIndexAt(position);
      const group = byShard.get(shard);
      if (group) group.items.push(encoded);
      else byShard.set(shard, { position, items: [encoded] });
    }
    // In any order: no step minds another.
    const steps = [...byShard.values()].flatMap(({ position, items }) =>
      joinItems(items, Math.min(STEP_BYTES, backup.maxItemBytes)).map((piece) =>
        backup.restoreStep(position, { step: 'records', id, items: piece }),
      ),
    );
    const refused = (await Promise.allSettled(steps)).find(({ status }) => status === 'rejected');
    if (refused) throw (refused as PromiseRejectedResult).reason;
  }

  async end(name: string, id: string, { sessionsExpiredBeforeMs, records }: RestoreEnd): Promise<KeyspaceCounts> {
    const keyspace = this.#served(name);
    const states = await keyspace.backup.loadStates();
    const keyCount = states.reduce((sum, state) => sum + state.keyCount, 0);
    // What has been ended is written to, and expires.
    if (keyCount !== records && states.every(({ isLoading }) => isLoading)) {
      throw new KeyfleetError(
        'KF_COUNT_MISMATCH',
        `keyspace ${name} has ${keyCount} keys after the restore of ${records}; it answers nobody still`,
      );
    }
    for (let at = 0; at < 0x1_0000_0000; ) {
      at = (await keyspace.backup.restoreStep(at, { step: 'end', id, sessionsExpiredBeforeMs })).range.to;
    }
    return keyspace.counts();
  }

  async #keyspace(name: string, what: RestoreBeginning): Promise<ServedKeyspace> {
    if (!this.#isThere(name, what)) {
      const { module, scheme, starts: shards, policy } = what;
      await this.#host.registerKeyspace(name, { module: this.#host.moduleNamed(module)!, scheme, shards, policy });
    }
    return this.#served(name);
  }

  /** Or is to be made, and can be. @throws KF_KEYSPACE_MISMATCH, KF_MODULE_MISSING. */
  #isThere(name: string, { module, scheme }: RestoreWish): boolean {
    const record = this.#host.keyspaceRecords().find((one) => one.name === name);
    if (record && (record.module !== module || record.scheme !== scheme)) {
      const its = `value module ${record.module} and scheme ${record.scheme}`;
      throw new KeyfleetError('KF_KEYSPACE_MISMATCH', `keyspace ${name} has ${its}; the backup is of ${module} and ${scheme}`);
    }
    if (!record && !this.#host.moduleNamed(module)) {
      const why = `which no keyspace of this store has: open it with that`;
      throw new KeyfleetError('KF_MODULE_MISSING', `keyspace ${name} has value module ${module}, ${why}`);
    }
    return record !== undefined;
  }

  #served(name: string): ServedKeyspace {
    const served = this.#host.keyspaces().find((one) => one.name === name);
    if (!served) throw new KeyfleetError('KF_MODULE_MISSING', `keyspace ${name} is not served here: its value module was not given`);
    return served;
  }
}

/** Of what one entry of a log takes. */
const STEP_BYTES = 128 * 1024;

/** @throws KF_RESTORE_RUNNING, KF_KEYSPACE_NOT_EMPTY. */
function restoreId(name: string, backup: string, states: readonly LoadState[]): RestoreBegun {
  const begun = states.find(({ isLoading }) => isLoading)?.loadId;
  if (begun !== undefined && !begun.startsWith(`${backup}/`)) {
    const [other] = begun.split('/');
    const what = `keyspace ${name} is being restored from backup ${other}, or was until that died; let it end, or give it up (--restart, FLUSHALL)`;
    throw new KeyfleetError('KF_RESTORE_RUNNING', what);
  }
  const full = states.find(({ isLoading, keyCount, loadId }) => !isLoading && keyCount > 0 && loadId !== begun);
  if (full) {
    const what = `keyspace ${name} is not empty; a backup is restored into an empty one, or under another name (--as)`;
    throw new KeyfleetError('KF_KEYSPACE_NOT_EMPTY', what);
  }
  return begun === undefined ? { id: `${backup}/${randomBytes(6).toString('base64url')}`, goesOn: false } : { id: begun, goesOn: true };
}
