import { isKeyfleetError } from '../../base/errors.ts';
import type { ShardLogs } from '../../log/shard-logs.ts';
import { META_SHARD_ID } from '../../shard/meta/meta-records.ts';
import { ANYONE, type Transport } from '../../transport/transport.ts';
import { requestWhole } from './large-answers.ts';
import type { MetaView } from './meta-view.ts';
import { MEMBERS } from './node-messages.ts';
import { decodeJson } from './reports.ts';

const ASK_MS = 5_000;

export interface KnownMembersOptions {
  readonly self: string;
  readonly transport: Transport;
  readonly logs: ShardLogs;
  readonly meta: () => MetaView;
  readonly onError: (error: Error) => void;
}

/** Who else is in the cluster, as far as this node knows or somebody tells it. */
export class KnownMembers {
  readonly #options: KnownMembersOptions;
  /** Those whom somebody has named, before this node knows them itself. */
  #found: readonly string[] = [];

  constructor(options: KnownMembersOptions) {
    this.#options = options;
  }

  /** The other nodes; who knows nobody else, being new or having been away since it was alone, asks whoever hears it. */
  others(): readonly string[] {
    const { self, meta } = this.#options;
    const known = meta().cluster.nodes.flatMap(({ id, status }) => (status === 'left' || id === self ? [] : [id]));
    if (known.length === 0) this.#ask();
    return [...known, ...this.#found].filter((id) => id !== self);
  }

  /**
   * There is no log of the meta shard, and nobody who answers knows a cluster that has lost it: this node, which has nothing, may begin one.
   * @throws KF_UNAVAILABLE, KF_NODE_SILENT when that cannot be known now.
   */
  async mayBegin(): Promise<boolean> {
    if ((await this.#options.logs.generations(META_SHARD_ID)).length > 0) return false;
    try {
      await this.#askAnyone();
    } catch (error) {
      if (!isKeyfleetError(error) || error.code !== 'KF_NODE_UNREACHABLE') throw error;
    }
    return this.#found.every((id) => id === this.#options.self);
  }

  #ask(): void {
    this.#askAnyone().catch((error: unknown) => {
      if (!isKeyfleetError(error)) throw error;
      this.#options.onError(error);
    });
  }

  async #askAnyone(): Promise<void> {
    this.#found = decodeJson<string[]>(await requestWhole(this.#options.transport, ANYONE, MEMBERS, new Uint8Array(0), ASK_MS));
  }
}
