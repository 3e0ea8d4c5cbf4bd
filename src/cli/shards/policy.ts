import type { Command } from 'commander';
import type { KeyspacePolicy } from '../../shard/policy.ts';
import { columns } from '../terminal/text-output.ts';
import { usage } from '../terminal/usage.ts';
import { ShardsClient, type ShardsFlags, withServerFlags } from './shards-client.ts';

/** `keyfleet policy get` and `set`: when the shards of a keyspace are split and merged. */
export function define(command: Command): void {
  command.addHelpText('after', '\nExamples:\n  keyfleet policy\n  keyfleet policy set maxKeysPerShard=100000 minShards=4');
  withServerFlags(command.command('get', { isDefault: true }).description('show the policy')).action(async (flags: ShardsFlags) => {
    show(await new ShardsClient(flags).policy(), flags);
  });
  withServerFlags(command.command('set').description('change some of it').argument('<name=value...>', 'a number, or none for no limit'))
    .addHelpText(
      'after',
      '\nExamples:\n  keyfleet policy set maxKeysPerShard=100000 minShards=4\n  keyfleet policy set maxBytesPerShard=none',
    )
    .action(async (changes: readonly string[], flags: ShardsFlags) => {
      show(await new ShardsClient(flags).setPolicy(Object.fromEntries(changes.map(changeOf))), flags);
    });
}

/** @throws KF_USAGE. */
function changeOf(text: string): readonly [string, number | null] {
  const [, name, value] = /^(\w+)=(\S+)$/.exec(text) ?? [];
  const number = value === 'none' ? null : Number(value);
  if (name === undefined || (number !== null && !Number.isFinite(number))) {
    throw usage(`a change is written name=number or name=none, not ${JSON.stringify(text)}`);
  }
  return [name, number];
}

function show(policy: KeyspacePolicy, flags: ShardsFlags): void {
  const rows = Object.entries(policy).map(([name, value]) => [name, value === null ? 'none' : String(value)]);
  process.stdout.write(flags.json ? `${JSON.stringify(policy, null, 2)}\n` : columns(rows));
}
