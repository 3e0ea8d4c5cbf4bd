import { connect, type NatsConnection } from '@nats-io/transport-node';
import { afterEach, describe, expect, test } from 'vitest';
import { utf8 } from '../../src/base/bytes.ts';
import { isKeyfleetError } from '../../src/base/errors.ts';
import { natsTransport } from '../../src/nats/nats-transport.ts';
import { Call } from '../../src/node/cluster/call.ts';
import { CALLS, Forwarder } from '../../src/node/cluster/forwarder.ts';
import type { AnyModule } from '../../src/node/cluster/hosted-shard.ts';
import { WorkForOthers } from '../../src/node/cluster/vigil.ts';
import { SystemClock } from '../../src/node/node-clock.ts';
import { counterModule } from '../../src/shard/counter.ts';
import { hasRecentNats, NATS_SERVERS, NatsServers } from './nats-servers.ts';

// The nats-server of node a goes while node b is at what a has asked of it, and is back when b has answered.

describe.runIf(hasRecentNats)('two nodes with a nats-server each', () => {
  let servers: NatsServers | undefined;
  const connections: NatsConnection[] = [];
  afterEach(async () => {
    await Promise.all(connections.splice(0).map((one) => one.close()));
    await servers?.stop();
    servers = undefined;
  });

  test('an answer that goes with a server is not waited for: whoever asked hears so', async () => {
    const all = await NatsServers.start(NATS_SERVERS[0]!.binary, 3);
    servers = all;
    const join = async (self: string, url: string) => {
      const connection = await connect({ servers: [url], maxReconnectAttempts: -1, reconnectTimeWait: 50, ignoreClusterUpdates: true });
      connections.push(connection);
      return natsTransport({ connection, cluster: 'test', self });
    };
    const clock = new SystemClock();
    const work = new WorkForOthers(clock);
    const b = await join('b', all.urls[1]!);
    let answered = 0;
    const loseAnswer = async (): Promise<Uint8Array> => {
      await all.kill(0);
      answered++;
      setTimeout(() => all.startOne(0), 200);
      return utf8('an answer that nobody hears');
    };
    await b.serve(async ({ from, method }) => (method === CALLS ? work.count(from, loseAnswer()) : work.pong(from)));
    const forwarder = new Forwarder({ clock, transport: await join('a', all.urls[0]!), leaderOf: () => 'b', onLeader: () => {} });
    const heard = await new Promise<unknown>((resolve) => {
      const call = new Call(
        {
          kind: 'command',
          keyspace: { id: 1, name: 'counters', module: counterModule as unknown as AnyModule, scheme: undefined },
          ...{ key: utf8('key'), position: 0, body: { kind: 'add', by: 1 }, token: 0, deadlineMs: clock.now().monoMs + 60_000 },
          sink: { settled: (_: number, reply: unknown) => resolve(reply), failed: (_: number, error: Error) => resolve(error) },
        },
        (_, error) => resolve(error),
      );
      call.shard = 1;
      forwarder.send('b', call);
    });
    expect(isKeyfleetError(heard) && heard.code).toBe('KF_NODE_SILENT');
    // Not that its time was over.
    expect(String(heard)).toContain('is not at what was asked of it any more');
    expect(answered).toBe(1);
  }, 60_000);
});
