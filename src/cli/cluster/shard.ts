import type { Command } from 'commander';
import { shardNumber } from '../shards/shards-client.ts';
import { usage } from '../terminal/usage.ts';
import { nodesText } from './nodes.ts';
import { NodesClient, type NodesFlags, withNodesFlags } from './nodes-client.ts';

/** `keyfleet shard recover`: one shard of a cluster, whose log is lost. */
export function define(command: Command): void {
  command.addHelpText('after', '\nExample:\n  keyfleet shard recover 7 --accept-loss');
  withNodesFlags(command.command('recover').description('have a shard go on whose log is lost, without the nodes that it waits for'))
    .argument('<shard>', 'its number, as keyfleet nodes and doctor say it; 0: the meta shard')
    .option('--accept-loss', 'what was acknowledged, and only those nodes have, is given up for good')
    .action(async (shard: string, flags: NodesFlags & { readonly acceptLoss?: boolean }) => {
      const number = shardNumber(shard);
      if (!flags.acceptLoss) {
        throw usage('a shard recovers by itself once the nodes that it waits for are back; --accept-loss gives up what only they have');
      }
      const report = await new NodesClient(flags).acceptLoss(number);
      process.stdout.write(flags.json ? `${JSON.stringify(report, null, 2)}\n` : `${nodesText(report, Date.now())}\n`);
    });
}
