import { afterEach } from 'vitest';
import { Prng } from '../../src/base/prng.ts';
import { ClusterProcesses } from './cluster-processes.ts';
import { LedgerClients } from './ledger-clients.ts';

export interface ClusterUnderLoad {
  /** Starts a cluster of real processes and clients that write through every node; both end with the test. */
  begin(options: Parameters<typeof ClusterProcesses.start>[0]): Promise<[ClusterProcesses, LedgerClients]>;
  /** That of the test that runs. */
  readonly cluster: ClusterProcesses;
}

/** Called once in a test file. */
export function clusterUnderLoad(): ClusterUnderLoad {
  let cluster: ClusterProcesses | undefined;
  let clients: LedgerClients | undefined;
  afterEach(async () => {
    await clients?.abandon();
    clients = undefined;
    await cluster?.stop();
    cluster = undefined;
  }, 60_000);
  return {
    async begin(options) {
      const started = await ClusterProcesses.start(options);
      cluster = started;
      clients = new LedgerClients({ urls: () => started.urls, clients: 6, chance: new Prng(11) });
      await clients.answers(150);
      return [started, clients];
    },
    get cluster() {
      if (cluster === undefined) throw new Error('no cluster has begun');
      return cluster;
    },
  };
}
