import type { Command } from 'commander';
import { showBytes, showCount, showDuration } from '../../base/units.ts';
import { type BackupManifest, readManifest } from '../../node/backup/backup-folder.ts';
import { takeBackup } from '../../node/backup/take-backup.ts';
import { verifyBackup } from '../../node/backup/verify-backup.ts';
import { secondsInMs, wholeNumber } from '../terminal/number-flags.ts';
import { readPackageVersion } from '../terminal/package-version.ts';
import { Progress } from '../terminal/progress.ts';
import { columns } from '../terminal/text-output.ts';
import { BackupClient } from './backup-client.ts';
import { interruptible } from './interruptible.ts';

interface BackupFlags {
  readonly keyspace?: readonly string[];
  readonly url?: string;
  readonly passwordFile?: string;
  readonly concurrency: string;
  readonly retryFor: string;
  readonly fullSpeed?: boolean;
  readonly json?: boolean;
}

/** `keyfleet backup DIR`, `backup verify DIR` and `backup info DIR`. */
export function define(command: Command): void {
  command
    .argument('<directory>', 'the folder to write: empty, or not there yet, or with an interrupted backup')
    .option('--keyspace <name...>', 'only these keyspaces')
    .option('--url <url>', 'the server, or any node of a cluster (http://127.0.0.1:7380)')
    .option('--password-file <file>', "file whose first line is the server's password")
    .option('--concurrency <count>', 'shards that are read at a time', '4')
    .option('--retry-for <seconds>', 'how long to ask again for what cannot be had', '30')
    .option('--full-speed', 'write as fast as the disk takes it; for a disk that no node keeps its data on')
    .option('--json', 'print the manifest as JSON at the end')
    .addHelpText(
      'after',
      `
The server goes on serving. Each shard is written as of one moment, with every key, value, expiry and session, and
all that was answered before the command began. backup.json is written last: a folder without it is no backup yet,
and the same command goes on with it. At most a third of the disk's time is taken, since nodes and NATS servers that
keep their data on the same disk wait for it; --full-speed takes all.

Examples:
  keyfleet backup ./backup-monday
  keyfleet backup /mnt/backups/monday --url http://10.0.0.1:7380 --password-file /etc/keyfleet/password
  keyfleet backup verify ./backup-monday
  keyfleet restore ./backup-monday --url http://127.0.0.1:7380`,
    )
    .action(runBackup);
  command
    .command('verify')
    .description('read all of a backup, and see that it is what was written')
    .argument('<directory>', 'the backup')
    .option('--keyspace <name...>', 'only these keyspaces')
    .action(runVerify);
  command
    .command('info')
    .description('say what a backup holds')
    .argument('<directory>', 'the backup')
    .option('--json', 'print its manifest')
    .action(async (dir: string, { json }: { readonly json?: boolean }) => {
      const manifest = await readManifest(dir);
      process.stdout.write(json ? `${JSON.stringify(manifest, null, 2)}\n` : manifestText(manifest));
    });
}

async function runBackup(dir: string, flags: BackupFlags): Promise<void> {
  const client = new BackupClient(flags);
  const bar: { progress?: Progress } = {};
  const started = Date.now();
  let told = { retries: 0, moved: 0 };
  const { signal, done } = interruptible();
  const manifest = await takeBackup(dir, client, {
    keyspaces: flags.keyspace,
    concurrency: wholeNumber('--concurrency', flags.concurrency),
    retryForMs: secondsInMs('--retry-for', flags.retryFor),
    release: readPackageVersion(),
    fullSpeed: flags.fullSpeed === true,
    signal,
    onProgress: ({ records, expectedRecords, bytes, retries, moved, earlierRecords }) => {
      bar.progress ??= new Progress('backup', expectedRecords, { earlier: earlierRecords });
      bar.progress.update(records, records, showBytes(bytes));
      told = { retries, moved };
    },
  }).finally(() => {
    bar.progress?.stop();
    done();
  });
  if (flags.json) {
    process.stdout.write(`${JSON.stringify(manifest, null, 2)}\n`);
    return;
  }
  process.stdout.write(manifestText(manifest));
  const { retries, moved } = told;
  process.stdout.write(
    `written to ${dir} in ${showDuration(Date.now() - started)}${retries > 0 ? `; ${retries} parts were asked for again` : ''}\n`,
  );
  if (moved > 0) process.stdout.write(`${moved} shards were split meanwhile; what had moved was read where it went\n`);
}

async function runVerify(dir: string, flags: { readonly keyspace?: readonly string[] }): Promise<void> {
  const { keyspaces } = await readManifest(dir);
  const chosen = keyspaces.filter(({ name }) => flags.keyspace?.includes(name) ?? true);
  const progress = new Progress(
    'verify',
    chosen.reduce((sum, { bytes }) => sum + bytes, 0),
    { unit: 'bytes' },
  );
  let bytes = 0;
  const { signal, done } = interruptible();
  const { manifest } = await verifyBackup(dir, {
    keyspaces: flags.keyspace,
    signal,
    onRead: (more) => {
      bytes += more;
      progress.update(bytes, bytes);
    },
  }).finally(() => {
    progress.stop();
    done();
  });
  process.stdout.write(manifestText(manifest));
  process.stdout.write(`whole: ${showBytes(bytes)} read, every file as it was written\n`);
}

/** A manifest as people read it. */
export function manifestText({ cluster, node, startedMs, finishedMs, release, keyspaces, id }: BackupManifest): string {
  const whose = cluster === null ? `a store on one machine (${node})` : `cluster ${cluster}`;
  const rows = keyspaces.map(({ name, module, records, bytes, parts }) => [
    name,
    module,
    showCount(records),
    showBytes(bytes),
    String(parts.length),
    showCount(parts.reduce((sum, { sessions }) => sum + sessions, 0)),
  ]);
  return [
    `backup ${id} of ${whose}, release ${release}`,
    `from ${new Date(startedMs).toISOString()} to ${new Date(finishedMs).toISOString()}`,
    '',
    columns([['keyspace', 'module', 'keys', 'bytes', 'parts', 'sessions'], ...rows]).trimEnd(),
    '',
  ].join('\n');
}
