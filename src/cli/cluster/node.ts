import type { Command } from 'commander';
import type { ClusterReport } from '../../http/cluster-admin.ts';
import { nodesText } from './nodes.ts';
import { NodesClient, type NodesFlags, withNodesFlags } from './nodes-client.ts';

/** `keyfleet node drain`, `undrain` and `remove`: one node of a cluster, said to any of them. */
export function define(command: Command): void {
  command.addHelpText('after', '\nExamples:\n  keyfleet node drain node-3\n  keyfleet node remove node-3');
  withNodesFlags(command.command('drain').description('have all data leave a node, and wait until nothing is there'))
    .argument('<id>', 'the node')
    .option('--no-wait', 'return at once; the data leave all the same')
    .action(async (id: string, flags: NodesFlags & { readonly wait: boolean }) => {
      const client = new NodesClient(flags);
      let report = await client.change(id, 'drain');
      if (flags.wait) report = await untilEmpty(client, id, report);
      show(report, flags);
    });
  withNodesFlags(command.command('undrain').description('take drain back: the node is given data again'))
    .argument('<id>', 'the node')
    .action(async (id: string, flags: NodesFlags) => show(await new NodesClient(flags).change(id, 'undrain'), flags));
  withNodesFlags(command.command('remove').description('forget a node that has been drained, or is down for good'))
    .argument('<id>', 'the node')
    .action(async (id: string, flags: NodesFlags) => show(await new NodesClient(flags).change(id, 'remove'), flags));
}

const LOOK_MS = 1_000;

/** Says how many copies are still to leave, each time that it is fewer. Ctrl-C ends the waiting, not the drain. */
async function untilEmpty(client: NodesClient, id: string, first: ClusterReport): Promise<ClusterReport> {
  const nodeOf = (report: ClusterReport): ClusterReport['nodes'][number] | undefined => report.nodes.find((node) => node.id === id);
  const total = nodeOf(first)?.replicas ?? 0;
  let report = first;
  for (let told = -1; ; ) {
    const node = nodeOf(report);
    // What it leads for a moment longer counts too.
    const left = Math.max(node?.replicas ?? 0, node?.leads ?? 0);
    if (left !== told) process.stderr.write(`${id}: ${total - left} of ${total} copies have left\n`);
    told = left;
    // Somebody may take the drain back meanwhile.
    if (node?.status === 'up') return report;
    if (left === 0) {
      process.stderr.write(
        `${id} is drained: end it and forget it, keyfleet node remove ${id}; or have it take shards again, keyfleet node undrain ${id}\n`,
      );
      return report;
    }
    await new Promise((resolve) => setTimeout(resolve, LOOK_MS));
    report = await client.report();
  }
}

function show(report: ClusterReport, flags: NodesFlags): void {
  process.stdout.write(flags.json ? `${JSON.stringify(report, null, 2)}\n` : `${nodesText(report, Date.now())}\n`);
}
