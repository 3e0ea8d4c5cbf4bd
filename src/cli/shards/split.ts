import type { Command } from 'commander';
import { usage } from '../terminal/usage.ts';
import { shardsText } from './shards.ts';
import { ShardsClient, type ShardsFlags, shardNumber, withServerFlags } from './shards-client.ts';

/** `keyfleet split`: cuts a shard in two. */
export function define(command: Command): void {
  withServerFlags(command.argument('<shard>', 'its number, as keyfleet shards shows it'))
    .option('--at <position>', 'the first position of the new shard, in hex, of a slot (default: half of what it holds)')
    .addHelpText('after', '\nMoves no data; clients notice nothing.\n\nExamples:\n  keyfleet split 3\n  keyfleet split 3 --at 70000000')
    .action(async (text: string, flags: ShardsFlags & { readonly at?: string }) => {
      const { at } = flags;
      if (at !== undefined && !/^(0x)?[0-9a-f]{1,8}$/i.test(at)) throw usage(`--at: up to eight hex digits, not ${JSON.stringify(at)}`);
      const client = new ShardsClient(flags);
      const done = await client.split(shardNumber(text), at === undefined ? undefined : Number.parseInt(at, 16));
      const report = await client.report();
      process.stdout.write(flags.json ? `${JSON.stringify({ ...done, ...report }, null, 2)}\n` : shardsText(report));
    });
}
