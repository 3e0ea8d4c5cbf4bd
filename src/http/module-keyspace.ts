import type { Bytes } from '../base/bytes.ts';
import { KeyfleetError } from '../base/errors.ts';
import { Keyspace } from '../node/keyspace.ts';
import type { KeyspaceCounts } from '../node/keyspace-handle.ts';
import type { ServedKeyspace } from '../node/store-host.ts';
import type { RequestId } from '../shard/request-id.ts';
import type { HttpKeyspace, ScanPage, ShardStatus } from './http-store.ts';

/** A keyspace of a value module that is not Redis's: commands and queries in JSON instead of values in bytes. */
export class ModuleHttpKeyspace implements HttpKeyspace {
  readonly #runtime: ServedKeyspace;
  readonly #keyspace: Keyspace<never, never, unknown, never, unknown>;

  constructor(runtime: ServedKeyspace) {
    this.#runtime = runtime;
    this.#keyspace = new Keyspace(runtime);
  }

  /** Whether it stands on `runtime`: a keyspace that was taken away and made again has another. */
  isOf(runtime: ServedKeyspace): boolean {
    return this.#runtime === runtime;
  }

  get name(): string {
    return this.#runtime.name;
  }
  counts(): Promise<KeyspaceCounts> {
    return this.#keyspace.counts();
  }
  get keyCount(): number {
    return this.#runtime.keyCount;
  }
  get sizeBytes(): number {
    return this.#runtime.sizeBytes;
  }
  get expiringCount(): number {
    return this.#runtime.expiringCount;
  }

  shards(): readonly ShardStatus[] {
    return this.#runtime.shardStats().map((shard) => ({ ...shard, id: String(shard.id) }));
  }

  command(key: Bytes, command: unknown, request: RequestId | undefined): Promise<unknown> {
    return this.#keyspace.command(key, command as never, request && { request });
  }

  query(key: Bytes, query: unknown): Promise<unknown> {
    return this.#keyspace.query(key, query as never);
  }

  get(): Promise<never> {
    return Promise.reject(this.#noStrings());
  }
  put(): Promise<never> {
    return Promise.reject(this.#noStrings());
  }
  read(): Promise<never> {
    return Promise.reject(this.#noStrings());
  }
  restore(): Promise<never> {
    return Promise.reject(this.#noStrings());
  }
  delete(): Promise<never> {
    return Promise.reject(this.#noStrings());
  }

  async scan(options: { readonly cursor: number; readonly limit: number }): Promise<ScanPage> {
    const { records, next } = await this.#keyspace.scan(options);
    const nowMs = Date.now();
    return {
      next,
      records: records.map(({ key, expireAtMs, sizeBytes }) => ({
        key,
        value: undefined,
        type: this.#runtime.module.name,
        ttlMs: expireAtMs === undefined ? undefined : Math.max(1, expireAtMs - nowMs),
        sizeBytes,
      })),
    };
  }

  #noStrings(): KeyfleetError {
    const { name, module } = this.#runtime;
    return new KeyfleetError(
      'KF_NOT_SUPPORTED',
      `the values of keyspace ${name} are those of ${module.name}: POST to /v1/keyspaces/${name}/command and /query`,
    );
  }
}
