import type { Command } from 'commander';
import { showBytes, showCount, showDuration } from '../../base/units.ts';
import { type RestoreProgress, restoreBackup } from '../../node/backup/restore-backup.ts';
import { secondsInMs, wholeNumber } from '../terminal/number-flags.ts';
import { Progress } from '../terminal/progress.ts';
import { usage } from '../terminal/usage.ts';
import { BackupClient } from './backup-client.ts';
import { interruptible } from './interruptible.ts';

interface RestoreFlags {
  readonly keyspace?: readonly string[];
  readonly as?: string;
  readonly shards?: string;
  readonly url?: string;
  readonly passwordFile?: string;
  readonly concurrency: string;
  readonly retryFor: string;
  readonly restart?: boolean;
}

/** `keyfleet restore DIR`. */
export function define(command: Command): void {
  command
    .argument('<directory>', 'the backup')
    .option('--keyspace <name...>', 'only these keyspaces')
    .option('--as <name>', 'another name for it, with one --keyspace')
    .option('--shards <count>', 'shards of a keyspace that is made; as many as the backup has parts when absent')
    .option('--url <url>', 'the server, or any node of a cluster (http://127.0.0.1:7380)')
    .option('--password-file <file>', "file whose first line is the server's password")
    .option('--concurrency <count>', 'parts that are read at a time', '4')
    .option('--retry-for <seconds>', 'how long to try again what is not taken', '30')
    .option('--restart', 'give up what an earlier restore into the keyspace has left')
    .addHelpText(
      'after',
      `
All of the backup is read and found whole before anything is written. A keyspace must be empty, or not be there: it is
made then. Until all is there it answers nobody (KF_KEYSPACE_LOADING). When a restore dies on the way, the same command
goes on with it; FLUSHALL gives it up.

Examples:
  keyfleet restore ./backup-monday
  keyfleet restore ./backup-monday --keyspace default --as monday --shards 16 --url http://10.0.0.1:7380`,
    )
    .action(runRestore);
}

async function runRestore(dir: string, flags: RestoreFlags): Promise<void> {
  if (flags.as !== undefined && flags.keyspace?.length !== 1) throw usage('--as names the one keyspace of --keyspace anew: give both');
  const client = new BackupClient(flags);
  const bars: { phase?: RestoreProgress['phase']; progress?: Progress } = {};
  const started = Date.now();
  const { signal, done } = interruptible();
  const restored = await restoreBackup(dir, client, {
    keyspaces: flags.keyspace,
    as: flags.as,
    shards: wholeNumber('--shards', flags.shards),
    concurrency: wholeNumber('--concurrency', flags.concurrency),
    retryForMs: secondsInMs('--retry-for', flags.retryFor),
    restart: flags.restart === true,
    signal,
    onProgress: ({ phase, bytes, expectedBytes, records, retries }) => {
      if (bars.phase !== phase) {
        bars.progress?.stop();
        bars.progress =
          phase === 'verifying' ? new Progress('verify', expectedBytes, { unit: 'bytes' }) : new Progress('restore', expectedBytes);
        bars.phase = phase;
      }
      bars.progress?.update(bytes, phase === 'verifying' ? bytes : records, retries > 0 ? `${retries} retries` : showBytes(bytes));
    },
  }).finally(() => {
    bars.progress?.stop();
    done();
  });
  for (const { name, from, records, keyCount, goesOn } of restored) {
    const gone = records - keyCount;
    const expired = gone > 0 ? `; ${showCount(gone)} had expired` : '';
    const again = goesOn ? ', going on with an interrupted restore' : '';
    process.stdout.write(`restored ${name}${name === from ? '' : ` (as ${from} was)`}: ${showCount(keyCount)} keys${expired}${again}\n`);
  }
  process.stdout.write(`in ${showDuration(Date.now() - started)}\n`);
}
