import { readFileSync } from 'node:fs';
import { isMap, isScalar, isSeq, LineCounter, type Node, parseDocument } from 'yaml';
import { KeyfleetError, messageOf } from '../base/errors.ts';
import { HASHKIT_NAMES } from '../partition/hash/hashkit.ts';
import { OWN_HASHERS } from '../partition/hash/own-hashers.ts';
import {
  type BackendTls,
  DISTRIBUTIONS,
  type Distribution,
  type KeyRangeConfig,
  type ListenAddress,
  type ListenTls,
  POOL_DEFAULTS,
  type PoolConfig,
  type PoolControl,
  type PoolServer,
  type PoolsFile,
  parseAddress,
  parseServer,
  whyNotFollowing,
} from './pool-config.ts';

/** Reads a file of pools: twemproxy's YAML as it is, with keys of ours. @throws KF_CONFIG, `path:line:column: pool: what is wrong`. */
export function readPoolsFile(path: string): PoolsFile {
  let text: string;
  try {
    text = readFileSync(path, 'utf8');
  } catch (error) {
    throw new KeyfleetError('KF_CONFIG', `cannot read ${path}: ${messageOf(error)}`, { cause: error });
  }
  return parsePoolsFile(text, path);
}

/** {@link readPoolsFile} of a text; `path` is for messages. */
export function parsePoolsFile(text: string, path: string): PoolsFile {
  const lines = new LineCounter();
  const document = parseDocument(text, { lineCounter: lines, prettyErrors: false, uniqueKeys: true });
  const failAt = (offset: number, what: string): never => {
    const { line, col } = lines.linePos(offset);
    throw new KeyfleetError('KF_CONFIG', `${path}:${Math.max(1, line)}:${Math.max(1, col)}: ${what}`);
  };
  const [problem] = [...document.errors, ...document.warnings];
  if (problem) failAt(problem.pos[0], problem.message);
  const root = document.contents;
  if (!isMap(root) || root.items.length === 0) return failAt(root?.range?.[0] ?? 0, 'a file of pools is a map of pool names to pools');
  const pools = root.items.map(({ key, value }) => {
    const fail = (node: Node | null, what: string): never =>
      failAt(node?.range?.[0] ?? (key as Node).range?.[0] ?? 0, `pool ${String(key)}: ${what}`);
    return readPool(String(key), value as Node | null, fail);
  });
  return { path, pools };
}

type Fail = (node: Node | null, what: string) => never;

function readPool(name: string, node: Node | null, fail: Fail): PoolConfig {
  if (!isMap(node)) return fail(node, 'a pool is a map of settings');
  const fields = new Fields(node, fail);
  const hash = fields.oneOf('hash', HASHES) ?? POOL_DEFAULTS.hash;
  const distribution = (fields.oneOf('distribution', DISTRIBUTIONS) as Distribution | undefined) ?? POOL_DEFAULTS.distribution;
  const hashTag = fields.text('hash_tag');
  if (hashTag !== undefined && !/^[\x21-\x7e]{2}$/.test(hashTag))
    fields.fail('hash_tag', `hash_tag is two characters, such as "{}", not ${JSON.stringify(hashTag)}`);
  const timeoutMs = fields.count('timeout', { min: -1 });
  const auth = fields.text('redis_auth');
  const redis = fields.flag('redis') ?? false;
  if (auth !== undefined && !redis) fields.fail('redis_auth', 'redis_auth is for pools with redis: true');
  const servers = readServers(fields);
  const pool: PoolConfig = {
    name,
    ...optional('listen', readListen(fields)),
    ...optional('listenTls', readListenTls(fields)),
    hash,
    ...optional('hashTag', hashTag),
    distribution,
    ...optional('timeoutMs', timeoutMs === undefined || timeoutMs <= 0 ? undefined : timeoutMs),
    backlog: fields.count('backlog', { min: 1 }) ?? POOL_DEFAULTS.backlog,
    clientConnections: fields.count('client_connections') ?? POOL_DEFAULTS.clientConnections,
    tcpKeepalive: fields.flag('tcpkeepalive') ?? POOL_DEFAULTS.tcpKeepalive,
    preconnect: fields.flag('preconnect') ?? POOL_DEFAULTS.preconnect,
    redis,
    ...optional('auth', auth),
    ...optional('username', fields.text('username')),
    db: fields.count('redis_db') ?? POOL_DEFAULTS.db,
    serverConnections: fields.count('server_connections', { min: 1, max: 1_024 }) ?? POOL_DEFAULTS.serverConnections,
    autoEjectHosts: fields.flag('auto_eject_hosts') ?? POOL_DEFAULTS.autoEjectHosts,
    serverRetryTimeoutMs: fields.count('server_retry_timeout') ?? POOL_DEFAULTS.serverRetryTimeoutMs,
    serverFailureLimit: fields.count('server_failure_limit', { min: 1 }) ?? POOL_DEFAULTS.serverFailureLimit,
    ...optional('tls', readBackendTls(fields)),
    workers: fields.count('workers', { min: 1, max: 1_024 }) ?? POOL_DEFAULTS.workers,
    redirects:
      (fields.oneOf('redirects', ['off', 'proxies', 'backends']) as PoolConfig['redirects'] | undefined) ?? POOL_DEFAULTS.redirects,
    cluster: fields.flag('cluster') ?? POOL_DEFAULTS.cluster,
    ...optional('control', readControl(fields)),
    ...optional('stats', readStats(fields)),
    slots: fields.count('slots', { min: 1, max: 1 << 20 }) ?? POOL_DEFAULTS.slots,
    ...optional('ranges', readRanges(fields, servers)),
    rangeBy: (fields.oneOf('range_by', ['text', 'number']) as 'text' | 'number' | undefined) ?? POOL_DEFAULTS.rangeBy,
    servers: withZones(fields, servers),
  };
  if (distribution === 'ranges' && pool.ranges === undefined) fields.fail('distribution', 'distribution ranges needs the key ranges');
  if (pool.ranges !== undefined && distribution !== 'ranges') fields.fail('ranges', 'ranges are for distribution: ranges');
  if (pool.cluster && (distribution !== 'slots' || pool.slots !== 16_384))
    fields.fail('cluster', 'cluster: true needs distribution: slots, the slots of Redis Cluster');
  if (pool.redirects === 'backends' && (distribution !== 'slots' || pool.slots !== 16_384))
    fields.fail('redirects', 'redirects: backends needs distribution: slots, the slots of Redis Cluster');
  const unfit = whyNotFollowing(pool);
  if (unfit !== undefined) fields.fail('owner', unfit);
  fields.refuseUnknown();
  return pool;
}

const HASHES: readonly string[] = [...HASHKIT_NAMES, ...OWN_HASHERS.map(({ name }) => name)];

function readServers(fields: Fields): PoolServer[] {
  const list = fields.take('servers');
  if (!isSeq(list)) return fields.fail('servers', 'servers is a list of "host:port:weight", with a name behind it or not');
  if (list.items.length === 0) return fields.failNode(list, 'servers is empty');
  const seen = new Set<string>();
  return list.items.map((item) => {
    const text = isScalar(item) ? String(item.value) : '';
    const server = parseServer(text);
    if (!server)
      return fields.failNode(
        item as Node,
        `servers: a server is "host:port:weight" or "/path:weight", with a name behind it or not; ${JSON.stringify(text)} is neither`,
      );
    if (seen.has(server.name)) fields.failNode(item as Node, `servers: ${server.name} is there twice; names are distinct`);
    seen.add(server.name);
    return server;
  });
}

function withZones(fields: Fields, servers: readonly PoolServer[]): readonly PoolServer[] {
  const zones = fields.map('zones', 'zones is a map of server names to zones');
  if (!zones) return servers;
  const known = new Set(servers.map(({ name }) => name));
  const zoneOf = new Map<string, string>();
  for (const { key, value } of zones.items) {
    const name = String(key);
    if (!known.has(name)) fields.failNode(key as Node, `zones: no server is called ${name}`);
    if (!isScalar(value) || value.value === null) fields.failNode(key as Node, `zones: ${name} has no zone`);
    zoneOf.set(name, String((value as { value: unknown }).value));
  }
  return servers.map((server) => ({ ...server, ...optional('zone', zoneOf.get(server.name)) }));
}

function readListen(fields: Fields): ListenAddress | undefined {
  const text = fields.text('listen');
  if (text === undefined) return undefined;
  const [place = '', mode, ...rest] = text.trim().split(/\s+/);
  const address = parseAddress(place);
  const wrong = !address || rest.length > 0 || (mode !== undefined && (!('path' in address) || !/^[0-7]{3,4}$/.test(mode)));
  if (wrong)
    return fields.fail('listen', `listen is "host:port", or "/path" with an octal mode or not; ${JSON.stringify(text)} is neither`);
  return 'path' in address && mode !== undefined ? { path: address.path, mode: Number.parseInt(mode, 8) } : address;
}

function readListenTls(fields: Fields): ListenTls | undefined {
  const tls = fields.map('listen_tls', 'listen_tls is a map with cert and key');
  if (!tls) return undefined;
  const inner = fields.inner('listen_tls', tls);
  const cert = inner.text('cert') ?? inner.failNode(tls, 'needs cert, a PEM file');
  const key = inner.text('key') ?? inner.failNode(tls, 'needs key, a PEM file');
  const made: ListenTls = { cert, key, ...optional('ca', inner.text('ca')) };
  inner.refuseUnknown();
  return made;
}

function readBackendTls(fields: Fields): BackendTls | undefined {
  const node = fields.peek('tls');
  if (isScalar(node)) return fields.flag('tls') ? { verify: true } : undefined;
  const tls = fields.map('tls', 'tls is true, false, or a map with ca, cert, key, server_name and verify');
  if (!tls) return undefined;
  const inner = fields.inner('tls', tls);
  const made: BackendTls = {
    ...optional('ca', inner.text('ca')),
    ...optional('cert', inner.text('cert')),
    ...optional('key', inner.text('key')),
    ...optional('serverName', inner.text('server_name')),
    verify: inner.flag('verify') ?? true,
  };
  inner.refuseUnknown();
  return made;
}

function readControl(fields: Fields): PoolControl | undefined {
  const url = fields.text('owner');
  const passwordFile = fields.text('owner_password_file');
  if (url === undefined) {
    if (passwordFile !== undefined) fields.fail('owner_password_file', 'owner_password_file is for pools with an owner');
    return undefined;
  }
  if (!URL.canParse(url) || !/^https?:/.test(url))
    fields.fail('owner', `owner is a URL such as http://127.0.0.1:22223, not ${JSON.stringify(url)}`);
  return { url, ...optional('passwordFile', passwordFile) };
}

function readStats(fields: Fields): { host: string; port: number } | undefined {
  const text = fields.text('stats');
  if (text === undefined) return undefined;
  const address = parseAddress(/^\d+$/.test(text) ? `127.0.0.1:${text}` : text);
  if (!address || 'path' in address) return fields.fail('stats', `stats is "host:port" or a port, not ${JSON.stringify(text)}`);
  return address;
}

function readRanges(fields: Fields, servers: readonly PoolServer[]): KeyRangeConfig[] | undefined {
  const list = fields.take('ranges');
  if (list === undefined) return undefined;
  if (!isSeq(list) || list.items.length === 0) return fields.fail('ranges', 'ranges is a list of { from, server }, the first without from');
  return list.items.map((item, turn) => {
    if (!isMap(item)) return fields.failNode(item as Node, 'ranges: a range is { from, server }');
    const inner = fields.inner('ranges', item);
    const server = inner.text('server') ?? inner.failNode(item, 'a range names its server');
    if (!servers.some(({ name }) => name === server)) inner.failNode(item, `no server is called ${server}`);
    const from = inner.take('from');
    inner.refuseUnknown();
    if (turn === 0 && from !== undefined) inner.failNode(item, 'the first range starts before all keys, so it has no from');
    if (turn === 0) return { server };
    const value = isScalar(from) ? from.value : undefined;
    if (typeof value !== 'string' && typeof value !== 'number') return inner.failNode(item, 'every range but the first says from where');
    return { from: value, server };
  });
}

/** The settings of one map, taken one by one, so that what is left over is unknown. */
class Fields {
  readonly #fields: Map<string, Node | null>;
  readonly #keys = new Map<string, Node>();
  readonly #taken = new Set<string>();
  readonly #fail: Fail;
  readonly #prefix: string;

  constructor(map: Node, fail: Fail, prefix = '') {
    const items = isMap(map) ? map.items : [];
    this.#fields = new Map(items.map(({ key, value }) => [String(key), value as Node | null]));
    for (const { key } of items) this.#keys.set(String(key), key as Node);
    this.#fail = fail;
    this.#prefix = prefix;
  }

  inner(name: string, map: Node): Fields {
    return new Fields(map, this.#fail, `${name}: `);
  }

  peek(name: string): Node | null | undefined {
    return this.#fields.get(name);
  }

  take(name: string): Node | null | undefined {
    this.#taken.add(name);
    return this.#fields.get(name);
  }

  text(name: string): string | undefined {
    const node = this.take(name);
    if (node === undefined) return undefined;
    if (!isScalar(node) || node.value === null || node.value === '') return this.fail(name, `${name} has no value`);
    return String(node.source ?? node.value);
  }

  oneOf(name: string, known: readonly string[]): string | undefined {
    const value = this.text(name);
    if (value !== undefined && !known.includes(value)) this.fail(name, `${name} is one of ${known.join(', ')}, not ${value}`);
    return value;
  }

  flag(name: string): boolean | undefined {
    const node = this.take(name);
    if (node === undefined) return undefined;
    if (!isScalar(node) || typeof node.value !== 'boolean') return this.fail(name, `${name} is true or false`);
    return node.value;
  }

  count(name: string, { min = 0, max = 0x7fff_ffff }: { readonly min?: number; readonly max?: number } = {}): number | undefined {
    const node = this.take(name);
    if (node === undefined) return undefined;
    const value = isScalar(node) ? node.value : undefined;
    if (typeof value !== 'number' || !Number.isInteger(value) || value < min || value > max)
      return this.fail(name, `${name} is a whole number from ${min} to ${max}`);
    return value;
  }

  map(name: string, what: string): (Node & { items: { key: unknown; value: unknown }[] }) | undefined {
    const node = this.take(name);
    if (node === undefined) return undefined;
    if (!isMap(node)) return this.fail(name, what);
    return node;
  }

  refuseUnknown(): void {
    for (const [name, key] of this.#keys)
      if (!this.#taken.has(name)) this.failNode(key, `unknown key ${name}; there are ${[...this.#taken].sort().join(', ')}`);
  }

  fail(name: string, what: string): never {
    return this.failNode(this.#fields.get(name) ?? this.#keys.get(name) ?? null, what);
  }

  failNode(node: Node | null, what: string): never {
    return this.#fail(node, `${this.#prefix}${what}`);
  }
}

function optional<Name extends string, Value>(name: Name, value: Value | undefined): { [name in Name]?: Value } {
  return (value === undefined ? {} : { [name]: value }) as { [name in Name]?: Value };
}
