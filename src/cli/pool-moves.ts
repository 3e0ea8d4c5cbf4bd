import type { Command } from 'commander';
import { KeyfleetError } from '../base/errors.ts';
import { showCount } from '../base/units.ts';
import type { MoveForecast } from '../pool/move-checks.ts';
import type { PlannedMove } from '../pool/move-records.ts';
import type { VerifyReport } from '../pool/move-verify.ts';
import type { WholeForecast } from '../pool/whole-servers.ts';
import { askOwner, OWNER_URL, type OwnerFlags } from './pool-owner-client.ts';
import { followMoves, followWhole, type PoolStatus, printMoves, printStatus, printWhole } from './pool-status.ts';

interface Flags extends OwnerFlags {
  readonly json?: boolean;
  readonly dryRun?: boolean;
  readonly dropStrays?: boolean;
  readonly wait?: boolean;
}

/** `keyfleet pool owner|add|remove|…`: the servers of a pool, while it works. */
export function definePoolMoves(command: Command): void {
  const sub = (usage: string, summary: string): Command =>
    command
      .command(usage)
      .description(summary)
      .option('--url <url>', "the pool's owner", OWNER_URL)
      .option('--password-file <file>', "file whose first line is the owner's password");
  const changing = (usage: string, summary: string): Command =>
    sub(usage, summary)
      .option('--dry-run', 'say what would move, and change nothing')
      .option('--no-wait', 'do not wait for the end')
      .option('--json', 'print JSON');
  const strays = 'remove keys that stand at a target before they belong there';
  command
    .command('owner')
    .description('own a pool: keep its map, move its keys, give its routers their leases')
    .requiredOption('-c, --config <file>', 'the file of pools')
    .option('--pool <name>', 'which pool of the file')
    .option('--dir <dir>', 'where the map and the journal are kept', './pool-state')
    .option('--host <host>', 'where to listen', '127.0.0.1')
    .option('--port <port>', 'where to listen', '22223')
    .option('--lease <ms>', 'how long a router may work on without hearing from the owner', '3000')
    .option('--password-file <file>', 'file whose first line everyone must show; needed off loopback')
    .action(async (flags) => {
      const { runPoolOwner } = await import('./pool-owner.ts');
      process.exitCode = await runPoolOwner(flags);
    });
  changing('add <server>', 'take in a server: host:port, host:port:weight or "host:port:weight name"')
    .option('--drop-strays', strays)
    .action((server: string, flags: Flags) => change(flags, { action: 'add', server }));
  changing('remove <server>', 'move everything off a server and take it out')
    .option('--drop-strays', strays)
    .action((server: string, flags: Flags) => change(flags, { action: 'remove', server }));
  changing('reweight <server> <weight>', 'give a server another weight')
    .option('--drop-strays', strays)
    .action((server: string, weight: string, flags: Flags) => change(flags, { action: 'reweight', server, weight: weightOf(weight) }));
  changing('move <server> <address>', 'move a whole server to another address, by replication').action(
    (server: string, address: string, flags: Flags) => whole(flags, 'move', { server, address }),
  );
  changing('split <server> <addresses...>', 'share the slots of a server with new ones, by replication').action(
    (server: string, addresses: string[], flags: Flags) => whole(flags, 'split', { server, addresses }),
  );
  sub('plan <action> <server> [weight]', 'say what add, remove or reweight would move')
    .option('--json', 'print JSON')
    .action((action: string, server: string, weight: string | undefined, flags: Flags) =>
      change({ ...flags, dryRun: true }, { action, server, ...(weight === undefined ? {} : { weight: weightOf(weight) }) }),
    );
  sub('status', 'show the servers, the moves and the routers').option('--json', 'print JSON').action(status);
  for (const [name, summary, done] of [
    ['pause', 'pause the moves', 'paused'],
    ['resume', 'go on with the moves', 'going on'],
    ['cancel', 'the move under way goes back; what has moved stays', 'cancelling; `keyfleet pool status` shows how far it is'],
  ] as const)
    sub(name, summary).action(async (flags: Flags) => {
      await askOwner(flags, `moves/${name}`, {});
      process.stdout.write(`${done}\n`);
    });
  sub('verify', 'look whether every key is on its own server, and on no other').option('--json', 'print JSON').action(verify);
}

function weightOf(text: string): number {
  if (!/^\d{1,9}$/.test(text) || Number(text) < 1) throw new KeyfleetError('KF_USAGE', `a weight is a whole number from 1, not ${text}`);
  return Number(text);
}

function printJson(value: unknown): void {
  process.stdout.write(`${JSON.stringify(value, null, 2)}\n`);
}

async function change(flags: Flags, asked: object): Promise<void> {
  const { moves } = await askOwner<{ moves: (PlannedMove & Partial<MoveForecast>)[] }>(flags, 'change', {
    ...asked,
    dryRun: flags.dryRun === true,
    dropStrays: flags.dropStrays === true,
  });
  if (flags.json) printJson(moves);
  else printMoves(moves);
  if (flags.dryRun || flags.json || flags.wait === false) return;
  await followMoves(flags);
}

async function whole(flags: Flags, what: 'move' | 'split', asked: object): Promise<void> {
  const forecast = await askOwner<WholeForecast>(flags, `servers/${what}`, { ...asked, dryRun: flags.dryRun === true });
  if (flags.json) printJson(forecast);
  else printWhole(forecast);
  if (flags.dryRun || flags.json || flags.wait === false) return;
  await followWhole(flags);
}

async function status(flags: Flags): Promise<void> {
  const now = await askOwner<PoolStatus>(flags, 'status');
  if (flags.json) printJson(now);
  else printStatus(now);
}

async function verify(flags: Flags): Promise<void> {
  const report = await askOwner<VerifyReport>(flags, 'verify', {});
  if (flags.json) printJson(report);
  else if (report.misplacedCount === 0) process.stdout.write(`${showCount(report.keys)} keys, each on its own server and on no other\n`);
  else {
    for (const { key, on, belongsTo, alsoThere } of report.misplaced)
      process.stdout.write(`${key} is on ${on} and belongs to ${belongsTo}${alsoThere ? ', which has it too' : ''}\n`);
    process.stdout.write(`${showCount(report.misplacedCount)} key(s) on a wrong server, ${showCount(report.twiceCount)} of them twice\n`);
  }
  if (report.misplacedCount > 0) process.exitCode = 1;
}
