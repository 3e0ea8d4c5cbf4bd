import type { Placement } from '@nats-io/jetstream';
import type { NatsConnection } from '@nats-io/transport-node';
import { KeyfleetError } from '../base/errors.ts';
import type { ClusterLog, MakeLogOptions, OpenLogOptions, ShardLogs } from '../log/shard-logs.ts';
import type { LogBasis } from '../shard/meta/shard-map.ts';
import { type JetStreamLog, type JetStreamLogOptions, jetStreamLog, streamNames } from './jetstream-log.ts';
import { WatchedLog } from './watched-log.ts';

export interface JetStreamLogsOptions {
  /** Yours to close, after the node that uses the logs. */
  readonly connection: NatsConnection;
  /** 1 to 64 of `A-Z a-z 0-9 _ -`: the streams of two clusters on the same servers do not meet. */
  readonly cluster: string;
  /** Servers that hold a new log: 1, 3 or 5. Default 3. */
  readonly replicas?: number;
  readonly placement?: Placement;
  readonly timeoutMs?: number;
}

/** The logs of a cluster as JetStream streams `keyfleet-<cluster>-<shard>-g<generation>`. @throws KF_BAD_OPTION */
export function jetStreamLogs(options: JetStreamLogsOptions): ShardLogs {
  const { connection, cluster, replicas, placement, timeoutMs } = options;
  if (!/^[A-Za-z0-9_-]{1,64}$/.test(cluster)) {
    throw new KeyfleetError('KF_BAD_OPTION', `a cluster cannot be called ${JSON.stringify(cluster)}`);
  }
  const optionsOf = (shard: number, generation: number, create: boolean): JetStreamLogOptions => ({
    connection,
    name: `keyfleet-${cluster}-${shard}-g${generation}`,
    create,
    ...(replicas === undefined ? {} : { replicas }),
    ...(placement === undefined ? {} : { placement }),
    ...(timeoutMs === undefined ? {} : { timeoutMs }),
  });
  const find = async (shard: number, generation: number): Promise<JetStreamLog | undefined> => {
    try {
      return await jetStreamLog(optionsOf(shard, generation, false));
    } catch (error) {
      if (error instanceof KeyfleetError && error.code === 'KF_LOG_LOST') return undefined;
      throw error;
    }
  };
  return {
    async open({ shard, generation, create, fromSeq }: OpenLogOptions): Promise<ClusterLog> {
      const log = await jetStreamLog(optionsOf(shard, generation, create));
      return new WatchedLog(log, { fromSeq });
    },
    async generations(shard) {
      const begin = `keyfleet-${cluster}-${shard}-g`;
      const names = await streamNames(connection, timeoutMs);
      return names.flatMap((name) => (name.startsWith(begin) ? [Number(name.slice(begin.length))] : []));
    },
    async make({ shard, generation, basis, isFirstFinal = false }: MakeLogOptions): Promise<string> {
      const found = isFirstFinal ? undefined : await find(shard, generation);
      if (found && !isBehind(found, basis)) await found.delete();
      const log = await jetStreamLog({ ...optionsOf(shard, generation, true), basis });
      if (isFirstFinal || isBehind(log, basis)) return log.id;
      throw new KeyfleetError('KF_UNAVAILABLE', `another node makes stream ${log.name}`, { retryable: true });
    },
    async delete(shard, generation) {
      await (await find(shard, generation))?.delete();
    },
  };
}

function isBehind({ basis }: JetStreamLog, { seq, hash }: LogBasis): boolean {
  return basis?.seq === seq && basis.hash === hash;
}
