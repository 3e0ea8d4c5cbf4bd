import type { Command } from 'commander';
import { type ErrorCode, KeyfleetError, messageOf } from '../base/errors.ts';
import { showBytes, showCount, showDuration } from '../base/units.ts';
import type { MoveForecast } from '../pool/move-checks.ts';
import type { PlannedMove } from '../pool/move-records.ts';
import type { MoveStatus } from '../pool/move-status.ts';
import type { VerifyReport } from '../pool/move-verify.ts';
import { Progress } from './progress.ts';
import { readPassword } from './server-client.ts';

interface Flags {
  readonly url: string;
  readonly passwordFile?: string;
  readonly json?: boolean;
  readonly dryRun?: boolean;
  readonly dropStrays?: boolean;
  readonly wait?: boolean;
}

interface PoolStatus extends MoveStatus {
  readonly pool: string;
  readonly slotCount: number;
  readonly servers: readonly { readonly name: string; readonly address: string; readonly weight: number; readonly slots: number }[];
  readonly routers: readonly { readonly id: string; readonly epoch: number }[];
}

const OWNER_URL = 'http://127.0.0.1:22223';

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
      .option('--drop-strays', 'remove keys that stand at a target before they belong there')
      .option('--no-wait', 'do not wait for the moves');
  command
    .command('owner')
    .description('own a pool: keep its map, move its keys, give its routers their leases')
    .requiredOption('--config <file>', 'the file of pools')
    .option('--pool <name>', 'which pool of the file')
    .option('--dir <dir>', 'where the map and the journal are kept', './pool-state')
    .option('--host <host>', 'where to listen', '127.0.0.1')
    .option('--port <port>', 'where to listen', '22223')
    .option('--password-file <file>', 'file whose first line everyone must show; needed off loopback')
    .action(async (flags) => {
      const { runPoolOwner } = await import('./pool-owner.ts');
      process.exitCode = await runPoolOwner(flags);
    });
  changing('add <server>', 'take in a server: host:port, host:port:weight').action((server: string, flags: Flags) =>
    change(flags, { action: 'add', server }),
  );
  changing('remove <server>', 'move everything off a server and take it out').action((server: string, flags: Flags) =>
    change(flags, { action: 'remove', server }),
  );
  changing('reweight <server> <weight>', 'give a server another weight').action((server: string, weight: string, flags: Flags) =>
    change(flags, { action: 'reweight', server, weight: Number(weight) }),
  );
  sub('plan <action> <server> [weight]', 'say what add, remove or reweight would move')
    .option('--json', 'print JSON')
    .action((action: string, server: string, weight: string | undefined, flags: Flags) =>
      change({ ...flags, dryRun: true }, { action, server, ...(weight === undefined ? {} : { weight: Number(weight) }) }),
    );
  sub('status', 'show the servers, the moves and the routers').option('--json', 'print JSON').action(status);
  for (const [name, summary] of [
    ['pause', 'pause the moves'],
    ['resume', 'go on with the moves'],
    ['cancel', 'the move under way goes back; what has moved stays'],
  ] as const)
    sub(name, summary).action(async (flags: Flags) => {
      await ask(flags, `moves/${name}`, {});
    });
  sub('verify', 'look whether every key is on its own server, and on no other').option('--json', 'print JSON').action(verify);
  sub('move <server> <address>', 'move a whole server to another address, by replication').action(
    async (server: string, address: string, flags: Flags) => {
      const { pauseMs } = await ask<{ pauseMs: number }>(flags, 'clone', { server, address });
      process.stdout.write(`${server} is at ${address} now; operations were held for ${showDuration(pauseMs)}\n`);
    },
  );
}

async function change(flags: Flags, asked: object): Promise<void> {
  const { moves } = await ask<{ moves: (PlannedMove & Partial<MoveForecast>)[] }>(flags, 'change', {
    ...asked,
    dryRun: flags.dryRun === true,
    dropStrays: flags.dropStrays === true,
  });
  if (flags.json) return void process.stdout.write(`${JSON.stringify(moves, null, 2)}\n`);
  for (const { from, to, slotCount, keys, bytes, byType, problems } of moves) {
    const about =
      keys === undefined ? '' : `, about ${showCount(keys)} keys and ${showBytes(bytes ?? 0)}${byType ? ', copied by type' : ''}`;
    process.stdout.write(`${from} to ${to}: ${showCount(slotCount)} slots${about}\n`);
    for (const problem of problems ?? []) process.stdout.write(`  in the way: ${problem}\n`);
  }
  if (flags.dryRun || flags.wait === false) return;
  await follow(flags);
}

async function follow(flags: Flags): Promise<void> {
  let now = await ask<PoolStatus>(flags, 'status');
  const progress = new Progress('moving', now.slotsTotal);
  try {
    for (; now.state !== 'idle'; now = await ask<PoolStatus>(flags, 'status')) {
      if (now.state === 'stopped') throw new KeyfleetError('KF_POOL_PLAN', `the moves stand still: ${now.trouble}`);
      const walked = now.keysExpected === 0 ? 0 : Math.min(1, now.keysMoved / now.keysExpected);
      progress.update(now.slotsDone + Math.floor((now.slotsTotal - now.slotsDone) * walked * 0.99), now.keysMoved);
      await new Promise((resolve) => setTimeout(resolve, 250));
    }
  } finally {
    progress.stop();
  }
  await status({ ...flags, json: false });
}

async function status(flags: Flags): Promise<void> {
  const now = await ask<PoolStatus>(flags, 'status');
  if (flags.json) return void process.stdout.write(`${JSON.stringify(now, null, 2)}\n`);
  const lines = now.servers.map(
    ({ name, address, weight, slots }) =>
      `  ${name.padEnd(24)} ${address.padEnd(24)} weight ${weight}  ${showCount(slots)} slots (${((100 * slots) / now.slotCount).toFixed(1)} %)`,
  );
  process.stdout.write(`${now.pool}, epoch ${now.epoch}, ${now.routers.length} router(s), moves: ${now.state}\n${lines.join('\n')}\n`);
  if (now.state === 'idle') return;
  const left = now.secondsLeft === undefined ? '' : `, ${showDuration(now.secondsLeft * 1_000)} left`;
  const p99 = now.foregroundP99Ms === undefined ? '' : `, foreground p99 ${now.foregroundP99Ms.toFixed(1)} ms`;
  process.stdout.write(
    `${now.title}: ${showCount(now.slotsDone)} of ${showCount(now.slotsTotal)} slots, ${showCount(now.keysMoved)} keys, ${showCount(now.keysPerSecond)} keys/s, ${showBytes(now.bytesPerSecond)}/s${left}${p99}\n`,
  );
  if (now.trouble) process.stdout.write(`  ${now.trouble}\n`);
}

async function verify(flags: Flags): Promise<void> {
  const report = await ask<VerifyReport>(flags, 'verify', {});
  if (flags.json) process.stdout.write(`${JSON.stringify(report, null, 2)}\n`);
  else if (report.misplacedCount === 0) process.stdout.write(`${showCount(report.keys)} keys, each on its own server and on no other\n`);
  else {
    for (const { key, on, belongsTo, alsoThere } of report.misplaced)
      process.stdout.write(`${key} is on ${on} and belongs to ${belongsTo}${alsoThere ? ', which has it too' : ''}\n`);
    process.stdout.write(`${showCount(report.misplacedCount)} key(s) on a wrong server, ${showCount(report.twiceCount)} of them twice\n`);
  }
  if (report.misplacedCount > 0) process.exitCode = 1;
}

async function ask<T = object>(flags: Flags, path: string, body?: object): Promise<T> {
  const headers: Record<string, string> =
    flags.passwordFile === undefined ? {} : { authorization: `Bearer ${readPassword(flags.passwordFile)}` };
  let answer: T & { readonly error?: { readonly code: ErrorCode; readonly message: string } };
  try {
    const response = await fetch(
      new URL(`/v1/${path}`, flags.url),
      body === undefined ? { headers } : { method: 'POST', headers, body: JSON.stringify(body) },
    );
    answer = (await response.json()) as typeof answer;
  } catch (error) {
    throw new KeyfleetError(
      'KF_UNREACHABLE',
      `no owner of a pool answers at ${flags.url}: ${messageOf((error as Error).cause ?? error)}; is \`keyfleet pool owner\` running?`,
    );
  }
  if (answer.error) throw new KeyfleetError(answer.error.code, answer.error.message);
  return answer;
}
