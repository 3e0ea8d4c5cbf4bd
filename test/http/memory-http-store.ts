import { createHash } from 'node:crypto';
import { type Bytes, toHex, utf8 } from '../../src/base/bytes.ts';
import { KeyfleetError } from '../../src/base/errors.ts';
import type { Condition, HttpKeyspace, HttpStore, ScanRecord } from '../../src/http/http-store.ts';

interface Entry {
  readonly key: Bytes;
  readonly value: Bytes | undefined;
  readonly expireAtMs: number | undefined;
}

/** The HTTP door's store as a plain map: what the door does by itself can be seen without the real one. */
export class MemoryHttpStore implements HttpStore {
  readonly entries = new Map<string, Entry>();
  refusal: Error | undefined;
  readonly durability = 'none' as const;
  shardAdmin(): undefined {}
  readonly #keyspace: HttpKeyspace;

  constructor() {
    const { entries } = this;
    const live = (key: Bytes): Entry | undefined => {
      const entry = entries.get(toHex(key));
      return entry && (entry.expireAtMs === undefined || entry.expireAtMs > Date.now()) ? entry : undefined;
    };
    const holds = ({ ifMatch, ifNoneMatch }: Condition, entry: Entry | undefined): boolean => {
      const tag = entry?.value && createHash('sha256').update(entry.value).digest('hex').slice(0, 32);
      const matches = (tags: '*' | readonly string[]): boolean =>
        entry !== undefined && (tags === '*' || (tag !== undefined && tags.includes(tag)));
      return (ifMatch === undefined || matches(ifMatch)) && (ifNoneMatch === undefined || !matches(ifNoneMatch));
    };
    this.#keyspace = {
      name: 'default',
      async get(key) {
        const entry = live(key);
        if (entry && !entry.value) throw new KeyfleetError('KF_WRONG_TYPE', 'the key holds something else than a string');
        return entry && { value: entry.value!, ttlMs: entry.expireAtMs === undefined ? undefined : entry.expireAtMs - Date.now() };
      },
      put: async (key, value, { ttlMs, condition }) => {
        if (this.refusal) throw this.refusal;
        const before = live(key);
        if (!holds(condition, before)) return 'condition-failed';
        entries.set(toHex(key), { key, value, expireAtMs: ttlMs === undefined ? undefined : Date.now() + ttlMs });
        return before ? 'replaced' : 'created';
      },
      async read(key) {
        const entry = live(key);
        if (!entry) return undefined;
        const ttlMs = entry.expireAtMs === undefined ? undefined : entry.expireAtMs - Date.now();
        return entry.value
          ? { type: 'string', parts: [entry.value], ttlMs }
          : { type: 'hash', parts: [utf8('field'), utf8('value')], ttlMs };
      },
      async restore({ key }) {
        const before = live(key);
        entries.set(toHex(key), { key, value: undefined, expireAtMs: undefined });
        return before ? 'replaced' : 'created';
      },
      async delete(key, { condition }) {
        const before = live(key);
        if (!holds(condition, before)) return 'condition-failed';
        return entries.delete(toHex(key)) ? 'deleted' : 'absent';
      },
      async scan({ cursor, limit }) {
        const all = [...entries.values()].slice(cursor, cursor + limit);
        const records: ScanRecord[] = all.map(({ key, value, expireAtMs }) => ({
          key,
          value,
          type: value ? 'string' : 'hash',
          ttlMs: expireAtMs === undefined ? undefined : expireAtMs - Date.now(),
          sizeBytes: value?.length ?? 10,
        }));
        return { records, next: cursor + limit < entries.size ? cursor + limit : undefined };
      },
      counts: async () => ({ keyCount: entries.size, sizeBytes: 0, expiringCount: 0 }),
      get keyCount() {
        return entries.size;
      },
      sizeBytes: 0,
      expiringCount: 0,
      shards: () => [{ id: '1', from: 0, to: 2 ** 32, keyCount: entries.size, sizeBytes: 0, load: 0 }],
    };
  }

  keyspace(name: string): HttpKeyspace | undefined {
    return name === 'default' ? this.#keyspace : undefined;
  }

  keyspaceNames(): readonly string[] {
    return ['default'];
  }

  storageStats(): ReturnType<HttpStore['storageStats']> {
    return {
      durability: 'none',
      diskBytes: 0,
      journalBytes: 0,
      memtableBytes: 0,
      memtableEntries: 0,
      syncCount: 0,
      syncSeconds: 0,
      flushCount: 0,
    };
  }

  /** Has `key` hold something that is no string. */
  holdHash(key: Bytes): void {
    this.entries.set(toHex(key), { key, value: undefined, expireAtMs: undefined });
  }
}
