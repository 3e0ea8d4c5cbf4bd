import { JetStreamApiError, jetstreamManager } from '@nats-io/jetstream';
import type { NatsServers } from '../nats/nats-servers.ts';

/**
 * Has the logs forget what they have now, as leaders do with what all replicas have. `applied` is waited for in between: until all nodes that are there have
 * it, too. Answers how many did.
 */
export async function forgetLogs(nats: NatsServers, applied: () => Promise<unknown>): Promise<number> {
  const connection = await nats.connect();
  try {
    const manager = await jetstreamManager(connection);
    const lastSeqs = new Map<string, number>();
    for await (const { config, state } of manager.streams.list()) lastSeqs.set(config.name, state.last_seq);
    await applied();
    let forgot = 0;
    for (const [name, lastSeq] of lastSeqs) {
      // A log may be gone by now, with a shard that was merged.
      const isDone = await manager.streams.purge(name, { seq: lastSeq + 1 }).catch(ignoreGone);
      if (isDone) forgot++;
    }
    return forgot;
  } finally {
    await connection.close();
  }
}

const STREAM_NOT_FOUND = 10059;

function ignoreGone(error: unknown): undefined {
  if (error instanceof JetStreamApiError && error.code === STREAM_NOT_FOUND) return undefined;
  throw error;
}
