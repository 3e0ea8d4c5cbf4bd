import { KeyfleetError } from '../../base/errors.ts';
import type { Durability } from '../../storage/storage.ts';

// What `keyfleet serve` can be told, once for both ways of telling it: a flag, or a key of the configuration file. The flag wins.

/** Everything `serve` needs to know, checked. */
export interface ServeSettings {
  readonly dir: string;
  readonly host: string;
  /** 0: any free port; undefined: this door stays shut. */
  readonly respPort: number | undefined;
  readonly httpPort: number | undefined;
  readonly durability: Durability;
  readonly shards: number;
  /** Files of value modules or names of ready-made ones, each perhaps after `keyspace=`. */
  readonly modules: readonly string[];
  readonly checkModules: boolean;
  readonly passwordFile: string | undefined;
  readonly isProtected: boolean;
  readonly maxClients: number;
  readonly idleTimeoutSeconds: number;
  readonly httpMaxConnections: number;
  readonly httpMaxBodyBytes: number;
  readonly httpRequestTimeoutMs: number;
  readonly logLevel: string;
  readonly logFormat: 'text' | 'json';
  /** Undefined: a store on one machine. */
  readonly cluster: string | undefined;
  readonly node: string | undefined;
  readonly nats: readonly string[];
  readonly natsMonitors: readonly string[];
  readonly natsUser: string | undefined;
  readonly natsPasswordFile: string | undefined;
  readonly natsCreds: string | undefined;
  readonly natsReplicas: number | undefined;
  readonly allowUnsafeNats: boolean;
  readonly acceptMetaLoss: boolean;
  readonly zone: string | undefined;
  readonly weight: number | undefined;
  readonly replication: number | undefined;
  readonly advertise: string | undefined;
  readonly redirects: 'auto' | 'always' | 'never';
}

type Raw = string | number | boolean | readonly (string | number | boolean)[];

export interface Setting {
  readonly name: keyof ServeSettings;
  /** Where it stands in the configuration file; dots go into sections. */
  readonly key: string;
  /** As commander writes it; absent: only in the configuration file. */
  readonly flag?: string;
  readonly help: string;
  /** The checked value. @throws Error with what is wrong, to follow the setting's name. */
  readonly parse: (raw: Raw) => unknown;
  readonly fallback: unknown;
  /** A relative path in the configuration file is relative to that file. */
  readonly isPath?: boolean;
  /** May be given several times, or as a list. */
  readonly isList?: boolean;
}

/** In the order of `--help`. */
export const SETTINGS: readonly Setting[] = [
  { name: 'dir', key: 'dir', flag: '--dir <dir>', help: 'where the data lies', parse: text, fallback: './keyfleet-data', isPath: true },
  {
    name: 'respPort',
    key: 'resp.port',
    flag: '--resp <port>',
    help: 'port of the Redis protocol; 0: any, off: none',
    parse: door,
    fallback: 7379,
  },
  { name: 'httpPort', key: 'http.port', flag: '--http <port>', help: 'port of HTTP; 0: any, off: none', parse: door, fallback: 7380 },
  { name: 'host', key: 'host', flag: '--host <address>', help: 'address to listen on', parse: text, fallback: '127.0.0.1' },
  {
    name: 'durability',
    key: 'durability',
    flag: '--durability <mode>',
    help: 'when a write is answered: sync (on disk), os (with the operating system), none',
    parse: oneOf('sync', 'os', 'none'),
    fallback: 'sync',
  },
  { name: 'shards', key: 'shards', flag: '--shards <count>', help: 'shards of each new keyspace', parse: whole(1, 4_096), fallback: 8 },
  {
    name: 'modules',
    key: 'modules',
    flag: '--module <[keyspace=]file...>',
    help: 'serve a keyspace of your own value module, or of a ready-made one: plain-bytes, counter, json (docs/modules.md)',
    parse: texts,
    fallback: [],
    isPath: true,
    isList: true,
  },
  {
    name: 'checkModules',
    key: 'checkModules',
    flag: '--check-modules',
    help: 'for debugging: run every call of a value module twice and compare',
    parse: yesNo,
    fallback: false,
  },
  {
    name: 'passwordFile',
    key: 'passwordFile',
    flag: '--password-file <file>',
    help: "file whose first line is the clients' password",
    parse: text,
    fallback: undefined,
    isPath: true,
  },
  {
    name: 'isProtected',
    key: 'protected',
    flag: '--no-protected',
    help: 'allow other machines in without a password',
    parse: yesNo,
    fallback: true,
  },
  {
    name: 'maxClients',
    key: 'resp.maxClients',
    flag: '--max-clients <count>',
    help: 'connections of the Redis protocol at once',
    parse: whole(1, 1_000_000),
    fallback: 10_000,
  },
  {
    name: 'idleTimeoutSeconds',
    key: 'resp.idleTimeoutSeconds',
    flag: '--idle-timeout <seconds>',
    help: 'close idle connections of the Redis protocol after this time; 0: never',
    parse: whole(0, 31_536_000),
    fallback: 0,
  },
  {
    name: 'httpMaxConnections',
    key: 'http.maxConnections',
    help: 'HTTP connections at once',
    parse: whole(1, 1_000_000),
    fallback: 2_000,
  },
  {
    name: 'httpMaxBodyBytes',
    key: 'http.maxBodyBytes',
    help: 'largest HTTP request body',
    parse: whole(1, 1_073_741_824),
    fallback: 64 * 1024 * 1024,
  },
  {
    name: 'httpRequestTimeoutMs',
    key: 'http.requestTimeoutMs',
    help: 'time a client has to send an HTTP request whole',
    parse: whole(100, 86_400_000),
    fallback: 120_000,
  },
  {
    name: 'logLevel',
    key: 'log.level',
    flag: '--log-level <level>',
    help: 'least important message logged: error, warn, info, debug',
    parse: oneOf('error', 'warn', 'info', 'debug'),
    fallback: 'info',
  },
  {
    name: 'logFormat',
    key: 'log.format',
    flag: '--log-format <format>',
    help: 'log lines on standard error: text or json',
    parse: oneOf('text', 'json'),
    fallback: 'text',
  },
  {
    name: 'cluster',
    key: 'cluster.name',
    flag: '--cluster <name>',
    help: 'be a node of this cluster (docs/cluster.md)',
    parse: name,
    fallback: undefined,
  },
  {
    name: 'node',
    key: 'cluster.node',
    flag: '--node <id>',
    help: "this node's id in the cluster, its own for good",
    parse: name,
    fallback: undefined,
  },
  {
    name: 'nats',
    key: 'nats.servers',
    flag: '--nats <urls...>',
    help: "the cluster's NATS servers, as nats://10.0.0.1:4222; several with commas between",
    parse: list,
    fallback: [],
    isList: true,
  },
  {
    name: 'natsMonitors',
    key: 'nats.monitors',
    flag: '--nats-monitor <urls...>',
    help: 'their monitoring addresses, as http://10.0.0.1:8222, to see that they sync every write',
    parse: list,
    fallback: [],
    isList: true,
  },
  { name: 'natsUser', key: 'nats.user', flag: '--nats-user <user>', help: 'user for the NATS servers', parse: text, fallback: undefined },
  {
    name: 'natsPasswordFile',
    key: 'nats.passwordFile',
    flag: '--nats-password-file <file>',
    help: "file whose first line is that user's password",
    parse: text,
    fallback: undefined,
    isPath: true,
  },
  {
    name: 'natsCreds',
    key: 'nats.creds',
    flag: '--nats-creds <file>',
    help: 'credentials for the NATS servers, as nsc writes them',
    parse: text,
    fallback: undefined,
    isPath: true,
  },
  {
    name: 'natsReplicas',
    key: 'nats.replicas',
    flag: '--nats-replicas <count>',
    help: 'NATS servers that hold each log: 1, 3 or 5 (3 where there are so many)',
    parse: oddReplicas,
    fallback: undefined,
  },
  {
    name: 'allowUnsafeNats',
    key: 'nats.allowUnsafe',
    flag: '--allow-unsafe-nats',
    help: 'serve though acknowledged writes are at risk with these NATS servers',
    parse: yesNo,
    fallback: false,
  },
  {
    name: 'acceptMetaLoss',
    key: 'cluster.acceptMetaLoss',
    flag: '--accept-meta-loss',
    help: "should the meta shard's log be lost: go on without nodes that are gone for good",
    parse: yesNo,
    fallback: false,
  },
  {
    name: 'zone',
    key: 'cluster.zone',
    flag: '--zone <zone>',
    help: 'what fails together with this node, as a rack: copies are spread over zones',
    parse: name,
    fallback: undefined,
  },
  {
    name: 'weight',
    key: 'cluster.weight',
    flag: '--weight <number>',
    help: "this node's share of the data beside the other nodes' (1)",
    parse: positive,
    fallback: undefined,
  },
  {
    name: 'replication',
    key: 'cluster.replication',
    flag: '--replication <count>',
    help: 'copies of each shard, in a new cluster (3)',
    parse: whole(1, 9),
    fallback: undefined,
  },
  {
    name: 'advertise',
    key: 'cluster.advertise',
    flag: '--advertise <host>',
    help: 'the host name or address by which clients and other nodes reach this one (--host)',
    parse: text,
    fallback: undefined,
  },
  {
    name: 'redirects',
    key: 'cluster.redirect',
    flag: '--redirect <policy>',
    help: 'whom to tell MOVED instead of asking the leader for them: auto (connections that asked for the slots), always, never',
    parse: oneOf('auto', 'always', 'never'),
    fallback: 'auto',
  },
];

/** Flags over configuration file over fallbacks. */
export function settle(flags: ReadonlyMap<string, unknown>, file: ReadonlyMap<string, unknown>): ServeSettings {
  const settled: Record<string, unknown> = {};
  for (const { name, fallback } of SETTINGS) settled[name] = flags.has(name) ? flags.get(name) : file.has(name) ? file.get(name) : fallback;
  return settled as unknown as ServeSettings;
}

/** The parsed value of a flag. @throws KF_USAGE naming the flag. */
export function parseFlag(setting: Setting, raw: Raw): unknown {
  try {
    return setting.parse(raw);
  } catch (error) {
    throw new KeyfleetError('KF_USAGE', `${setting.flag?.split(' ')[0] ?? setting.key}: ${(error as Error).message}`);
  }
}

function text(raw: Raw): string {
  if (raw === '') throw new Error('must not be empty');
  return String(raw);
}

function texts(raw: Raw): readonly string[] {
  return (Array.isArray(raw) ? raw : [raw]).map(text);
}

/** Each may be several, with commas between. */
function list(raw: Raw): readonly string[] {
  return texts(raw)
    .flatMap((one) => one.split(','))
    .map((one) => one.trim())
    .filter((one) => one !== '');
}

function name(raw: Raw): string {
  if (!/^[A-Za-z0-9_-]{1,64}$/.test(String(raw))) throw new Error(`must be 1 to 64 of A-Z a-z 0-9 _ -, not ${JSON.stringify(raw)}`);
  return String(raw);
}

function positive(raw: Raw): number {
  const value = Number(raw);
  if (!(value > 0 && Number.isFinite(value)) || raw === '') throw new Error(`must be a number above 0, not ${JSON.stringify(raw)}`);
  return value;
}

function oddReplicas(raw: Raw): number {
  const value = Number(raw);
  if (![1, 3, 5].includes(value)) throw new Error(`must be 1, 3 or 5, not ${JSON.stringify(raw)}`);
  return value;
}

function door(raw: Raw): number | undefined {
  if (raw === 'off' || raw === false) return undefined;
  return whole(0, 65_535, 'a port from 0 to 65535, or off')(raw);
}

function whole(least: number, most: number, wanted = `a whole number from ${least} to ${most}`): (raw: Raw) => number {
  return (raw) => {
    const value = typeof raw === 'number' ? raw : typeof raw === 'string' && /^\d{1,15}$/.test(raw) ? Number(raw) : Number.NaN;
    if (!Number.isInteger(value) || value < least || value > most) throw new Error(`must be ${wanted}, not ${JSON.stringify(raw)}`);
    return value;
  };
}

function oneOf(...words: readonly string[]): (raw: Raw) => string {
  return (raw) => {
    if (!words.includes(String(raw))) throw new Error(`must be one of ${words.join(', ')}, not ${JSON.stringify(raw)}`);
    return String(raw);
  };
}

function yesNo(raw: Raw): boolean {
  if (typeof raw !== 'boolean') throw new Error(`must be true or false, not ${JSON.stringify(raw)}`);
  return raw;
}
