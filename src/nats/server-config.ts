import { createHash } from 'node:crypto';
import { isIP } from 'node:net';
import { KeyfleetError } from '../base/errors.ts';
import { isOlder, OLDEST_SYNCING_SERVER } from './server-check.ts';

// The configuration of the nats-servers that hold the logs: every write synced, copies in different zones, nobody in without a password. Their other
// settings are the servers' own.

/** One nats-server of a cluster. */
export interface NatsServerPlace {
  /** Unique in the cluster: letters, digits, `-`, `_` and `.`. */
  readonly name: string;
  /** An address or a name by which the others and the clients reach it. */
  readonly host: string;
  readonly clientPort: number;
  readonly routePort: number;
  readonly monitorPort: number;
  /** What fails together, such as a rack: copies of a log are kept in different ones. */
  readonly zone: string;
  /** Where it keeps the streams; a disk of its own is best. */
  readonly storeDir: string;
}

export interface NatsClusterPlan {
  readonly name: string;
  readonly servers: readonly NatsServerPlace[];
  /** Of the user `keyfleet`, of the administrator `admin`, and, hashed, of the servers among themselves. Absent: everyone may do everything. */
  readonly password?: string;
  /** The longest message, and with it the largest value. Default 1 MiB. */
  readonly maxPayloadBytes?: number;
  /** The most that each server may store. Absent: three quarters of what its disk has free, which NATS looks up as it starts. */
  readonly maxStoreBytes?: number;
  /** The version of the servers. Older ones than {@link OLDEST_SYNCING_SERVER} are told nothing that they would not understand. Default: a recent one. */
  readonly version?: string;
}

/** The user that stores and the account that holds their streams. */
export const NATS_USER = 'keyfleet';
/** Copies of a log: no more zones than that are needed. */
const MOST_COPIES = 3;
/** More than this NATS advises against, and far more it refuses. */
const MOST_PAYLOAD_BYTES = 8 * 1024 * 1024;

/** Whether the servers can be told to keep the copies of a log in different zones: there must be enough of those. */
export function canSpread({ servers }: NatsClusterPlan): boolean {
  return new Set(servers.map(({ zone }) => zone)).size >= Math.min(MOST_COPIES, servers.length);
}

/** The addresses that clients are given. */
export function natsUrls({ servers }: NatsClusterPlan): string[] {
  return servers.map(({ host, clientPort }) => `nats://${shown(host)}:${clientPort}`);
}

export function monitorUrls({ servers }: NatsClusterPlan): string[] {
  return servers.map(({ host, monitorPort }) => `http://${shown(host)}:${monitorPort}`);
}

/**
 * The configuration file of server `index`.
 * @throws KF_BAD_OPTION for names, ports, sizes or a password that no server would take; it says which.
 */
export function natsServerConfig(plan: NatsClusterPlan, index: number): string {
  checkPlan(plan);
  const { servers, password, maxPayloadBytes = 1024 * 1024, maxStoreBytes } = plan;
  const server = servers[index]!;
  const syncs = plan.version === undefined || !isOlder(plan.version, OLDEST_SYNCING_SERVER);
  const listen = (port: number): string => quoted(`${isIP(server.host) ? shown(server.host) : '0.0.0.0'}:${port}`);
  const lines = [
    `# nats-server ${server.name} of ${plan.name}, one of ${servers.length}; as \`keyfleet nats config\` writes it.`,
    `server_name: ${quoted(server.name)}`,
    `listen: ${listen(server.clientPort)}`,
    '# `keyfleet serve --nats-monitor` and `keyfleet doctor` read here whether writes are synced.',
    `http: ${listen(server.monitorPort)}`,
    `server_tags: [${quoted(`zone:${server.zone}`)}]`,
    '',
    'jetstream {',
    `  store_dir: ${quoted(server.storeDir)}`,
    ...(syncs
      ? ['  # Answered writes are on the disks of most servers, whatever loses power.', '  sync_interval: always']
      : [
          `  # This version (${plan.version}) cannot sync every write: a loss of power at all servers can lose answered writes.`,
          '  # It takes `sync_interval: always` from 2.10 on; be at 2.15.1 or newer.',
        ]),
    ...(canSpread(plan)
      ? ['  # No two copies of a log in one zone.', '  unique_tag: "zone:"']
      : ['  # There are too few zones to keep the copies of a log in different ones: losing a zone may stop all writes.']),
    '  max_memory_store: 256MB',
    ...(maxStoreBytes === undefined ? [] : [`  max_file_store: ${maxStoreBytes}`]),
    '}',
    `max_payload: ${maxPayloadBytes}`,
    '# A server that is told to end hands over its logs first (nats-server --signal ldm).',
    'lame_duck_duration: "30s"',
    'lame_duck_grace_period: "2s"',
    ...(servers.length > 1 ? ['', ...clusterLines(plan, listen(server.routePort))] : []),
    ...(password === undefined ? [] : ['', ...accountLines(password)]),
  ];
  return `${lines.join('\n')}\n`;
}

function clusterLines({ name, servers, password }: NatsClusterPlan, listen: string): string[] {
  const secret = password === undefined ? undefined : routePassword(password);
  const login = secret === undefined ? '' : `route:${secret}@`;
  return [
    'cluster {',
    `  name: ${quoted(name)}`,
    `  listen: ${listen}`,
    ...(secret === undefined ? [] : [`  authorization { user: "route", password: ${quoted(secret)}, timeout: 5 }`]),
    '  # All, itself among them: a server that finds its disk empty takes their number for that of the others, and two of three would go on without the third.',
    '  routes: [',
    ...servers.map((one) => `    ${quoted(`nats://${login}${shown(one.host)}:${one.routePort}`)}`),
    '  ]',
    '}',
  ];
}

function accountLines(password: string): string[] {
  return [
    'accounts {',
    `  KEYFLEET { jetstream: enabled, users: [{ user: ${quoted(NATS_USER)}, password: ${quoted(password)} }] }`,
    '  # For `nats server report jetstream --user admin`.',
    `  SYS { users: [{ user: "admin", password: ${quoted(password)} }] }`,
    '}',
    'system_account: SYS',
  ];
}

/** What the servers tell each other: nobody needs to type it, and it is not what clients send. */
function routePassword(password: string): string {
  return createHash('sha256').update(`keyfleet nats routes\0${password}`).digest('hex').slice(0, 40);
}

function checkPlan({ name, servers, password, maxPayloadBytes, maxStoreBytes }: NatsClusterPlan): void {
  const isName = (text: string): boolean => /^[A-Za-z0-9._-]{1,64}$/.test(text);
  const names = servers.map((one) => one.name);
  if (!isName(name)) throw bad(`a NATS cluster cannot be called ${JSON.stringify(name)}`);
  if (servers.length === 0) throw bad('a NATS cluster has at least one server');
  for (const server of servers) {
    if (!isName(server.name)) throw bad(`a nats-server cannot be called ${JSON.stringify(server.name)}`);
    if (!isName(server.zone)) throw bad(`a zone cannot be called ${JSON.stringify(server.zone)}`);
    if (!isIP(server.host) && !/^[A-Za-z0-9]([A-Za-z0-9.-]{0,252})$/.test(server.host))
      throw bad(`${JSON.stringify(server.host)} is neither an address nor a host's name`);
    if (names.indexOf(server.name) !== names.lastIndexOf(server.name)) throw bad(`two servers are called ${server.name}`);
    for (const port of [server.clientPort, server.routePort, server.monitorPort])
      if (!Number.isInteger(port) || port < 1 || port > 65_535) throw bad(`${server.name}: ${port} is no port`);
  }
  const places = servers.flatMap((one) => [one.clientPort, one.routePort, one.monitorPort].map((port) => `${one.host}:${port}`));
  const taken = places.find((place, at) => places.indexOf(place) !== at);
  if (taken !== undefined) throw bad(`two would listen at ${taken}`);
  if (maxPayloadBytes !== undefined && (maxPayloadBytes < 64 * 1024 || maxPayloadBytes > MOST_PAYLOAD_BYTES))
    throw bad(`the longest message is from 64 KiB to ${MOST_PAYLOAD_BYTES / 1024 / 1024} MiB`);
  if (maxStoreBytes !== undefined && maxStoreBytes < 64 * 1024 * 1024) throw bad('a server stores at least 64 MiB');
  // NATS takes what begins so for the hash of a password.
  if (password !== undefined && (!/^[\x21-\x7e]{8,128}$/.test(password) || /^\$2[aby]\$/.test(password)))
    throw bad('the password of a nats-server has 8 to 128 printable ASCII characters without spaces, and is not a hash');
}

function quoted(text: string): string {
  return JSON.stringify(text);
}

function shown(host: string): string {
  return isIP(host) === 6 ? `[${host}]` : host;
}

function bad(message: string): KeyfleetError {
  return new KeyfleetError('KF_BAD_OPTION', message);
}
