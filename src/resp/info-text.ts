import { hostname } from 'node:os';
import { showBytes } from '../base/units.ts';
import { type CommandSpec, everySpec } from '../shard/redis/command-table.ts';
import { REDIS_VERSION } from './codec/connection-words.ts';
import type { Door } from './door.ts';

type Line = readonly [string, string | number];

/** The sections of INFO by name, in the order they are shown. */
const SECTIONS: readonly { readonly name: string; readonly title: string; readonly isExtra?: boolean; lines(door: Door): Line[] }[] = [
  { name: 'server', title: 'Server', lines: server },
  { name: 'clients', title: 'Clients', lines: clients },
  { name: 'memory', title: 'Memory', lines: memory },
  { name: 'persistence', title: 'Persistence', lines: persistence },
  { name: 'stats', title: 'Stats', lines: stats },
  {
    name: 'replication',
    title: 'Replication',
    lines: () => [
      ['role', 'master'],
      ['connected_slaves', 0],
    ],
  },
  { name: 'cpu', title: 'CPU', lines: cpu },
  { name: 'commandstats', title: 'Commandstats', isExtra: true, lines: commandStats },
  { name: 'errorstats', title: 'Errorstats', lines: errorStats },
  { name: 'cluster', title: 'Cluster', lines: (door) => [['cluster_enabled', door.cluster ? 1 : 0]] },
  { name: 'shards', title: 'Shards', lines: shards },
  { name: 'keyspace', title: 'Keyspace', lines: keyspace },
];

/** What INFO answers: the default sections, or those named (`all` and `everything` add command statistics). Unknown names show nothing. */
export function infoText(door: Door, names: readonly string[]): string {
  const everything = names.includes('all') || names.includes('everything');
  const isDefault = names.length === 0 || names.includes('default');
  const chosen = SECTIONS.filter((section) => everything || names.includes(section.name) || (isDefault && !section.isExtra));
  return chosen
    .map((section) => {
      const lines = section.lines(door).map(([name, value]) => `${name}:${value}\r\n`);
      return `# ${section.title}\r\n${lines.join('')}`;
    })
    .join('\r\n');
}

function server(door: Door): Line[] {
  const uptime = Math.floor((Date.now() - door.startedMs) / 1_000);
  return [
    ['redis_version', REDIS_VERSION],
    ['redis_mode', door.cluster ? 'cluster' : 'standalone'],
    ['keyfleet_version', door.info.version],
    ['os', `${process.platform} ${process.arch}`],
    ['arch_bits', 64],
    ['node_version', process.versions.node],
    ['host', hostname()],
    ['process_id', process.pid],
    ['run_id', door.runId],
    ['tcp_port', door.port],
    ['server_time_usec', Math.round((performance.timeOrigin + performance.now()) * 1_000)],
    ['uptime_in_seconds', uptime],
    ['uptime_in_days', Math.floor(uptime / 86_400)],
  ];
}

function clients(door: Door): Line[] {
  let waiting = 0;
  let largestInput = 0;
  let largestOutput = 0;
  for (const conn of door.connections.values()) {
    if (conn.inFlight > 0) waiting++;
    largestInput = Math.max(largestInput, conn.scanner.pendingBytes);
    largestOutput = Math.max(largestOutput, conn.outputBytes);
  }
  return [
    ['connected_clients', door.stats.connections],
    ['maxclients', door.settings.maxclients],
    ['client_recent_max_input_buffer', largestInput],
    ['client_recent_max_output_buffer', largestOutput],
    ['blocked_clients', door.blocked.count],
    ['clients_with_requests_in_flight', waiting],
  ];
}

function memory(door: Door): Line[] {
  const used = process.memoryUsage();
  const data = door.keyspace.sizeBytes;
  return [
    ['used_memory', used.heapUsed + used.external],
    ['used_memory_human', showBytes(used.heapUsed + used.external)],
    ['used_memory_rss', used.rss],
    ['used_memory_rss_human', showBytes(used.rss)],
    ['used_memory_dataset', data],
    ['maxmemory', 0],
    ['maxmemory_human', '0 B'],
    ['maxmemory_policy', 'noeviction'],
  ];
}

function persistence(door: Door): Line[] {
  const storage = door.info.storage?.();
  const refusal = door.info.refusal?.();
  return [
    ['loading', 0],
    ['aof_enabled', storage && door.info.directory ? 1 : 0],
    ['aof_last_write_status', refusal ? 'err' : 'ok'],
    ['durability', storage?.durability ?? 'none'],
    ['writes_refused', refusal ? refusal.message : 'no'],
    ...(storage
      ? ([
          ['disk_bytes', storage.diskBytes],
          ['journal_bytes', storage.journalBytes],
          ['memtable_bytes', storage.memtableBytes],
          ['memtable_entries', storage.memtableEntries],
          ['journal_syncs', storage.syncCount],
          ['journal_sync_seconds', storage.syncSeconds.toFixed(3)],
          ['flushes', storage.flushCount],
        ] as const)
      : []),
  ];
}

function stats(door: Door): Line[] {
  const { stats: counters } = door;
  const { lookups } = door.info;
  return [
    ['total_connections_received', counters.connectionsOpened],
    ['total_commands_processed', counters.commands],
    ['instantaneous_ops_per_sec', counters.opsPerSecond],
    ['total_net_input_bytes', counters.bytesIn],
    ['total_net_output_bytes', counters.bytesOut],
    ['instantaneous_input_kbps', (counters.bytesInPerSecond / 1_024).toFixed(2)],
    ['instantaneous_output_kbps', (counters.bytesOutPerSecond / 1_024).toFixed(2)],
    ...(lookups
      ? ([
          ['keyspace_hits', lookups.hits],
          ['keyspace_misses', lookups.misses],
        ] as const)
      : []),
    ['rejected_connections', counters.connectionsRejected],
    ['total_error_replies', counters.errorCount],
    ['acl_access_denied_auth', counters.authFailures],
    ['client_query_buffer_limit_disconnections', counters.closedQueryLimit],
    ['client_output_buffer_limit_disconnections', counters.closedOutputLimit],
    ['client_output_stall_disconnections', counters.closedStalled],
    ['client_idle_disconnections', counters.closedIdle],
    ['client_protocol_errors', counters.closedProtocolError],
  ];
}

function cpu(): Line[] {
  const used = process.cpuUsage();
  return [
    ['used_cpu_sys', (used.system / 1e6).toFixed(6)],
    ['used_cpu_user', (used.user / 1e6).toFixed(6)],
  ];
}

function commandStats(door: Door): Line[] {
  const { stats: counters } = door;
  const used = everySpec().filter(({ index }) => counters.calls[index]! + counters.rejected[index]! > 0);
  return used.map(({ index, name }: CommandSpec) => {
    const calls = counters.calls[index]!;
    const microsPerCall = counters.sampledCalls[index]! > 0 ? counters.sampledMicros[index]! / counters.sampledCalls[index]! : 0;
    return [
      `cmdstat_${name}`,
      `calls=${calls},usec=${Math.round(calls * microsPerCall)},usec_per_call=${microsPerCall.toFixed(2)},` +
        `rejected_calls=${counters.rejected[index]},failed_calls=${counters.failed[index]}`,
    ];
  });
}

function errorStats(door: Door): Line[] {
  return [...door.stats.errors].map(([word, count]) => [`errorstat_${word}`, `count=${count}`]);
}

function shards(door: Door): Line[] {
  const all = door.info.shards?.() ?? [];
  return [
    ['shards', all.length],
    ...all.map((shard): Line => {
      const range = `from=${hex(shard.from)},to=${hex(shard.to)}`;
      return [`shard_${shard.id}`, `${range},keys=${shard.keyCount},bytes=${shard.sizeBytes}`];
    }),
  ];
}

function hex(position: number): string {
  return position.toString(16).padStart(8, '0');
}

function keyspace(door: Door): Line[] {
  const { keyCount, expiringCount } = door.keyspace;
  return keyCount === 0 ? [] : [['db0', `keys=${keyCount},expires=${expiringCount},avg_ttl=0`]];
}
