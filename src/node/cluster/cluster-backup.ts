import type { Bytes } from '../../base/bytes.ts';
import { isKeyfleetError, KeyfleetError } from '../../base/errors.ts';
import type { LoadCommand, LoadReply } from '../../shard/load.ts';
import type { KeyspaceRecord } from '../../shard/meta/meta-records.ts';
import type { Transport } from '../../transport/transport.ts';
import type { KeyspaceBackup, LoadState, RangeReading } from '../backup/range-reading.ts';
import type { NodeClock } from '../node-clock.ts';
import type { LoadRequest } from './call.ts';
import type { ClusterMap } from './cluster-map.ts';
import { SINCE } from './cluster-options.ts';
import type { ShardKeyspace } from './hosted-shard.ts';
import type { LookAnswer } from './look.ts';
import { FetchedRange, type RangeSource } from './range-transfer.ts';
import type { CallRouter, LocalShards } from './router.ts';
import { mappedShardAt } from './routes.ts';

/** What the backups of a node's keyspaces share. */
export interface BackupSurroundings {
  readonly self: string;
  readonly clock: NodeClock;
  readonly transport: Transport;
  readonly router: CallRouter;
  readonly host: LocalShards;
  readonly map: ClusterMap;
  /** Of the copies that are here, if any can be. */
  readonly source?: RangeSource;
}

/** Why another copy is asked, or the same one again. */
const ELSEWHERE = new Set([
  'KF_SHARD_MOVED',
  'KF_SHARD_FAULTED',
  'KF_NODE_UNREACHABLE',
  'KF_NODE_SILENT',
  'KF_NODE_INCOMPATIBLE',
  'KF_CLOSED',
]);
const PATIENCE_MS = 10_000;
const PAUSE_MS = 50;
/** What stands around the items of a step in a message between nodes, and in an entry of a log. */
const STEP_OVERHEAD_BYTES = 2 * 1024;

/** A keyspace whose shards are on the nodes of a cluster. */
export class ClusterBackup implements KeyspaceBackup {
  readonly #world: BackupSurroundings;
  readonly #keyspace: ShardKeyspace;
  readonly #record: () => KeyspaceRecord;
  readonly #request: (kind: 'look' | 'load', position: number, body: unknown) => Promise<unknown>;
  #transfers = 0;

  /** `request`: as ClusterKeyspace carries it to the leader of the shard. */
  constructor(
    world: BackupSurroundings,
    keyspace: ShardKeyspace,
    record: () => KeyspaceRecord,
    request: (kind: 'look' | 'load', position: number, body: unknown) => Promise<unknown>,
  ) {
    this.#world = world;
    this.#keyspace = keyspace;
    this.#record = record;
    this.#request = request;
  }

  get maxItemBytes(): number {
    return this.#world.transport.maxPayloadBytes - STEP_OVERHEAD_BYTES;
  }

  /** Whoever leads says behind which entry all is that was answered; any copy that has run it will do, one here first. */
  async read(from: number, to: number): Promise<RangeReading> {
    const { clock } = this.#world;
    const deadlineMs = clock.now().monoMs + PATIENCE_MS;
    while (true) {
      const { shard, applied: minSeq } = await this.#look(from);
      let last: unknown;
      for (const node of this.#copiesOf(shard, from)) {
        try {
          return await this.#readAt(node, { keyspaceId: this.#keyspace.id, shard, from, to, minSeq });
        } catch (error) {
          if (!isKeyfleetError(error) || !ELSEWHERE.has(error.code)) throw error;
          last = error;
        }
      }
      if (clock.now().monoMs >= deadlineMs) {
        throw new KeyfleetError('KF_UNAVAILABLE', `no copy of shard ${shard} of keyspace ${this.#keyspace.name} could be read`, {
          cause: last,
          retryable: true,
        });
      }
      await new Promise<void>((resolve) => void clock.after(PAUSE_MS, resolve));
    }
  }

  async loadStates(): Promise<readonly LoadState[]> {
    this.#mustSpeakOfIt();
    const states: LoadState[] = [];
    for (let at = 0; at < 0x1_0000_0000; ) {
      const { range, keyCount, loadId, isLoading } = await this.#look(at);
      states.push({ range, keyCount, loadId, isLoading });
      at = range.to;
    }
    return states;
  }

  async restoreStep(position: number, load: LoadCommand): Promise<LoadReply> {
    this.#mustSpeakOfIt();
    const request: LoadRequest = { position, load };
    return this.#request('load', position, request) as Promise<LoadReply>;
  }

  positionOf(key: Bytes): number {
    return this.#keyspace.scheme!.position(key);
  }

  shardIndexAt(position: number): number {
    return this.#world.router.shardAt(this.#keyspace, position) ?? 0;
  }

  /** @throws KF_NODE_INCOMPATIBLE while there are nodes of a release that could not read the entries. */
  #mustSpeakOfIt(): void {
    const { map } = this.#world;
    if (map.speaks(SINCE.restore)) return;
    const old = map.cluster.nodes.filter(({ status, protocol }) => status !== 'left' && protocol.max < SINCE.restore).map(({ id }) => id);
    const who = `node ${old.join(', ')} of an earlier release could not read what a restore writes`;
    throw new KeyfleetError('KF_NODE_INCOMPATIBLE', `${who}: start all nodes with this release first`);
  }

  #look(position: number): Promise<LookAnswer> {
    return this.#request('look', position, { what: 'counts', position }) as Promise<LookAnswer>;
  }

  #copiesOf(shard: number, position: number): Set<string> {
    const { self, host, router } = this.#world;
    const { replicas = [] } = mappedShardAt(this.#record(), position);
    const leader = router.leaderOf(shard);
    return new Set([...(host.get(shard)?.driver ? [self] : []), ...(leader === undefined ? [] : [leader]), ...replicas]);
  }

  #readAt(node: string, wish: Parameters<RangeSource['open']>[0]): Promise<RangeReading> {
    const { self, source, transport, clock } = this.#world;
    if (node === self && source) return source.open(wish);
    // Other than those of this node's earlier processes, which the other may remember.
    const transfer = Math.floor(clock.now().wallMs) * 1_000 + (this.#transfers++ % 1_000);
    return FetchedRange.open(transport, node, wish, transfer);
  }
}
