import { resolve } from 'node:path';
import type { Command } from 'commander';
import { usage } from '../terminal/usage.ts';
import { askControl, type UpActions } from './up-control.ts';
import { readPlan } from './up-plan.ts';
import type { UpFlags } from './up-run.ts';

const DIR = './keyfleet-cluster';

export function define(command: Command): void {
  command
    .argument('[serve-args...]', 'behind --: for every `keyfleet serve`')
    .option('--nodes <count>', 'nodes to run (3, or those that the directory has)')
    .option('--dir <dir>', 'where everything lies: data, logs, up.json', DIR)
    .option('--nats-servers <count>', 'nats-servers to run: 1, 3 or 5 (3)')
    .option('--replication <count>', 'nodes that hold each shard (3)')
    .option('--base-port <port>', 'the nodes listen behind it for the Redis protocol, HTTP 100 further (7400); 0: any free ports')
    .option('--cluster <name>', 'what the cluster is called (dev)')
    .option('--nats-server <file>', 'the nats-server to run; else KEYFLEET_NATS_SERVER, or the one on the path')
    .option('--restart', 'start again what ends without being asked to, and say so')
    .option('-v, --verbose', 'show the logs of all, each line with the name before it')
    .addHelpText(
      'after',
      `
For development: everything runs on this machine. Ctrl-C ends all; the next start in the same directory finds the data.

Examples:
  keyfleet up
  keyfleet up --nodes 5 --dir ./big -- --shards 32
  keyfleet up start node-2      # what was killed`,
    )
    .action(async (serveArgs: readonly string[], flags: UpFlags) => {
      const [first] = serveArgs;
      if (first !== undefined && !first.startsWith('-'))
        throw usage(`there is no \`keyfleet up ${first}\`; flags for serve stand behind --`);
      const { runUp } = await import('./up-run.ts');
      process.exitCode = await runUp(flags, serveArgs);
    });
  action(command, 'list', 'show what runs where, of the `keyfleet up` of this directory');
  action(command, 'start', 'start again what has ended or was stopped', '<name>');
  action(command, 'stop', 'end one of them gracefully, until it is started again', '<name>');
  action(command, 'add', 'start one node more');
  action(command, 'remove', 'end a node and start it no more; its directory stays. Drain it first: keyfleet node drain', '<name>');
}

function action(up: Command, name: keyof UpActions, description: string, argument?: string): void {
  const command = up.command(name).description(description).option('--dir <dir>', 'the directory of `keyfleet up`', DIR);
  if (argument !== undefined) command.argument(argument);
  command.action(async (...args: readonly unknown[]) => {
    const [wanted, flags] = (argument === undefined ? ['', args[0]] : args) as [string, { readonly dir: string }];
    const plan = readPlan(resolve(flags.dir));
    if (plan === undefined) throw usage(`--dir: ${resolve(flags.dir)} is not the directory of a \`keyfleet up\``);
    process.stdout.write(`${await askControl(plan, name, wanted)}\n`);
  });
}
