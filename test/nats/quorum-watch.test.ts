import { jetstreamManager } from '@nats-io/jetstream';
import { afterEach, describe, expect, test } from 'vitest';
import { connectNats } from '../../src/nats/connect.ts';
import { streamConfig } from '../../src/nats/stream-config.ts';
import { hasRecentNats, NATS_SERVERS, NatsServers, waitFor } from './nats-servers.ts';

describe.runIf(hasRecentNats)('a connection to nats-servers', () => {
  let servers: NatsServers | undefined;
  afterEach(async () => {
    await servers?.stop();
    servers = undefined;
  });

  test('goes to another server when its own is cut off from the others, though that answers its pings', async () => {
    servers = await NatsServers.start(NATS_SERVERS[0]!.binary, 3, { hasLinks: true });
    const connection = await connectNats({ servers: servers.urls });
    const manager = await jetstreamManager(connection, { timeout: 2_000 });
    await waitFor('a stream', () => manager.streams.add(streamConfig({ name: 'log', replicas: 3 })).then(() => true));
    const first = connection.getServer();
    servers.isolate(servers.ports.findIndex((port) => first.endsWith(`:${port}`)));
    // A server that did not lead the others goes on believing in their leader for about 20 s.
    await waitFor('another server', async () => connection.getServer() !== first, 90_000);
    await waitFor('the stream', () => manager.streams.info('log').then(() => true));
    expect(connection.isClosed()).toBe(false);
    await connection.close();
  }, 120_000);
});
