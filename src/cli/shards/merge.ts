import type { Command } from 'commander';
import { shardsText } from './shards.ts';
import { ShardsClient, type ShardsFlags, shardNumber, withServerFlags } from './shards-client.ts';

/** `keyfleet merge`: has a shard take over its right neighbour. */
export function define(command: Command): void {
  withServerFlags(command.argument('<shard>', 'the left one of the two, as keyfleet shards shows it'))
    .addHelpText('after', '\nIts right neighbour ceases to be. Moves no data; clients notice nothing.\n\nExample:\n  keyfleet merge 3')
    .action(async (text: string, flags: ShardsFlags) => {
      const client = new ShardsClient(flags);
      const done = await client.merge(shardNumber(text));
      const report = await client.report();
      process.stdout.write(flags.json ? `${JSON.stringify({ ...done, ...report }, null, 2)}\n` : shardsText(report));
    });
}
