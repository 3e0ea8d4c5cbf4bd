import type { Command } from 'commander';
import { showBytes, showCount } from '../../base/units.ts';
import type { ShardsReport } from '../../http/shard-admin.ts';
import { bar, columns, counted, showPosition } from '../terminal/text-output.ts';
import { ShardsClient, type ShardsFlags, withServerFlags } from './shards-client.ts';

/** `keyfleet shards`: the shards of a running server. */
export function define(command: Command): void {
  withServerFlags(command)
    .addHelpText('after', '\nExamples:\n  keyfleet shards\n  keyfleet shards --json | jq .workflows')
    .action(async (flags: ShardsFlags) => {
      const report = await new ShardsClient(flags).report();
      process.stdout.write(flags.json ? `${JSON.stringify(report, null, 2)}\n` : shardsText(report));
    });
}

const BAR_WIDTH = 24;

/** The report as people read it. */
export function shardsText({ keyspace, shards, workflows, policy }: ShardsReport): string {
  const keys = shards.reduce((sum, { keyCount }) => sum + keyCount, 0);
  const most = Math.max(1, ...shards.map(({ keyCount }) => keyCount));
  const isCluster = shards.some(({ replicas }) => replicas !== undefined);
  const rows = shards.map((shard) => [
    String(shard.id),
    `[${showPosition(shard.from)}, ${showPosition(shard.to)})`,
    showCount(shard.keyCount),
    showBytes(shard.sizeBytes),
    showCount(shard.loadPerSecond),
    ...(isCluster ? [placeOf(shard)] : []),
    shard.status === 'serving' ? bar(shard.keyCount / most, BAR_WIDTH) : shard.status,
  ]);
  const limits = [
    policy.maxKeysPerShard === null ? '' : `${showCount(policy.maxKeysPerShard)} keys`,
    policy.maxBytesPerShard === null ? '' : showBytes(policy.maxBytesPerShard),
    policy.maxLoadPerShard === null ? '' : `load ${showCount(policy.maxLoadPerShard)}/s`,
  ].filter((limit) => limit !== '');
  return [
    `keyspace ${keyspace}: ${counted(shards.length, 'shard')} (${policy.minShards} to ${policy.maxShards}), ${counted(keys, 'key')}`,
    limits.length > 0
      ? `a shard is split beyond ${limits.join(', ')}`
      : `no shard is split for its size or load: keyfleet policy set --keyspace ${keyspace} maxKeysPerShard=…`,
    '',
    columns([['shard', 'positions', 'keys', 'bytes', 'load/s', ...(isCluster ? ['leader > copies'] : []), ''], ...rows]).trimEnd(),
    ...workflows.map(showWorkflow),
    '',
  ].join('\n');
}

/** Who leads it, and who has it besides. */
function placeOf({ leader, replicas = [] }: ShardsReport['shards'][number]): string {
  return `${leader ?? 'nobody'} > ${replicas.filter((id) => id !== leader).join(' ')}`;
}

/** A workflow in one line. */
export function showWorkflow(workflow: ShardsReport['workflows'][number]): string {
  const { op } = workflow;
  switch (workflow.kind) {
    case 'split':
      return `${op}: shard ${workflow.parent} is being cut at ${showPosition(workflow.at)}; what is above becomes shard ${workflow.child}`;
    case 'merge':
      return workflow.gathers
        ? `${op}: shard ${workflow.left} is to take over shard ${workflow.right}, which comes to its nodes first`
        : `${op}: shard ${workflow.left} is taking over shard ${workflow.right}`;
    case 'retire':
      return `${op}: shard ${workflow.shard} was taken over, and is being put away`;
    case 'move':
      return `${op}: shard ${workflow.shard} is being brought to node ${workflow.add}${workflow.remove === undefined ? '' : `, instead of ${workflow.remove}`}`;
  }
}
