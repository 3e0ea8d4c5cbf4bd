import { isKeyfleetError } from '../../base/errors.ts';
import type { ClusterReply } from '../../shard/meta/cluster-command.ts';
import type { JoiningNode, NodeAddresses } from '../../shard/meta/node-record.ts';
import type { NodeClock } from '../node-clock.ts';
import { type ClusterNodeOptions, PROTOCOL } from './cluster-options.ts';
import type { MetaClient } from './meta-client.ts';
import type { MetaReplica } from './meta-replica.ts';

const RETRY_MS = 500;

/** Makes a node known to the cluster, or begins the cluster with it; tries until it is so, or is refused. */
export async function joinCluster(parts: {
  readonly options: Pick<ClusterNodeOptions, 'nodeId' | 'release' | 'protocol' | 'zone' | 'weight' | 'replication'>;
  readonly addresses: () => NodeAddresses;
  readonly clock: NodeClock;
  readonly client: MetaClient;
  readonly meta: MetaReplica;
  readonly timeoutMs: number;
  readonly isStopped: () => boolean;
  readonly onError: (error: Error) => void;
}): Promise<void> {
  const { options, addresses, clock, client, meta, timeoutMs, isStopped, onError } = parts;
  const { nodeId: id, release = '', protocol = PROTOCOL, zone, weight, replication } = options;
  while (true) {
    try {
      const node: JoiningNode = {
        ...{ id, release, protocol, addresses: addresses() },
        ...(zone === undefined ? {} : { zone }),
        ...(weight === undefined ? {} : { weight }),
      };
      const { cluster } = await client.run<ClusterReply>({ kind: 'node-join', node });
      const isFirst = cluster.nodes.length === 1;
      if (isFirst && replication !== undefined && cluster.keyspaces.length === 0)
        await client.run({ kind: 'set-replication', replication });
      await meta.until(timeoutMs, () => meta.view.cluster.nodes.some((one) => one.id === id));
      return;
    } catch (error) {
      if (!isKeyfleetError(error) || !(error.retryable || error.code === 'KF_OUTCOME_UNKNOWN') || isStopped()) throw error;
      onError(error);
      await new Promise<void>((resolve) => void clock.after(RETRY_MS, resolve));
    }
  }
}
