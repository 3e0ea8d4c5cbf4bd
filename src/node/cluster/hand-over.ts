import { META_SHARD_ID } from '../../shard/meta/meta-records.ts';
import type { Transport } from '../../transport/transport.ts';
import type { NodeClock } from '../node-clock.ts';
import type { HostedShard } from './hosted-shard.ts';
import type { MetaView } from './meta-view.ts';
import { CLAIM, encodeShard } from './node-messages.ts';
import type { ShardHost } from './shard-host.ts';

const LIMIT_MS = 2_000;
const LOOK_MS = 5;

export interface HandOverOptions {
  readonly self: string;
  readonly clock: NodeClock;
  readonly transport: Transport;
  readonly meta: MetaView;
  readonly host: ShardHost;
}

/** Gives up what this node leads, for others to lead at once instead of when a lease is over. */
export class HandOver {
  readonly #options: HandOverOptions;

  constructor(options: HandOverOptions) {
    this.#options = options;
  }

  /** What was sent is answered first; `next` is told to claim. */
  give(shard: HostedShard, next: string | undefined): void {
    shard.driver?.resign();
    if (next !== undefined) this.#options.transport.send(next, CLAIM, encodeShard(shard.id));
  }

  /** Gives all of it, each to the next of its replicas. Fulfilled when it leads nothing any more, or the logs do not answer in time. */
  async giveAll(): Promise<void> {
    const { self, clock, meta, host } = this.#options;
    const { nodes } = meta.cluster;
    const isUp = (id: string): boolean => nodes.some((node) => node.id === id && (node.status === 'up' || node.status === 'draining'));
    const led = [...host.all()].filter((shard) => shard.leads);
    for (const shard of led) {
      const replicas = shard.id === META_SHARD_ID ? nodes.map(({ id }) => id) : (host.roleOf(shard.id)?.replicas ?? []);
      this.give(
        shard,
        replicas.find((id) => id !== self && isUp(id)),
      );
    }
    const endMs = clock.now().monoMs + LIMIT_MS;
    while (led.some((shard) => shard.leads) && clock.now().monoMs < endMs)
      await new Promise<void>((resolve) => clock.after(LOOK_MS, resolve));
  }
}
