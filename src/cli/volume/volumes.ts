import type { Command } from 'commander';
import { type ErrorCode, KeyfleetError, messageOf } from '../../base/errors.ts';
import { showBytes, showCount } from '../../base/units.ts';
import type { MasterStatus } from '../../volume/master-admin.ts';
import type { MoveForecast } from '../../volume/move-forecast.ts';
import { askPatiently } from '../client/patience.ts';
import { readPassword } from '../client/server-client.ts';
import { MASTER_URL } from '../records/tree-transfer.ts';
import { forecastText, showMoves } from './move-report.ts';

interface Flags {
  readonly url: string;
  readonly passwordFile?: string;
  readonly json?: boolean;
  readonly dryRun?: boolean;
  readonly lost?: boolean;
  readonly repair?: boolean;
  readonly wait?: boolean;
}

/** `keyfleet volumes …`: the volumes of a running master. */
export function define(command: Command): void {
  const sub = (usage: string, summary: string): Command =>
    command
      .command(usage)
      .description(summary)
      .option('--url <url>', 'the master', MASTER_URL)
      .option('--password-file <file>', "file whose first line is the master's password");
  const changing = (usage: string, summary: string): Command =>
    sub(usage, summary).option('--dry-run', 'say what would move, and change nothing').option('--no-wait', 'do not wait for the moves');
  sub('list', 'show the volumes, their keys and bytes').option('--json', 'print JSON').action(list);
  sub('status', 'show how far the moves are, until they end').option('--json', 'print JSON and do not wait').action(status);
  changing('add <address>', 'take in a new volume (or a drained one back), and give it its share').action((volume: string, flags: Flags) =>
    change('add', volume, flags),
  );
  changing('drain <volume>', 'move everything off a volume and keep it in the list').action((volume: string, flags: Flags) =>
    change('drain', volume, flags),
  );
  changing('remove <volume>', 'move everything off a volume and take it out of the list')
    .option('--lost', 'its values are gone for good: make them anew from replicas where there are some')
    .action((volume: string, flags: Flags) => change('remove', volume, flags));
  for (const [name, action, summary] of [
    ['pause', 'pause', 'pause the moves'],
    ['resume', 'start', 'go on with the moves'],
    ['cancel', 'cancel', 'end the moves; what has moved stays, everything stays readable'],
  ] as const) {
    sub(name, summary).action(async (flags: Flags) => {
      await ask(flags, `moves/${action}`, {});
    });
  }
  sub('verify', 'read every value of every volume against its checksum and the metakeys')
    .option('--repair', 'mend what can be mended')
    .action(verify);
  command.addHelpText(
    'after',
    '\nExamples:\n  keyfleet volumes list\n  keyfleet volumes add http://127.0.0.1:3004\n  keyfleet volumes remove 2 --dry-run',
  );
}

async function list(flags: Flags): Promise<void> {
  const report = await ask(flags, 'status');
  if (flags.json) return print(`${JSON.stringify(report, null, 2)}\n`);
  const most = Math.max(1, ...report.volumes.map(({ keyCount }) => keyCount));
  const rows = report.volumes.map(({ number, address, state, keyCount, sizeBytes, freeBytes }) =>
    [
      String(number).padStart(3),
      address.padEnd(28),
      state.padEnd(9),
      `${showCount(keyCount)} keys`.padStart(15),
      showBytes(sizeBytes).padStart(10),
      (freeBytes === undefined ? 'AWAY' : `${showBytes(freeBytes)} free`).padStart(16),
      '#'.repeat(Math.round((keyCount / most) * 24)),
    ].join('  '),
  );
  const copies = report.replicas === 1 ? 'one copy' : `${report.replicas} copies`;
  print(
    `${showCount(report.keyCount)} keys, ${copies} of each; moves: ${report.moves.state}\n${rows.map((row) => row.trimEnd()).join('\n')}\n`,
  );
}

async function status(flags: Flags): Promise<void> {
  const { moves } = await ask(flags, 'status');
  if (flags.json) return print(`${JSON.stringify(moves, null, 2)}\n`);
  if (moves.state !== 'moving' && moves.state !== 'waiting') return print(`nothing moves: ${moves.state}\n`);
  await followMoves(flags);
}

/** Until they end; a master that is started again meanwhile goes on with them. */
async function followMoves(flags: Flags): Promise<void> {
  await showMoves(async () => (await askPatiently(() => ask(flags, 'status'))).moves);
}

async function change(action: 'add' | 'drain' | 'remove', volume: string, flags: Flags): Promise<void> {
  if (flags.dryRun) {
    const query = action === 'add' ? 'add=1' : `leave=${encodeURIComponent(volume)}`;
    const { moves } = await ask<{ moves: MoveForecast[] }>(flags, `forecast?${query}`);
    return print(forecastText(moves, (await ask(flags, 'status')).volumes));
  }
  await ask(flags, `volumes/${action}`, { volume, lost: flags.lost === true });
  if (flags.wait === false) return;
  await followMoves(flags);
  await list(flags);
}

interface VerifyLine {
  readonly kind: string;
  readonly files?: number;
  readonly volume?: string;
  readonly name?: string;
  readonly message?: string;
  readonly key64?: string;
}

async function verify(flags: Flags): Promise<void> {
  const response = await request(flags, `verify${flags.repair ? '?repair=1' : ''}`, {});
  let rest = '';
  let findings = 0;
  let ended = false;
  const decoder = new TextDecoder();
  for await (const piece of response.body!) {
    const lines = (rest + decoder.decode(piece as Uint8Array, { stream: true })).split('\n');
    rest = lines.pop() ?? '';
    for (const line of lines) {
      if (line === '') continue;
      const event = JSON.parse(line) as VerifyLine;
      if (event.kind === 'end') ended = true;
      else if (event.kind === 'progress') process.stderr.write(`${showCount(event.files ?? 0)} files read\n`);
      else {
        findings++;
        print(findingText(event));
      }
    }
  }
  if (!ended) throw new KeyfleetError('KF_UNREACHABLE', 'the master ended its answer early; verify again');
  print(
    findings === 0
      ? 'every value is where it belongs and undamaged\n'
      : `${showCount(findings)} finding(s)${flags.repair ? '; mended where there was another copy' : ''}\n`,
  );
  if (findings > 0) process.exitCode = 1;
}

function findingText({ kind, volume, name, message, key64 }: VerifyLine): string {
  const what = key64 === undefined ? (name ?? '') : JSON.stringify(Buffer.from(key64, 'base64').toString('utf8'));
  return `${`${kind} on ${volume}: ${what} ${message ?? ''}`.trimEnd()}\n`;
}

async function ask<T = MasterStatus>(flags: Flags, path: string, body?: object): Promise<T> {
  return (await (await request(flags, path, body)).json()) as T;
}

async function request(flags: Flags, path: string, body?: object): Promise<Response> {
  const headers: Record<string, string> =
    flags.passwordFile === undefined ? {} : { authorization: `Bearer ${readPassword(flags.passwordFile)}` };
  let response: Response;
  try {
    response = await fetch(
      new URL(`/admin/${path}`, flags.url),
      body === undefined ? { headers } : { method: 'POST', headers, body: JSON.stringify(body) },
    );
  } catch (error) {
    throw new KeyfleetError('KF_UNREACHABLE', `no master answers at ${flags.url}: ${messageOf((error as Error).cause ?? error)}`, {
      cause: error,
    });
  }
  if (response.ok) return response;
  const unclear = { error: { code: 'KF_UNREACHABLE' as ErrorCode, message: `${flags.url} answered ${response.status}; is it a master?` } };
  const { error } = ((await response.json().catch(() => undefined)) ?? unclear) as { error: { code: ErrorCode; message: string } };
  throw new KeyfleetError(error.code, error.message);
}

function print(text: string): void {
  process.stdout.write(text);
}
