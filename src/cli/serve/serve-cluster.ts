import { KeyfleetError } from '../../base/errors.ts';
import type { OpenClusterOptions } from '../../node/open-cluster.ts';
import type { KeyspaceDefinitions } from '../../node/store.ts';
import { readPassword } from '../client/server-client.ts';
import { usage } from '../terminal/usage.ts';
import type { ServeSettings } from './serve-settings.ts';

/** Flags that mean something in a cluster only. */
const OF_CLUSTERS = [
  'node',
  'natsUser',
  'natsPasswordFile',
  'natsCreds',
  'natsReplicas',
  'zone',
  'weight',
  'replication',
  'advertise',
] as const;
const WILDCARDS = ['0.0.0.0', '::', '*', ''];

/** What the settings say of a cluster; undefined: a store on one machine. @throws KF_USAGE for settings that do not go together. */
export function clusterOptions(
  settings: ServeSettings,
):
  | Pick<OpenClusterOptions<KeyspaceDefinitions>, 'cluster' | 'node' | 'nats' | 'zone' | 'weight' | 'replication' | 'acceptMetaLoss'>
  | undefined {
  const { cluster, node, nats, zone, weight, replication } = settings;
  if (cluster === undefined) {
    const stray = OF_CLUSTERS.find((name) => settings[name] !== undefined) ?? (nats.length > 0 ? 'nats' : undefined);
    if (stray !== undefined) throw usage(`${stray} is a setting of a cluster: name one with --cluster NAME, or leave it out`);
    return undefined;
  }
  if (nats.length === 0) throw usage(`--cluster ${cluster} needs the NATS servers that hold its logs: --nats nats://10.0.0.1:4222,…`);
  if (node === undefined) throw usage(`--cluster ${cluster} needs an id for this node, its own for good: --node ID`);
  if (settings.durability !== 'sync') {
    throw usage('--durability: in a cluster a write is answered when the log and this disk have it; only sync goes with --cluster');
  }
  if (WILDCARDS.includes(settings.host) && settings.advertise === undefined) {
    throw usage(`--host ${settings.host} is no address for others to reach this node: say which is, with --advertise HOST`);
  }
  return {
    cluster,
    node,
    zone,
    weight,
    replication,
    acceptMetaLoss: settings.acceptMetaLoss,
    nats: {
      servers: nats,
      monitors: settings.natsMonitors,
      user: settings.natsUser,
      password: settings.natsPasswordFile === undefined ? undefined : readPassword(settings.natsPasswordFile),
      credsFile: settings.natsCreds,
      replicas: settings.natsReplicas,
      allowUnsafe: settings.allowUnsafeNats,
    },
  };
}

/** What the most common mistakes with a cluster call for. */
export function clusterAdvice(error: unknown, settings: ServeSettings): unknown {
  if (!(error instanceof KeyfleetError) || settings.cluster === undefined) return error;
  const advice: Readonly<Record<string, string>> = {
    KF_NATS_UNREACHABLE: 'start the NATS servers, or correct --nats (`keyfleet up` starts everything on one machine)',
    KF_NATS_REFUSED: 'give --nats-user and --nats-password-file, or --nats-creds',
    KF_NATS_UNSAFE: '`keyfleet nats config` writes a safe configuration; --allow-unsafe-nats serves all the same',
    KF_NODE_INCOMPATIBLE: 'start it with the release that the other nodes run (`keyfleet nodes`)',
    KF_OTHER_CLUSTER: 'give this node its own --dir',
  };
  const more = advice[error.code];
  return more === undefined ? error : new KeyfleetError(error.code, `${error.message}; ${more}`, { cause: error });
}
