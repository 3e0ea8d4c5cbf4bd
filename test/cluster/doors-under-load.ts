import { afterEach } from 'vitest';
import { Prng } from '../../src/base/prng.ts';
import { NatsServers, waitFor } from '../nats/nats-servers.ts';
import { LedgerClients } from './ledger-clients.ts';
import { NodeWithDoors } from './node-with-doors.ts';

export interface DoorsUnderLoad {
  /** Starts three nats-servers, three nodes in this process and clients that write through each; all end with the test. */
  begin(options: { readonly binary: string; readonly beforeLoad?: () => Promise<void> }): Promise<[NatsServers, LedgerClients]>;
  /** Those of the test that runs. */
  readonly nodes: readonly NodeWithDoors[];
}

/** Called once in a test file. */
export function doorsUnderLoad(): DoorsUnderLoad {
  let nats: NatsServers | undefined;
  let clients: LedgerClients | undefined;
  const nodes: NodeWithDoors[] = [];
  afterEach(async () => {
    await clients?.abandon();
    clients = undefined;
    await Promise.all(nodes.splice(0).map((node) => node.close()));
    await nats?.stop();
    nats = undefined;
  }, 60_000);
  return {
    async begin({ binary, beforeLoad }) {
      const servers = await NatsServers.start(binary, 3);
      nats = servers;
      for (const id of ['a', 'b', 'c']) nodes.push(await NodeWithDoors.start(id, servers.urls));
      await waitFor('three copies of every shard', async () => nodes.every((node) => node.hasCopies(3)));
      await beforeLoad?.();
      clients = new LedgerClients({ urls: () => nodes.map(({ url }) => url), clients: 3, chance: new Prng(5) });
      await clients.answers(30);
      return [servers, clients];
    },
    nodes,
  };
}
