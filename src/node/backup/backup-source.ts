import type { Bytes } from '../../base/bytes.ts';
import { KeyfleetError } from '../../base/errors.ts';
import type { KeyspacePolicy } from '../../shard/policy.ts';
import type { PositionSchemeName } from '../../shard/position-scheme.ts';
import type { ServedKeyspace, StoreHost } from '../store-host.ts';
import { rangeFile } from './range-file.ts';

// What a backup is taken from: a store in this process, or one behind HTTP (src/cli/backup/backup-client.ts).

/** What there is to back up. */
export interface BackupOrigin {
  /** The cluster's name; null: a store on one machine. */
  readonly cluster: string | null;
  /** The node that was asked; of a store on one machine: the store's id. */
  readonly node: string;
  readonly keyspaces: readonly OriginKeyspace[];
}

export interface OriginKeyspace {
  readonly name: string;
  readonly id: number;
  readonly module: string;
  readonly scheme: PositionSchemeName;
  readonly policy: KeyspacePolicy;
  /** False: the server was not given its value module, and cannot read it. */
  readonly isServed: boolean;
  /** In order of position; together they cover it all. */
  readonly shards: readonly { readonly from: number; readonly to: number; readonly keyCount: number }[];
}

export interface BackupSource {
  origin(): Promise<BackupOrigin>;
  /** The bytes of a part, see range-file.ts: from position `from` to at most `to`. @throws errors that are retryable when it may be asked again. */
  part(keyspace: string, from: number, to: number): Promise<AsyncIterable<Bytes>>;
}

/** @see BackupSource.origin */
export function originOf(host: BackupHost): BackupOrigin {
  const served = new Map(host.keyspaces().map((keyspace) => [keyspace.name, keyspace]));
  return {
    cluster: host.cluster ?? null,
    node: host.nodeId,
    keyspaces: host.keyspaceRecords().map(({ name, id, module, scheme, policy, shards }) => ({
      ...{ name, id, module, scheme, policy, isServed: served.has(name) },
      shards:
        served
          .get(name)
          ?.shardStats()
          .map(({ from, to, keyCount }) => ({ from, to, keyCount })) ??
        shards.map(({ range: { from, to } }) => ({ from, to, keyCount: 0 })),
    })),
  };
}

/** What a backup needs of the store in this process. */
export type BackupHost = Pick<StoreHost, 'cluster' | 'nodeId' | 'keyspaces' | 'keyspaceRecords'>;

/** A store in this process. */
export class StoreBackupSource implements BackupSource {
  readonly #host: BackupHost;

  constructor(host: BackupHost) {
    this.#host = host;
  }

  async origin(): Promise<BackupOrigin> {
    return originOf(this.#host);
  }

  async part(keyspace: string, from: number, to: number): Promise<AsyncIterable<Bytes>> {
    return rangeFile(await servedKeyspace(this.#host, keyspace).backup.read(from, to));
  }
}

/** @throws KF_NO_KEYSPACE, KF_MODULE_MISSING. */
export function servedKeyspace(host: BackupHost, name: string): ServedKeyspace {
  const served = host.keyspaces().find((one) => one.name === name);
  if (served) return served;
  const record = host.keyspaceRecords().find((one) => one.name === name);
  if (!record) throw new KeyfleetError('KF_NO_KEYSPACE', `there is no keyspace ${name}`);
  throw new KeyfleetError(
    'KF_MODULE_MISSING',
    `keyspace ${name} is there, and its value module ${record.module} was not given to this server`,
  );
}
