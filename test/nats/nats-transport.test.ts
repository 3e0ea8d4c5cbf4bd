import type { NatsConnection } from '@nats-io/transport-node';
import { afterAll, beforeAll, describe } from 'vitest';
import { natsTransport } from '../../src/nats/nats-transport.ts';
import { transportConformance } from '../../src/transport/transport.conformance.ts';
import { NATS_SERVERS, NatsServers } from './nats-servers.ts';

describe.each(NATS_SERVERS)('$name', ({ binary, isHere }) => {
  describe.skipIf(!isHere)('on a real server', () => {
    let servers: NatsServers;
    let connections: NatsConnection[];
    let networks = 0;
    beforeAll(async () => {
      servers = await NatsServers.start(binary, 1);
      connections = await Promise.all(Array.from({ length: 3 }, () => servers.connect()));
    });
    afterAll(() => servers?.stop());

    transportConformance('NATS', async () => {
      const cluster = `cluster-${++networks}`;
      let joined = 0;
      // A connection a node, as between machines.
      return (self, limits) => natsTransport({ connection: connections[joined++ % 3]!, cluster, self, ...(limits && { limits }) });
    });
  });
});
