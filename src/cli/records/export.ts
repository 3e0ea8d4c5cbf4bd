import type { Command } from 'commander';
import { KeyfleetError } from '../../base/errors.ts';
import { showCount, showDuration } from '../../base/units.ts';
import { type KeyedRecord, recordOf } from '../../http/record-json.ts';
import type { KeyspaceReport } from '../../http/status.ts';
import { ServerClient, serverAddress } from '../client/server-client.ts';
import { EXIT } from '../terminal/exit-code.ts';
import { secondsInMs } from '../terminal/number-flags.ts';
import { Progress } from '../terminal/progress.ts';
import { Checkpoint } from './checkpoint.ts';
import { type ExportSink, FileSink, StdoutSink } from './export-sink.ts';
import type { RecordFormat } from './input-records.ts';
import { FORMATS, formatOf } from './record-format.ts';
import { recordWriter } from './record-writer.ts';

interface ExportFlags {
  readonly dir?: string;
  readonly prefix: string;
  readonly format?: RecordFormat;
  readonly records?: boolean;
  readonly match?: string;
  readonly keyspace: string;
  readonly url?: string;
  readonly passwordFile?: string;
  readonly skipOtherTypes?: boolean;
  readonly restart?: boolean;
  readonly retryFor: string;
}

export function define(command: Command): void {
  command
    .argument('[file]', 'the file to write, or - for standard output', '-')
    .option('--dir <directory>', 'write every value of a master of volumes as a file below a directory (docs/volumes.md)')
    .option('--prefix <text>', 'with --dir: only keys that begin so; the rest of the key is the path', '')
    .option('--format <format>', `${FORMATS.join(', ')}; by the ending of the file when absent`)
    .option('--records', 'write each value as a line as it is: the inverse of import --key without --value')
    .option('--match <pattern>', 'only keys that match, as in Redis: * ? [a-z]')
    .option('--keyspace <name>', 'keyspace to read', 'default')
    .option('--url <url>', 'the server (http://127.0.0.1:7380)')
    .option('--password-file <file>', "file whose first line is the server's password")
    .option('--skip-other-types', 'leave out keys that hold hashes and other collections, which only ndjson has a form for')
    .option('--restart', 'begin anew even if an earlier run was interrupted')
    .option('--retry-for <seconds>', 'how long to wait for a server that does not answer', '30')
    .addHelpText(
      'after',
      `
Records come in no particular order. A file is written as FILE.part and gets its name when it is whole;
an interrupted export to a file goes on where it was when the same command is given again.

Examples:
  keyfleet export dump.ndjson
  keyfleet export --records | sort | sha256sum
  keyfleet export users.csv --match 'user:*'
  keyfleet export --dir ./copy --url http://127.0.0.1:3000`,
    )
    .action(runExport);
}

interface ExportState {
  readonly setting: string;
  readonly cursor: string;
  readonly writtenBytes: number;
  readonly count: number;
  readonly skipped: number;
}

const PAGE_RECORDS = 4_000;

async function runExport(file: string, flags: ExportFlags): Promise<void> {
  if (flags.dir === undefined) return exportRecords(file, flags);
  const { exportTree, MASTER_URL } = await import('./tree-transfer.ts');
  return exportTree({ dir: flags.dir, url: flags.url ?? MASTER_URL, prefix: flags.prefix });
}

async function exportRecords(file: string, flags: ExportFlags): Promise<void> {
  const format = formatOf(flags.format, file);
  if (flags.records && format !== 'ndjson')
    throw new KeyfleetError('KF_USAGE', '--records writes lines as they are; it goes with no --format but ndjson');
  const retryForMs = secondsInMs('--retry-for', flags.retryFor);
  const withCollections = format === 'ndjson' && !flags.records && !flags.skipOtherTypes;
  const client = new ServerClient(serverAddress(flags));
  const checkpoint = file === '-' ? undefined : new Checkpoint<ExportState>(`${file}.keyfleet-export`);
  const setting = JSON.stringify([format, flags.records, flags.match, flags.keyspace, flags.skipOtherTypes, client.url]);
  const earlier = flags.restart ? undefined : checkpoint?.read();
  if (earlier && earlier.setting !== setting) {
    throw new KeyfleetError(
      'KF_CHECKPOINT',
      `${checkpoint!.path} is of an export with other options; give those again, or --restart to begin anew`,
    );
  }
  const before = await client.keyspace(flags.keyspace);
  if (earlier) process.stderr.write(`going on after ${showCount(earlier.count)} records that an earlier run had written\n`);

  let isInterrupted = false;
  const interrupt = (): void => {
    isInterrupted = true;
  };
  process.once('SIGINT', interrupt);
  process.once('SIGTERM', interrupt);
  const sink: ExportSink = file === '-' ? new StdoutSink() : await FileSink.open(file, earlier?.writtenBytes ?? 0);
  const write = recordWriter(format, { wholeRecords: flags.records === true });
  let { cursor, count, skipped } = earlier ?? { cursor: '0', count: 0, skipped: 0 };
  const progress = new Progress('export', flags.match === undefined ? before.keyCount : 0, { earlier: count });
  let notedMs = 0;
  const note = (): void => checkpoint?.write({ setting, cursor, writtenBytes: sink.writtenBytes, count, skipped });
  try {
    if (!earlier) await sink.write(write.head);
    let failingSinceMs: number | undefined;
    for (let next: string | null = cursor; next !== null && !isInterrupted && !sink.isClosed; ) {
      const mark = { writtenBytes: sink.writtenBytes, count, skipped };
      try {
        const match = flags.match === undefined ? '' : `&match=${encodeURIComponent(flags.match)}`;
        const query = `limit=${PAGE_RECORDS}&cursor=${next}&collections=${withCollections}${match}`;
        next = await readPage(client, `/v1/keyspaces/${encodeURIComponent(flags.keyspace)}/scan?${query}`, async (records, others) => {
          skipped += others;
          for (const record of records) if (!('type' in record && record.from > 0)) count++;
          await sink.write(write.lines(records));
          progress.update(count, count);
        });
        failingSinceMs = undefined;
      } catch (error) {
        const nowMs = Date.now();
        failingSinceMs ??= nowMs;
        const isRetryable = error instanceof KeyfleetError && error.retryable && nowMs - failingSinceMs < retryForMs;
        if (!isRetryable || isInterrupted || !(await sink.backTo(mark.writtenBytes))) throw error;
        ({ count, skipped } = mark);
        await new Promise((resolve) => setTimeout(resolve, 500));
        continue;
      }
      cursor = next ?? 'end';
      if (next !== null && Date.now() - notedMs >= 500) {
        notedMs = Date.now();
        note();
      }
    }
  } catch (error) {
    note();
    await sink.close();
    throw error;
  } finally {
    progress.stop();
    process.off('SIGINT', interrupt);
    process.off('SIGTERM', interrupt);
  }
  // Whoever read our standard output has had enough.
  if (sink.isClosed) return;
  if (isInterrupted && cursor !== 'end') {
    note();
    await sink.close();
    const next = checkpoint ? 'give the same command again to go on' : 'what was written is not all';
    process.stderr.write(`interrupted after ${showCount(count)} records; ${next}\n`);
    process.exitCode = EXIT.interrupted;
    return;
  }
  await sink.finish();
  checkpoint?.remove();
  const after = await client.keyspace(flags.keyspace);
  report({ count, skipped, before, after, isWhole: flags.match === undefined, elapsedMs: progress.elapsedMs });
  if (skipped > 0 && !flags.skipOtherTypes) {
    throw new KeyfleetError(
      'KF_EXPORT_INCOMPLETE',
      `${skipped} keys hold hashes or other collections, which only ndjson has a form for; --skip-other-types accepts that`,
    );
  }
}

/** Reads one page of the scan; resolves to where the next begins, or null. @throws KF_UNREACHABLE when it is cut short. */
async function readPage(
  client: ServerClient,
  path: string,
  take: (records: readonly KeyedRecord[], others: number) => Promise<void>,
): Promise<string | null> {
  const response = await client.request('GET', path);
  const decoder = new TextDecoder();
  let rest = '';
  let end: { readonly cursor: string | null } | undefined;
  const chunks = (response.body as AsyncIterable<Uint8Array> | null)?.[Symbol.asyncIterator]();
  for (;;) {
    const chunk = await chunks?.next().catch((error: unknown) => {
      throw client.unreachable(error);
    });
    if (!chunk || chunk.done) break;
    const lines = (rest + decoder.decode(chunk.value, { stream: true })).split('\n');
    rest = lines.pop()!;
    const records: KeyedRecord[] = [];
    let others = 0;
    for (const line of lines) {
      const json = JSON.parse(line) as {
        readonly end?: true;
        readonly type?: string;
        readonly value?: unknown;
        readonly cursor: string | null;
      };
      if (json.end) end = json;
      else if (json.type !== undefined && json.value === undefined) others++;
      else records.push(recordOf(json));
    }
    await take(records, others);
  }
  if (!end) throw client.unreachable(new Error('the answer was cut short'));
  return end.cursor;
}

function report(options: {
  readonly count: number;
  readonly skipped: number;
  readonly before: KeyspaceReport;
  readonly after: KeyspaceReport;
  readonly isWhole: boolean;
  readonly elapsedMs: number;
}): void {
  const { count, skipped, before, after, isWhole, elapsedMs } = options;
  const seen = count + skipped;
  process.stderr.write(`exported ${showCount(count)} records in ${showDuration(elapsedMs)}\n`);
  if (!isWhole) return;
  const isQuiet = before.keyCount === after.keyCount && after.expiringCount === 0;
  if (seen === after.keyCount) process.stderr.write(`  ${before.name} has ${showCount(after.keyCount)} keys: the counts agree\n`);
  else if (isQuiet) {
    throw new KeyfleetError('KF_COUNT_MISMATCH', `${before.name} has ${after.keyCount} keys, yet the scan gave ${seen}; export again`);
  } else
    process.stderr.write(
      `  ${before.name} changed meanwhile: ${showCount(before.keyCount)} keys at first, ${showCount(after.keyCount)} at last\n`,
    );
}
