import { REDIS_VERSION } from '../../resp/codec/connection-words.ts';
import type { ProxyPool } from './proxy-pool.ts';

type Line = readonly [string, string | number];

/** What INFO answers: about the proxy, not about its servers. Sections by name, all without one. */
export function proxyInfo(pool: ProxyPool, names: readonly string[]): string {
  const all = names.length === 0 || names.some((name) => name === 'all' || name === 'everything' || name === 'default');
  const sections: readonly (readonly [string, () => readonly Line[]])[] = [
    ['Server', () => server(pool)],
    ['Clients', () => clients(pool)],
    ['Memory', memory],
    ['Stats', () => counters(pool)],
    [
      'Replication',
      () => [
        ['role', 'master'],
        ['connected_slaves', 0],
      ],
    ],
    ['Cluster', () => [['cluster_enabled', pool.redirects === 'off' ? 0 : 1]]],
    ['Pool', () => servers(pool)],
  ];
  return sections
    .filter(([title]) => all || names.includes(title.toLowerCase()))
    .map(
      ([title, lines]) =>
        `# ${title}\r\n${lines()
          .map(([name, value]) => `${name}:${value}\r\n`)
          .join('')}`,
    )
    .join('\r\n');
}

function server(pool: ProxyPool): Line[] {
  const uptime = Math.floor((Date.now() - pool.stats.startedMs) / 1_000);
  return [
    ['redis_version', REDIS_VERSION],
    ['redis_mode', pool.redirects === 'off' ? 'standalone' : 'cluster'],
    ['keyfleet_role', 'pool'],
    ['keyfleet_pool', pool.map.pool],
    ['process_id', process.pid],
    ['tcp_port', pool.port],
    ['uptime_in_seconds', uptime],
    ['uptime_in_days', Math.floor(uptime / 86_400)],
  ];
}

function clients(pool: ProxyPool): Line[] {
  let blocked = 0;
  for (const client of pool.clients.values()) if (client.isBlocked) blocked++;
  return [
    ['connected_clients', pool.stats.clients],
    ['maxclients', pool.config.clientConnections],
    ['blocked_clients', blocked],
  ];
}

function memory(): Line[] {
  const used = process.memoryUsage();
  return [
    ['used_memory', used.heapUsed + used.external],
    ['used_memory_rss', used.rss],
    ['maxmemory', 0],
  ];
}

function counters({ stats }: ProxyPool): Line[] {
  return [
    ['total_connections_received', stats.clientsOpened],
    ['total_commands_processed', stats.requests],
    ['total_net_input_bytes', stats.clientBytesIn],
    ['total_net_output_bytes', stats.clientBytesOut],
    ['rejected_connections', stats.clientsRejected],
    ['total_error_replies', stats.errors.reduce((sum, one) => sum + one, 0)],
    ['client_output_buffer_limit_disconnections', stats.closedOutputLimit],
    ['client_output_stall_disconnections', stats.closedStalled],
    ['client_protocol_errors', stats.protocolErrors],
    ['backend_failures', stats.forwardErrors],
  ];
}

function servers(pool: ProxyPool): Line[] {
  return [
    ['epoch', pool.map.epoch],
    ['servers', pool.map.servers.length],
    ...pool.map.servers.map((one, i): Line => {
      const backend = pool.backends(2)[i]!;
      const state = pool.isEjected(i) ? 'ejected' : backend.isUp ? 'up' : backend.failures > 0 ? 'down' : 'idle';
      return [`server${i}`, `name=${one.name},state=${state},requests=${pool.stats.server(i).requests},pending=${backend.pending}`];
    }),
  ];
}
