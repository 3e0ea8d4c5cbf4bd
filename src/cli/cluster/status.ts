import type { Command } from 'commander';
import { showBytes, showCount, showDuration } from '../../base/units.ts';
import type { KeyspaceReport, StatusReport } from '../../http/status.ts';
import { ServerClient, serverAddress } from '../client/server-client.ts';
import { counted, showPosition } from '../terminal/text-output.ts';
import { nodesText } from './nodes.ts';

export function define(command: Command): void {
  command
    .option('--json', 'print the report as JSON')
    .option('--url <url>', 'the server (http://127.0.0.1:7380)')
    .option('--password-file <file>', "file whose first line is the server's password")
    .addHelpText('after', '\nExamples:\n  keyfleet status\n  keyfleet status --json | jq .keyspaces[0].balance')
    .action(async (flags: { readonly json?: boolean; readonly url?: string; readonly passwordFile?: string }) => {
      const client = new ServerClient(serverAddress(flags), 10_000);
      const report = await client.status();
      process.stdout.write(flags.json ? `${JSON.stringify(report, null, 2)}\n` : statusText(report, client.url));
    });
}

const DURABILITY: Readonly<Record<string, string>> = {
  sync: 'a write is answered once it is on disk',
  os: 'a write is answered once the operating system has it: a power loss may take the last second',
  none: 'a write is answered at once: a crash may take the last moments',
};

/** The report as people read it. */
export function statusText(report: StatusReport, url: string): string {
  const { diskBytes } = report.storage as { readonly diskBytes?: number };
  const lines = [
    `keyfleet ${report.version} at ${url}, up ${showDuration(report.uptimeMs)}`,
    ...(report.cluster
      ? [nodesText(report.cluster, Date.now())]
      : [`durability ${report.durability}: ${DURABILITY[report.durability] ?? ''}`]),
    ...(report.refusal ? [`WRITES ARE REFUSED: ${report.refusal.code}: ${report.refusal.message}`] : []),
    ...(diskBytes === undefined ? [] : [`${showBytes(diskBytes)} on disk`]),
    ...report.keyspaces.flatMap((keyspace) => ['', ...keyspaceLines(keyspace)]),
  ];
  return `${lines.join('\n')}\n`;
}

const BAR_WIDTH = 30;

function keyspaceLines(keyspace: KeyspaceReport): string[] {
  const { name, keyCount, sizeBytes, expiringCount, balance, shards, workflows, isLoading } = keyspace;
  const peak = Math.max(1, ...shards.map((shard) => shard.keyCount));
  const rows = shards.map((shard) => [
    shard.id,
    `[${showPosition(shard.from)}, ${showPosition(shard.to)})`,
    showCount(shard.keyCount),
    showBytes(shard.sizeBytes),
    showCount(shard.loadPerSecond),
    ...(shard.replicas ? [shard.leader ?? 'nobody'] : []),
    bar(shard.keyCount / peak),
  ]);
  const isCluster = shards.some(({ replicas }) => replicas !== undefined);
  const ratio =
    keyCount === 0
      ? ''
      : `; fullest shard ${balance.keysPeakToAverage.toFixed(2)} x the average in keys, ${balance.bytesPeakToAverage.toFixed(2)} x in bytes`;
  return [
    `keyspace ${name}: ${counted(keyCount, 'key')}, ${showBytes(sizeBytes)}, ${showCount(expiringCount)} of them expiring`,
    ...(isLoading
      ? ['IT ANSWERS NOBODY: it is being restored from a backup; if that died, the same `keyfleet restore` goes on, FLUSHALL gives it up']
      : []),
    `${counted(shards.length, 'shard')}${ratio}${workflows.length === 0 ? '' : `; splits and merges under way: ${workflows.length} (keyfleet shards)`}`,
    ...table([['shard', 'positions', 'keys', 'bytes', 'load/s', ...(isCluster ? ['leader'] : []), ''], ...rows]),
  ];
}

/** Columns as wide as their widest cell: the first two and the last to the left, numbers to the right. */
function table(rows: readonly (readonly string[])[]): string[] {
  const widths = rows[0]!.map((_, column) => Math.max(...rows.map((row) => row[column]!.length)));
  return rows.map((row) =>
    `  ${row.map((cell, column) => (column >= 2 && column < row.length - 1 ? cell.padStart(widths[column]!) : cell.padEnd(widths[column]!))).join('  ')}`.trimEnd(),
  );
}

function bar(share: number): string {
  return '#'.repeat(Math.round(share * BAR_WIDTH));
}
