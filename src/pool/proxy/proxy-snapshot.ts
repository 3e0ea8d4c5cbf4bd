import { hostname } from 'node:os';
import type { ProxyPool } from './proxy-pool.ts';
import { LATENCY_BUCKETS, type ServerCounters, type StatsSnapshot } from './proxy-stats.ts';

/** One server of a pool, as statistics show it. */
export interface ServerSnapshot extends ServerCounters {
  readonly name: string;
  readonly isUp: boolean;
  readonly isEjected: boolean;
  readonly connections: number;
  readonly pending: number;
  readonly pendingBytes: number;
}

/** One pool's counters at one moment, as plain data. */
export interface PoolSnapshot {
  readonly name: string;
  readonly epoch: number;
  readonly stats: StatsSnapshot;
  readonly servers: readonly ServerSnapshot[];
}

export function poolSnapshot(pool: ProxyPool): PoolSnapshot {
  return {
    name: pool.map.pool,
    epoch: pool.map.epoch,
    stats: pool.stats.snapshot(),
    servers: pool.map.servers.map(({ name }, i) => {
      const both = ([2, 3] as const).map((version) => pool.backends(version)[i]!);
      return {
        ...pool.stats.server(i),
        name,
        isUp: both.some((one) => one.isUp),
        isEjected: pool.isEjected(i),
        connections: both.filter((one) => one.isUp).length,
        pending: both.reduce((sum, one) => sum + one.pending, 0),
        pendingBytes: both.reduce((sum, one) => sum + one.unsentBytes, 0),
      };
    }),
  };
}

/** The sums of what several processes have counted. */
export function mergeSnapshots(all: readonly (readonly PoolSnapshot[])[]): readonly PoolSnapshot[] {
  const [first, ...rest] = all;
  if (first === undefined) return [];
  return first.map((pool, at) => rest.reduce((sum, other) => (other[at] === undefined ? sum : merge(sum, other[at])), pool));
}

function merge(a: PoolSnapshot, b: PoolSnapshot): PoolSnapshot {
  const commands = new Map(a.stats.commands.map((one) => [one.name, one]));
  for (const one of b.stats.commands) {
    const other = commands.get(one.name);
    commands.set(
      one.name,
      other === undefined
        ? one
        : {
            name: one.name,
            calls: one.calls + other.calls,
            errors: one.errors + other.errors,
            sumMs: one.sumMs + other.sumMs,
            buckets: one.buckets.map((count, i) => count + other.buckets[i]!),
          },
    );
  }
  const hot = new Map(a.stats.hotKeys);
  for (const [key, count] of b.stats.hotKeys) hot.set(key, (hot.get(key) ?? 0) + count);
  const numbers = Object.fromEntries(Object.entries(a.stats.numbers).map(([name, value]) => [name, value + (b.stats.numbers[name] ?? 0)]));
  return {
    name: a.name,
    epoch: Math.max(a.epoch, b.epoch),
    stats: {
      startedMs: Math.min(a.stats.startedMs, b.stats.startedMs),
      commands: [...commands.values()],
      numbers,
      hotKeys: [...hot].toSorted((x, y) => y[1] - x[1]).slice(0, 20),
    },
    servers: a.servers.map((one, i) => mergeServers(one, b.servers[i] ?? one)),
  };
}

function mergeServers(a: ServerSnapshot, b: ServerSnapshot): ServerSnapshot {
  if (a === b) return a;
  const sums = Object.fromEntries(
    Object.entries(a).map(([name, value]) => [name, typeof value === 'number' ? value + Number(b[name as keyof ServerSnapshot]) : value]),
  ) as unknown as ServerSnapshot;
  return { ...sums, isUp: a.isUp || b.isUp, isEjected: a.isEjected || b.isEjected, ejectedAtMs: Math.max(a.ejectedAtMs, b.ejectedAtMs) };
}

/** What nutcracker's `-s` port answers, field by field. */
export function twemproxyJson(pools: readonly PoolSnapshot[], version: string): string {
  const startedMs = Math.min(Date.now(), ...pools.map(({ stats }) => stats.startedMs));
  const shown: Record<string, unknown> = {
    service: 'nutcracker',
    source: hostname(),
    version: `keyfleet-${version}`,
    uptime: Math.floor((Date.now() - startedMs) / 1_000),
    timestamp: Math.floor(Date.now() / 1_000),
    total_connections: pools.reduce((sum, { stats }) => sum + stats.numbers['clientsOpened']!, 0),
    curr_connections: pools.reduce(
      (sum, { stats, servers }) => sum + stats.numbers['clients']! + servers.reduce((all, one) => all + one.connections, 0),
      0,
    ),
  };
  for (const { name, stats, servers } of pools) {
    shown[name] = {
      client_eof: stats.numbers['clientsClosed'],
      client_err: stats.numbers['protocolErrors'],
      client_connections: stats.numbers['clients'],
      server_ejects: servers.reduce((sum, one) => sum + one.ejections, 0),
      forward_error: stats.numbers['forwardErrors'],
      fragments: 0,
      ...Object.fromEntries(
        servers.map((one) => [
          one.name,
          {
            server_eof: one.eof,
            server_err: one.failures,
            server_timedout: one.timeouts,
            server_connections: one.connections,
            server_ejected_at: one.ejectedAtMs * 1_000,
            requests: one.requests,
            request_bytes: one.requestBytes,
            responses: one.responses,
            response_bytes: one.responseBytes,
            in_queue: one.pending,
            in_queue_bytes: one.pendingBytes,
            out_queue: one.pending,
            out_queue_bytes: 0,
          },
        ]),
      ),
    };
  }
  return JSON.stringify(shown);
}

/** The Prometheus text format, version 0.0.4. */
export function prometheusText(pools: readonly PoolSnapshot[]): string {
  const lines: string[] = [];
  const family = (name: string, type: string, help: string, rows: readonly (readonly [labels: string, value: number])[]): void => {
    lines.push(`# HELP ${name} ${help}`, `# TYPE ${name} ${type}`);
    for (const [labels, value] of rows) lines.push(`${name}{${labels}} ${value}`);
  };
  const each = (value: (stats: Readonly<Record<string, number>>) => number): [string, number][] =>
    pools.map(({ name, stats }) => [`pool="${labelText(name)}"`, value(stats.numbers)]);
  const perServer = (value: (server: ServerSnapshot) => number): [string, number][] =>
    pools.flatMap(({ name, servers }) =>
      servers.map((one): [string, number] => [`pool="${labelText(name)}",backend="${labelText(one.name)}"`, value(one)]),
    );
  family(
    'keyfleet_pool_clients',
    'gauge',
    'Clients connected now.',
    each((one) => one['clients']!),
  );
  family(
    'keyfleet_pool_clients_total',
    'counter',
    'Clients accepted.',
    each((one) => one['clientsOpened']!),
  );
  family(
    'keyfleet_pool_clients_rejected_total',
    'counter',
    'Clients refused: too many.',
    each((one) => one['clientsRejected']!),
  );
  family(
    'keyfleet_pool_client_received_bytes_total',
    'counter',
    'Bytes from clients.',
    each((one) => one['clientBytesIn']!),
  );
  family(
    'keyfleet_pool_client_sent_bytes_total',
    'counter',
    'Bytes to clients.',
    each((one) => one['clientBytesOut']!),
  );
  family(
    'keyfleet_pool_protocol_errors_total',
    'counter',
    'Clients that did not speak the protocol.',
    each((one) => one['protocolErrors']!),
  );
  family(
    'keyfleet_pool_forward_errors_total',
    'counter',
    'Requests that no backend answered.',
    each((one) => one['forwardErrors']!),
  );
  family(
    'keyfleet_pool_auth_failures_total',
    'counter',
    'Wrong passwords.',
    each((one) => one['authFailures']!),
  );
  family(
    'keyfleet_pool_redirects_total',
    'counter',
    'MOVED and ASK of a cluster that were followed.',
    each((one) => one['redirects']!),
  );
  family(
    'keyfleet_pool_epoch',
    'gauge',
    'Epoch of the map.',
    pools.map(({ name, epoch }) => [`pool="${labelText(name)}"`, epoch]),
  );
  family(
    'keyfleet_backend_up',
    'gauge',
    'Whether a connection stands.',
    perServer((one) => Number(one.isUp)),
  );
  family(
    'keyfleet_backend_ejected',
    'gauge',
    'Whether it is out of the ring.',
    perServer((one) => Number(one.isEjected)),
  );
  family(
    'keyfleet_backend_requests_total',
    'counter',
    'Requests sent.',
    perServer((one) => one.requests),
  );
  family(
    'keyfleet_backend_request_bytes_total',
    'counter',
    'Bytes of requests sent.',
    perServer((one) => one.requestBytes),
  );
  family(
    'keyfleet_backend_responses_total',
    'counter',
    'Answers passed on.',
    perServer((one) => one.responses),
  );
  family(
    'keyfleet_backend_response_bytes_total',
    'counter',
    'Bytes of answers.',
    perServer((one) => one.responseBytes),
  );
  family(
    'keyfleet_backend_error_replies_total',
    'counter',
    'Error replies among the answers.',
    perServer((one) => one.errorReplies),
  );
  family(
    'keyfleet_backend_failures_total',
    'counter',
    'Connections lost or not made.',
    perServer((one) => one.failures + one.eof + one.timeouts),
  );
  family(
    'keyfleet_backend_timeouts_total',
    'counter',
    'Connections given up: no answer in time.',
    perServer((one) => one.timeouts),
  );
  family(
    'keyfleet_backend_in_flight',
    'gauge',
    'Requests without an answer.',
    perServer((one) => one.pending),
  );
  family(
    'keyfleet_backend_queued_bytes',
    'gauge',
    'Bytes not taken by the backend yet.',
    perServer((one) => one.pendingBytes),
  );
  const perCommand = (value: (one: StatsSnapshot['commands'][number]) => number): [string, number][] =>
    pools.flatMap(({ name, stats }) =>
      stats.commands.map((one): [string, number] => [`pool="${labelText(name)}",command="${labelText(one.name)}"`, value(one)]),
    );
  family(
    'keyfleet_pool_commands_total',
    'counter',
    'Requests by command.',
    perCommand((one) => one.calls),
  );
  family(
    'keyfleet_pool_command_errors_total',
    'counter',
    'Error replies by command.',
    perCommand((one) => one.errors),
  );
  lines.push(
    '# HELP keyfleet_pool_latency_seconds From a request being read to its answer.',
    '# TYPE keyfleet_pool_latency_seconds histogram',
  );
  for (const { name, stats } of pools) {
    for (const { name: command, buckets, sumMs } of stats.commands) {
      const labels = `pool="${labelText(name)}",command="${labelText(command)}"`;
      let sum = 0;
      for (let b = 0; b < LATENCY_BUCKETS - 1; b++) {
        sum += buckets[b]!;
        // Below 64 µs nothing is told apart.
        if (b >= 6) lines.push(`keyfleet_pool_latency_seconds_bucket{${labels},le="${2 ** b / 1e6}"} ${sum}`);
      }
      sum += buckets[LATENCY_BUCKETS - 1]!;
      lines.push(`keyfleet_pool_latency_seconds_bucket{${labels},le="+Inf"} ${sum}`);
      lines.push(`keyfleet_pool_latency_seconds_sum{${labels}} ${sumMs / 1_000}`, `keyfleet_pool_latency_seconds_count{${labels}} ${sum}`);
    }
  }
  return `${lines.join('\n')}\n`;
}

function labelText(label: string): string {
  return label.replace(/[\\"\n]/g, (found) => (found === '\n' ? '\\n' : `\\${found}`));
}

export const STATS_HELP = `pool stats:
  client_eof          clients that have gone
  client_err          clients that did not speak the protocol
  client_connections  clients connected now
  server_ejects       times a server was ejected
  forward_error       requests that no server answered
  fragments           always 0: kept for readers of nutcracker's statistics

server stats:
  server_eof          connections that the server ended
  server_err          connections that could not be made, or broke
  server_timedout     connections given up since no answer came in time
  server_connections  connections that stand
  server_ejected_at   when it was ejected last, microseconds since 1970
  requests            requests sent
  request_bytes       their bytes
  responses           answers
  response_bytes      their bytes
  in_queue            requests without an answer
  in_queue_bytes      bytes of requests that the server has not taken
  out_queue           the same as in_queue: requests are sent as soon as they come
  out_queue_bytes     always 0
`;
