import type { Bytes } from '../base/bytes.ts';
import { KeyfleetError } from '../base/errors.ts';
import type { KeyspacePolicy } from '../shard/policy.ts';
import type { PositionSchemeName } from '../shard/position-scheme.ts';
import type { ValueModule } from '../shard/value-module.ts';
import type { BackupManifest } from './backup/backup-folder.ts';
import { StoreBackupSource } from './backup/backup-source.ts';
import { StoreBackupTarget } from './backup/backup-target.ts';
import { type RestoredKeyspace, type RestoreOptions, restoreBackup } from './backup/restore-backup.ts';
import { type BackupOptions, takeBackup } from './backup/take-backup.ts';
import type { CommandOptions, QueryOptions } from './call-options.ts';
import { type AllKeysOptions, Keyspace, type KeyspaceOf } from './keyspace.ts';
import type { ShardStats } from './keyspace-handle.ts';
import type { KeyspaceOptions } from './keyspace-options.ts';
import { Session, type SessionOptions } from './session.ts';
import type { StoreHost, WorkflowControl } from './store-host.ts';
import type { StoreNode } from './store-node.ts';

// The store for TypeScript users: promises and iteration over what a node offers with sinks and cursors.

/** The keyspaces to open, by name. */
export type KeyspaceDefinitions = Readonly<Record<string, KeyspaceOptions<unknown, unknown, unknown, unknown, unknown>>>;

type ModuleIn<Definitions extends KeyspaceDefinitions, Name extends keyof Definitions> = Definitions[Name]['module'];
type CommandOf<M> = M extends ValueModule<infer _V, infer C, infer _R, infer _Q, infer _A> ? C : never;
type ReplyOf<M> = M extends ValueModule<infer _V, infer _C, infer R, infer _Q, infer _A> ? R : never;
type QueryOf<M> = M extends ValueModule<infer _V, infer _C, infer _R, infer Q, infer _A> ? Q : never;
type AnswerOf<M> = M extends ValueModule<infer _V, infer _C, infer _R, infer _Q, infer A> ? A : never;

/** A shard of a keyspace, as it was when it was asked for. */
export interface Shard<Name extends string = string> extends ShardStats {
  readonly keyspace: Name;
}

export interface KeyspaceInfo {
  readonly name: string;
  /** Never another keyspace's, also after this one is gone. */
  readonly id: number;
  /** The name of its value module. */
  readonly module: string;
  readonly scheme: PositionSchemeName;
  readonly shardCount: number;
  readonly policy: KeyspacePolicy;
  /** Its value module was given to this process. */
  readonly isServed: boolean;
}

export class Store<Definitions extends KeyspaceDefinitions = Record<never, never>, Host extends StoreHost = StoreNode>
  implements AsyncDisposable
{
  /** What the store stands on; doors use it. */
  readonly node: Host;
  readonly #keyspaces = new Map<string, Keyspace<never, never, unknown, never, unknown>>();

  /** Use `openStore`. */
  constructor(node: Host) {
    this.node = node;
  }

  /** One of the keyspaces that the store was opened with. @throws KF_NO_KEYSPACE; KF_MODULE_MISSING when it exists and was not opened. */
  keyspace<Name extends keyof Definitions & string>(name: Name): KeyspaceOf<ModuleIn<Definitions, Name>> {
    const keyspace = this.#keyspaces.get(name);
    if (!keyspace) throw this.#whyNot(name);
    return keyspace as unknown as KeyspaceOf<ModuleIn<Definitions, Name>>;
  }

  /**
   * Serves a keyspace, and makes it first if there is none of that name.
   * @throws KF_KEYSPACE_EXISTS when this store serves it already; KF_BAD_KEYSPACE, KF_BAD_POLICY; KF_KEYSPACE_MISMATCH.
   */
  async registerKeyspace<V, C, R, Q, A>(name: string, options: KeyspaceOptions<V, C, R, Q, A>): Promise<Keyspace<V, C, R, Q, A>> {
    const runtime = await this.node.registerKeyspace(name, options);
    const keyspace = new Keyspace(runtime);
    this.#keyspaces.set(name, keyspace as unknown as Keyspace<never, never, unknown, never, unknown>);
    return keyspace;
  }

  /** Takes a keyspace away with all its keys, for good. The space is reclaimed in the background, also after a crash. @throws KF_NO_KEYSPACE. */
  async deregisterKeyspace(name: string): Promise<void> {
    await this.node.deregisterKeyspace(name);
    this.#keyspaces.delete(name);
  }

  /** All keyspaces that there are, by name; those too whose value module was not given. */
  listKeyspaces(): KeyspaceInfo[] {
    return this.node.keyspaceRecords().map(({ name, id, module, scheme, policy, shards }) => ({
      name,
      id,
      module,
      scheme,
      policy,
      shardCount: shards.length,
      isServed: this.#keyspaces.has(name),
    }));
  }

  /** When the keyspace's shards are split and merged. @throws KF_NO_KEYSPACE. */
  getPolicy(name: string): KeyspacePolicy {
    return this.node.getPolicy(name);
  }

  /** Changes what `change` says of the policy, and resolves to all of it. @throws KF_NO_KEYSPACE, KF_BAD_POLICY. */
  setPolicy(name: string, change: Partial<KeyspacePolicy>): Promise<KeyspacePolicy> {
    return this.node.setPolicy(name, change);
  }

  /** The splits and merges of a keyspace: those under way, and those asked for by hand. @throws KF_NO_KEYSPACE. */
  workflows(keyspace: keyof Definitions & string): WorkflowControl {
    return this.node.workflows(keyspace);
  }

  /** As {@link Keyspace.command}. */
  command<Name extends keyof Definitions & string>(
    keyspace: Name,
    key: string | Bytes,
    command: CommandOf<ModuleIn<Definitions, Name>>,
    options?: CommandOptions,
  ): Promise<ReplyOf<ModuleIn<Definitions, Name>>> {
    return this.#opened(keyspace).command(key, command as never, options) as Promise<ReplyOf<ModuleIn<Definitions, Name>>>;
  }

  /** As {@link Keyspace.query}. */
  query<Name extends keyof Definitions & string>(
    keyspace: Name,
    key: string | Bytes,
    query: QueryOf<ModuleIn<Definitions, Name>>,
    options?: QueryOptions,
  ): Promise<AnswerOf<ModuleIn<Definitions, Name>>> {
    return this.#opened(keyspace).query(key, query as never, options) as Promise<AnswerOf<ModuleIn<Definitions, Name>>>;
  }

  /** The shards of a keyspace as they are now, in order of position. @throws KF_NO_KEYSPACE, KF_MODULE_MISSING. */
  shards<Name extends keyof Definitions & string>(keyspace: Name): Shard<Name>[] {
    return this.#opened(keyspace)
      .shards()
      .map((shard) => ({ ...shard, keyspace }));
  }

  /** As {@link Keyspace.keysInShard}. */
  keysInShard(shard: Shard<keyof Definitions & string>): AsyncIterableIterator<Bytes> {
    return this.#opened(shard.keyspace).keysInShard(shard);
  }

  /** As {@link Keyspace.commandOnAllKeys}. */
  commandOnAllKeys<Name extends keyof Definitions & string>(
    shard: Shard<Name>,
    command: CommandOf<ModuleIn<Definitions, Name>>,
    options?: AllKeysOptions,
  ): Promise<number> {
    return this.#opened(shard.keyspace).commandOnAllKeys(shard, command as never, options);
  }

  /** A client whose requests are run once however often they are sent. @throws KF_BAD_REQUEST_ID. */
  session(options: SessionOptions = {}): Session {
    return new Session(options, this.node.now);
  }

  /**
   * Writes all keyspaces, or some, to the folder `dir` while the store runs: each shard as of one moment, with all that was answered before the call. An
   * interrupted one is gone on with by the same call. In a cluster the parts come from all nodes.
   * @throws KF_BACKUP_EXISTS, KF_BACKUP_WRITE_FAILED, KF_NO_KEYSPACE, KF_MODULE_MISSING, KF_INTERRUPTED, KF_UNAVAILABLE.
   */
  backup(dir: string, options?: BackupOptions): Promise<BackupManifest> {
    return takeBackup(dir, new StoreBackupSource(this.node), options);
  }

  /**
   * Restores what {@link backup} has written, into keyspaces that are empty, or not there and then made, after it has all been found whole. They answer
   * nobody (KF_KEYSPACE_LOADING) until all is there; when it fails on the way, the same call goes on.
   * @throws KF_NO_BACKUP, KF_BACKUP_UNFINISHED, KF_BACKUP_DAMAGED, KF_FORMAT_TOO_NEW, KF_KEYSPACE_NOT_EMPTY, KF_KEYSPACE_MISMATCH, KF_MODULE_MISSING,
   *   KF_RESTORE_RUNNING, KF_VALUE_TOO_LARGE, KF_INTERRUPTED.
   */
  restore(dir: string, options?: RestoreOptions): Promise<readonly RestoredKeyspace[]> {
    return restoreBackup(dir, new StoreBackupTarget(this.node), options);
  }

  stats(): ReturnType<Host['stats']> {
    return this.node.stats() as ReturnType<Host['stats']>;
  }

  /** Makes everything durable and lets go of the files. Requests are refused with KF_CLOSED from now on. */
  close(): Promise<void> {
    return this.node.close();
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.close();
  }

  #opened(name: string): Keyspace<never, never, unknown, never, unknown> {
    const keyspace = this.#keyspaces.get(name);
    if (!keyspace) throw this.#whyNot(name);
    return keyspace;
  }

  #whyNot(name: string): KeyfleetError {
    const known = this.node.keyspaceRecords();
    const record = known.find((one) => one.name === name);
    if (record) {
      return new KeyfleetError(
        'KF_MODULE_MISSING',
        `keyspace ${name} is there, and its value module ${record.module} is not: open the store with it`,
      );
    }
    return new KeyfleetError(
      'KF_NO_KEYSPACE',
      `there is no keyspace ${name}; there are ${known.map((one) => one.name).join(', ') || 'none'}`,
    );
  }
}
