import type { Command } from 'commander';
import type { NatsConfigFlags } from './nats-config.ts';

export function define(command: Command): void {
  command.addHelpText(
    'after',
    '\nExamples:\n  keyfleet nats config --server a=10.0.0.1@rack-1 b=10.0.0.2@rack-2 c=10.0.0.3@rack-3 --out ./nats',
  );
  command
    .command('config')
    .description('write good configuration files for the nats-servers of a cluster')
    .option(
      '--server <name=host...>',
      'each server, also NAME=HOST:PORT, @ZONE behind either; ports 4222, and 2000 and 4000 above (nats-1=127.0.0.1)',
    )
    .option('--out <dir>', 'where to write NAME.conf of each server, and their password', './nats')
    .option('--cluster <name>', 'what the nats-servers call their cluster', 'keyfleet')
    .option('--store <dir>', 'where each server keeps its streams, on its machine', '/var/lib/nats')
    .option('--password-file <file>', 'file whose first line is the password; else one is made up and written to password in --out')
    .option('--no-auth', 'let everyone in who can reach the servers')
    .option('--max-payload <size>', 'the longest message, and with it the largest value (1M)')
    .option('--max-store <size>', 'the most that each server may store, such as 200G (three quarters of what its disk has free)')
    .option('--nats-server <file>', 'the nats-server that checks the files, and whose version they are for')
    .option('--for-version <version>', 'the version of the servers, when they are others than the one on this machine')
    .option('--force', 'write over files that have been changed')
    .addHelpText(
      'after',
      `
Examples:
  keyfleet nats config
  keyfleet nats config --server a=10.0.0.1@rack-1 b=10.0.0.2@rack-2 c=10.0.0.3@rack-3 --out ./nats`,
    )
    .allowExcessArguments(false)
    .action(async (flags: NatsConfigFlags) => {
      const { writeNatsConfig } = await import('./nats-config.ts');
      process.stdout.write(await writeNatsConfig(flags));
    });
}
