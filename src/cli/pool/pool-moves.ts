import type { Command } from 'commander';
import { KeyfleetError } from '../../base/errors.ts';
import { askedByFile } from '../../pool/moves/asked-change.ts';
import type { ChangeAnswer } from '../../pool/moves/move-admin.ts';
import type { AskedLimits } from '../../pool/moves/move-limits.ts';
import type { WholeForecast } from '../../pool/moves/whole-servers.ts';
import { readOnePool } from './pool-file.ts';
import { askOwner, OWNER_URL, type OwnerFlags } from './pool-owner-client.ts';
import { followMoves, followWhole, type PoolStatus, printLimits, printMoves, printStatus, printWhole } from './pool-status.ts';
import { followVerify } from './pool-verify.ts';

interface Flags extends OwnerFlags {
  readonly json?: boolean;
  readonly dryRun?: boolean;
  readonly dropStrays?: boolean;
  readonly wait?: boolean;
}

interface LimitFlags extends Flags {
  readonly rate?: string;
  readonly p99?: string;
  readonly largest?: string;
  readonly check?: string;
}

interface VerifyFlags extends Flags {
  readonly sample?: string;
  readonly server?: string;
  readonly against?: string;
}

const VERIFY_LOOK_MS = 500;

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
  changing('add <server> [name]', 'take in a server: host:port or host:port:weight, and what it is called')
    .option('--drop-strays', strays)
    .action((server: string, name: string | undefined, flags: Flags) => change(flags, { action: 'add', server: named(server, name) }));
  changing('remove <server>', 'move everything off a server and take it out')
    .option('--drop-strays', strays)
    .action((server: string, flags: Flags) => change(flags, { action: 'remove', server }));
  changing('reweight <server> <weight>', 'give a server another weight')
    .option('--drop-strays', strays)
    .action((server: string, weight: string, flags: Flags) => change(flags, { action: 'reweight', server, weight: weightOf(weight) }));
  changing('apply <file>', 'make the servers of a pool, or its ranges, those of a file of pools')
    .option('--pool <name>', 'which pool of the file')
    .option('--drop-strays', strays)
    .action(async (file: string, flags: Flags & { readonly pool?: string }) => change(flags, askedByFile(readOnePool(file, flags.pool))));
  changing('move <server> <address>', 'move a whole server to another address, by replication').action(
    (server: string, address: string, flags: Flags) => whole(flags, 'move', { server, address }),
  );
  changing('split <server> <addresses...>', 'share the slots of a server with new ones, by replication').action(
    (server: string, addresses: string[], flags: Flags) => whole(flags, 'split', { server, addresses }),
  );
  sub('plan <action> <server> [more]', 'say what add, remove or reweight would move; more: a name to add by, or a weight')
    .option('--json', 'print JSON')
    .action((action: string, server: string, more: string | undefined, flags: Flags) =>
      change(
        { ...flags, dryRun: true },
        { action, ...(action === 'add' ? { server: named(server, more) } : { server, ...weighed(more) }) },
      ),
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
  sub('limits', 'show or set how fast keys may move; also while they do')
    .option('--rate <size>', 'bytes a second, such as 20MB; none: as fast as it goes')
    .option('--p99 <ms>', 'slow down while routers measure more than this; none: do not look')
    .option('--largest <size>', 'values above it stop the moves')
    .option('--check <share>', 'share of keys, 0 to 1, compared with the source before they leave it')
    .option('--json', 'print JSON')
    .action(limits);
  sub('verify', 'look whether every key is on its own server, and on no other')
    .option('--sample <count>', 'look at so many keys of each server, by chance, instead of all')
    .option('--server <name>', 'with --against: the server to compare')
    .option('--against <address>', 'compare types, values and times to live with a copy of the server there')
    .option('--json', 'print JSON')
    .action(verify);
}

/** A server as a file has it, its name behind it. */
function named(server: string, name: string | undefined): string {
  return name === undefined ? server : `${server} ${name}`;
}

function weighed(weight: string | undefined): { readonly weight?: number } {
  return weight === undefined ? {} : { weight: weightOf(weight) };
}

function weightOf(text: string): number {
  if (!/^\d{1,9}$/.test(text) || Number(text) < 1) throw new KeyfleetError('KF_USAGE', `a weight is a whole number from 1, not ${text}`);
  return Number(text);
}

function printJson(value: unknown): void {
  process.stdout.write(`${JSON.stringify(value, null, 2)}\n`);
}

async function change(flags: Flags, asked: object): Promise<void> {
  const { moves, isThere } = await askOwner<ChangeAnswer>(flags, 'change', {
    ...asked,
    dryRun: flags.dryRun === true,
    dropStrays: flags.dropStrays === true,
  });
  if (flags.json) printJson(moves);
  else if (isThere) process.stdout.write(`the pool has these servers already${moves.length > 0 ? ', or is on its way there' : ''}\n`);
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

async function limits(flags: LimitFlags): Promise<void> {
  const none = (text: string): boolean => text === 'none';
  const now = await askOwner<AskedLimits>(flags, 'limits', {
    ...(flags.rate === undefined ? {} : { bytesPerSecond: none(flags.rate) ? null : bytesOf(flags.rate) }),
    ...(flags.p99 === undefined ? {} : { foregroundP99Ms: none(flags.p99) ? null : numberOf('--p99', flags.p99) }),
    ...(flags.largest === undefined ? {} : { mostBytes: bytesOf(flags.largest) }),
    ...(flags.check === undefined ? {} : { checkShare: numberOf('--check', flags.check) }),
  });
  if (flags.json) printJson(now);
  else printLimits(now);
}

async function verify(flags: VerifyFlags): Promise<void> {
  if ((flags.server === undefined) !== (flags.against === undefined))
    throw new KeyfleetError('KF_USAGE', '--server and --against go together: which server, and where its copy is');
  const asked = {
    waitMs: VERIFY_LOOK_MS,
    ...(flags.sample === undefined ? {} : { sample: numberOf('--sample', flags.sample) }),
    ...(flags.server === undefined ? {} : { server: flags.server, address: flags.against }),
  };
  if (!(await followVerify(flags, asked, flags.json === true))) process.exitCode = 1;
}

function numberOf(flag: string, text: string): number {
  if (!/^\d+(\.\d+)?$/.test(text)) throw new KeyfleetError('KF_USAGE', `${flag}: ${text} is no number`);
  return Number(text);
}

/** `20MB`, `512k`, `1048576`: in steps of 1,024. @throws KF_USAGE. */
function bytesOf(text: string): number {
  const match = /^(\d+(?:\.\d+)?)\s*([kmg]?)(?:i?b)?$/i.exec(text);
  if (!match) throw new KeyfleetError('KF_USAGE', `a size is a number with k, M or G behind it, such as 20MB, not ${text}`);
  return Number(match[1]) * 1_024 ** ['', 'k', 'm', 'g'].indexOf(match[2]!.toLowerCase());
}
