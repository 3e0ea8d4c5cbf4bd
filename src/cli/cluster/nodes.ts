import type { Command } from 'commander';
import { showDuration } from '../../base/units.ts';
import type { ClusterReport, LostReport } from '../../http/cluster-admin.ts';
import { showWorkflow } from '../shards/shards.ts';
import { columns } from '../terminal/text-output.ts';
import { NodesClient, type NodesFlags, withNodesFlags } from './nodes-client.ts';

/** `keyfleet nodes`: the nodes of a cluster, as any of them knows it. */
export function define(command: Command): void {
  withNodesFlags(command)
    .addHelpText('after', '\nExamples:\n  keyfleet nodes\n  keyfleet nodes --url http://10.0.0.2:7380 --json | jq .nodes')
    .action(async (flags: NodesFlags) => {
      const report = await new NodesClient(flags).report();
      process.stdout.write(flags.json ? `${JSON.stringify(report, null, 2)}\n` : `${nodesText(report, Date.now())}\n`);
    });
}

/** The report as people read it. */
export function nodesText(report: ClusterReport, nowMs: number): string {
  const { cluster, node, metaLeader, replication, unready, nodes, keyspaces, risks } = report;
  const rows = nodes.map((one) => {
    const { id, status, zone, weight, leads, replicas, addresses, release, protocol: knows, sinceMs, isSelf } = one;
    return [
      isSelf ? `${id} *` : id,
      isDrained(one) ? 'drained' : `${status} ${showDuration(Math.max(0, nowMs - sinceMs))}`,
      zone,
      String(weight),
      String(leads),
      String(replicas),
      addresses.resp ?? '',
      addresses.http ?? '',
      release,
      knows === undefined ? '' : knows.min === knows.max ? String(knows.max) : `${knows.min}-${knows.max}`,
    ];
  });
  const table = columns([
    ['node', 'status', 'zone', 'weight', 'leads', 'copies', 'redis', 'http', 'release', 'protocols'],
    ...rows,
  ]).trimEnd();
  const workflows = keyspaces.flatMap(({ name, workflows: running }) => running.map((one) => `${name}: ${showWorkflow(one)}`));
  return [
    `cluster ${cluster} as node ${node} (*) knows it: ${nodes.length} nodes, ${replication} copies of each shard, meta shard led by ${metaLeader ?? 'nobody'}`,
    ...(unready === null ? [] : [`NOT READY: ${unready}`]),
    '',
    table,
    ...mixedText(report).map((line) => `! ${line}`),
    ...troubles(report).map((line) => `! ${line}`),
    ...workflows,
    ...risks.map((risk) => `! NATS: ${risk}`),
  ].join('\n');
}

/** It was told to give away all that it has, and has nothing any more. */
export function isDrained({ status, leads, replicas }: ClusterReport['nodes'][number]): boolean {
  return status === 'draining' && leads === 0 && replicas === 0;
}

/** Nodes of several protocols: what the newest brings waits for the others. */
function mixedText({ nodes, protocol }: ClusterReport): string[] {
  const members = nodes.flatMap(({ id, status, protocol: knows }) =>
    knows === undefined || status === 'left' ? [] : [{ id, newest: knows.max }],
  );
  const newest = Math.max(...members.map((one) => one.newest));
  const older = members.filter((one) => one.newest < newest).map(({ id }) => id);
  if (protocol === undefined || older.length === 0) return [];
  return [`nodes of several releases: protocol ${protocol} is spoken, and ${newest} once ${older.join(', ')} can too (docs/cluster.md)`];
}

/** How a shard whose log is lost is to go on. */
export function lostText({ waitsFor, hasNoCopy }: LostReport): string {
  if (hasNoCopy) return 'its log is lost, and no node has a sound copy';
  if (waitsFor.length > 0) return `its log is lost; it goes on when ${waitsFor.join(', ')} can say what was written last`;
  return 'its log is lost, and begins anew';
}

/** What is not as it should be. */
function troubles({ nodes, keyspaces, replication, metaLost }: ClusterReport): string[] {
  const up = new Set(nodes.filter(({ status }) => status === 'up' || status === 'draining').map(({ id }) => id));
  const wanted = Math.min(replication, nodes.filter(({ status }) => status !== 'left').length);
  const ofMeta = metaLost ? [`meta shard (0): ${lostText(metaLost)}`] : [];
  const ofShards = keyspaces.flatMap(({ name, shards }) => {
    const leaderless = shards.filter(({ leader, lost }) => !lost && (leader === null || !up.has(leader))).map(({ id }) => id);
    const thin = shards.filter(({ replicas }) => replicas.filter((id) => up.has(id)).length < wanted).map(({ id }) => id);
    return [
      ...shards.flatMap(({ id, lost }) => (lost ? [`keyspace ${name}: shard ${id}: ${lostText(lost)}`] : [])),
      ...(leaderless.length > 0 ? [`keyspace ${name}: nobody leads shard ${leaderless.join(', ')}`] : []),
      ...(thin.length > 0 ? [`keyspace ${name}: fewer than ${wanted} copies on nodes that are up of shard ${thin.join(', ')}`] : []),
    ];
  });
  return [...ofMeta, ...ofShards];
}
