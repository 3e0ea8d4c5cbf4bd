import { createHash, type Hash } from 'node:crypto';
import { createReadStream, statSync } from 'node:fs';
import type { Command } from 'commander';
import type { Bytes } from '../../base/bytes.ts';
import { KeyfleetError, messageOf } from '../../base/errors.ts';
import { showCount, showDuration } from '../../base/units.ts';
import { type KeyedRecord, recordLine } from '../../http/record-json.ts';
import { ServerClient, serverAddress } from '../client/server-client.ts';
import { EXIT } from '../terminal/exit-code.ts';
import { secondsInMs } from '../terminal/number-flags.ts';
import { Progress } from '../terminal/progress.ts';
import { Checkpoint } from './checkpoint.ts';
import { ImportSender } from './import-sender.ts';
import { type InputOptions, type RecordFormat, readInput } from './input-records.ts';
import { KeyCensus } from './key-census.ts';
import { FORMATS, formatOf } from './record-format.ts';

interface ImportFlags {
  readonly dir?: string;
  readonly prefix: string;
  readonly format?: RecordFormat;
  readonly key?: string;
  readonly value?: string;
  readonly header: boolean;
  readonly keyspace: string;
  readonly url?: string;
  readonly passwordFile?: string;
  readonly skipBad?: boolean;
  readonly restart?: boolean;
  readonly checkpoint?: string;
  readonly retryFor: string;
}

export function define(command: Command): void {
  command
    .argument('[file]', 'the file to load, or - for standard input')
    .option('--dir <directory>', 'store every file below a directory, through a master of volumes (docs/volumes.md)')
    .option('--prefix <text>', 'with --dir: keys are the paths after this', '')
    .option('--format <format>', `${FORMATS.join(', ')}; by the ending of the file when absent`)
    .option('--key <field>', 'field or column that is the key')
    .option('--value <field>', 'field or column that is the value; absent with --key: the whole record')
    .option('--no-header', 'TSV and CSV: the first line is a record; columns are numbered from 1')
    .option('--keyspace <name>', 'keyspace to load into', 'default')
    .option('--url <url>', 'the server (http://127.0.0.1:7380)')
    .option('--password-file <file>', "file whose first line is the server's password")
    .option('--skip-bad', 'count malformed lines and go on, instead of stopping at the first')
    .option('--restart', 'begin anew even if an earlier run was interrupted')
    .option('--checkpoint <file>', 'where to note how far the import is (FILE.keyfleet-import)')
    .option('--retry-for <seconds>', 'how long to wait for a server that does not answer', '30')
    .addHelpText(
      'after',
      `
Without --key a record has the plain form {"key":"a","value":"b","ttlMs":60000}; "key64" and "value64" hold base64.
With --key, each record is stored whole under that field (NDJSON: the bytes of its line as they are).
An interrupted import goes on where it was when the same command is given again.

Examples:
  keyfleet import packages.ndjson --key name
  keyfleet import users.csv --key email --value name
  keyfleet import --dir ./pictures --url http://127.0.0.1:3000
  zcat dump.ndjson.gz | keyfleet import -`,
    )
    .action(runImport);
}

interface ImportState {
  /** What must be the same to go on. */
  readonly setting: string;
  /** Items of the input (records and malformed lines) that are done with. */
  readonly items: number;
  /** Of the records among them, in order. */
  readonly fingerprint: string;
  readonly keysBefore: number;
}

async function runImport(file: string | undefined, flags: ImportFlags): Promise<void> {
  if (flags.dir !== undefined) {
    if (file !== undefined) throw new KeyfleetError('KF_USAGE', `name either a file or --dir, not both ${file} and ${flags.dir}`);
    const { importTree, MASTER_URL } = await import('./tree-transfer.ts');
    return importTree({ dir: flags.dir, url: flags.url ?? MASTER_URL, prefix: flags.prefix });
  }
  if (file === undefined) throw new KeyfleetError('KF_USAGE', 'name the file to load, - for standard input, or a directory with --dir');
  return importRecords(file, flags);
}

async function importRecords(file: string, flags: ImportFlags): Promise<void> {
  const format = formatOf(flags.format, file);
  const input: InputOptions = { format, keyField: flags.key, valueField: flags.value, hasHeader: flags.header };
  const retryForMs = secondsInMs('--retry-for', flags.retryFor);
  const client = new ServerClient(serverAddress(flags));
  const inputBytes = sizeOf(file);
  const path = flags.checkpoint ?? (file === '-' ? undefined : `${file}.keyfleet-import`);
  const checkpoint = path === undefined ? undefined : new Checkpoint<ImportState>(path);
  const setting = JSON.stringify([format, flags.key, flags.value, flags.header, flags.keyspace, client.url]);
  const earlier = flags.restart ? undefined : checkpoint?.read();
  if (earlier && earlier.setting !== setting) {
    throw new KeyfleetError(
      'KF_CHECKPOINT',
      `${path} is of an import with other options or another server; give those again, or --restart to begin anew`,
    );
  }
  const keysNow = (await client.keyspace(flags.keyspace)).keyCount;
  const keysBefore = earlier?.keysBefore ?? keysNow;
  if (earlier) process.stderr.write(`going on after ${showCount(earlier.items)} records that an earlier run had acknowledged\n`);

  const source = file === '-' ? process.stdin : createReadStream(file, { highWaterMark: 256 * 1024 });
  const stop = new AbortController();
  const interrupt = (): void => {
    stop.abort();
    source.destroy();
  };
  process.once('SIGINT', interrupt);
  process.once('SIGTERM', interrupt);
  const progress = new Progress('import', inputBytes, { earlier: earlier?.items ?? 0 });
  const run = new ImportRun({
    client,
    keyspace: flags.keyspace,
    retryForMs,
    signal: stop.signal,
    setting,
    earlier,
    keysBefore,
    checkpoint,
    onTrouble: (why) => progress.note(why),
  });
  try {
    await run.take(readInput(source as AsyncIterable<Bytes>, input), { skipBad: flags.skipBad === true, progress });
  } catch (error) {
    if (!stop.signal.aborted) {
      progress.stop();
      await run.giveUp();
      throw error;
    }
  } finally {
    process.off('SIGINT', interrupt);
    process.off('SIGTERM', interrupt);
  }
  progress.stop();
  if (stop.signal.aborted) {
    await run.giveUp();
    const next = checkpoint ? 'give the same command again to go on' : 'nothing notes how far it came (see --checkpoint)';
    process.stderr.write(`interrupted after ${showCount(run.acknowledgedItems)} acknowledged records; ${next}\n`);
    process.exitCode = EXIT.interrupted;
    return;
  }
  run.report({ keysAfter: (await client.keyspace(flags.keyspace)).keyCount, elapsedMs: progress.elapsedMs });
  checkpoint?.remove();
}

class ImportRun {
  readonly #options: {
    readonly signal: AbortSignal;
    readonly setting: string;
    readonly keyspace: string;
    readonly earlier: ImportState | undefined;
    readonly keysBefore: number;
    readonly checkpoint: Checkpoint<ImportState> | undefined;
  };
  readonly #sender: ImportSender<Omit<ImportState, 'setting' | 'keysBefore'>>;
  readonly #census = new KeyCensus();
  readonly #hash: Hash = createHash('sha256');
  #items = 0;
  #records = 0;
  /** Pieces of collections that came with more than one line. */
  #pieces = 0;
  #skipped = 0;
  #withTtl = 0;
  #acknowledged: Omit<ImportState, 'setting' | 'keysBefore'> | undefined;
  #notedMs = 0;

  constructor(options: {
    readonly client: ServerClient;
    readonly keyspace: string;
    readonly retryForMs: number;
    readonly signal: AbortSignal;
    readonly setting: string;
    readonly earlier: ImportState | undefined;
    readonly keysBefore: number;
    readonly checkpoint: Checkpoint<ImportState> | undefined;
    readonly onTrouble: (why: string) => void;
  }) {
    this.#options = options;
    this.#acknowledged = options.earlier;
    this.#sender = new ImportSender({
      ...options,
      onAcknowledged: (mark) => {
        this.#acknowledged = mark;
        if (Date.now() - this.#notedMs >= 500) this.#note();
      },
    });
  }

  get acknowledgedItems(): number {
    return this.#acknowledged?.items ?? 0;
  }

  /** Sends everything that was not acknowledged before; ends early when interrupted. */
  async take(
    pieces: ReturnType<typeof readInput>,
    { skipBad, progress }: { readonly skipBad: boolean; readonly progress: Progress },
  ): Promise<void> {
    const { earlier, signal } = this.#options;
    for await (const { items, readBytes } of pieces) {
      for (const item of items) {
        if (signal.aborted) return;
        this.#items++;
        if ('problem' in item) {
          if (!skipBad) throw new KeyfleetError('KF_BAD_RECORD', `line ${item.line}: ${item.problem} (--skip-bad goes on over such lines)`);
          this.#skipped++;
        } else {
          this.#count(item.record);
          if (!earlier || this.#items > earlier.items) await this.#sender.add(item.line, item.record, () => this.#mark());
        }
        if (earlier && this.#items === earlier.items) this.#checkSame(earlier);
      }
      progress.update(readBytes, this.#records);
    }
    if (signal.aborted) return;
    if (earlier && this.#items < earlier.items) throw notTheSame();
    await this.#sender.finish(this.#mark());
  }

  /** Lets what is under way end and notes how far it came. */
  async giveUp(): Promise<void> {
    await this.#sender.settle();
    this.#note();
  }

  report({ keysAfter, elapsedMs }: { readonly keysAfter: number; readonly elapsedMs: number }): void {
    const { keysBefore, keyspace, earlier } = this.#options;
    const { written, created, wasRetried } = this.#sender.counts;
    const distinct = this.#census.distinctCount;
    const fresh = keysAfter - keysBefore;
    const before = distinct - fresh;
    const isExact = this.#withTtl === 0 && !earlier && !wasRetried;
    const agree = isExact ? fresh === created && before >= 0 : this.#withTtl > 0 || (before >= 0 && before <= keysBefore);
    const rate = showCount(written / Math.max(elapsedMs / 1_000, 0.001));
    process.stdout.write(
      [
        `imported ${showCount(this.#records)} records in ${showDuration(elapsedMs)} (${rate}/s)`,
        ...(earlier
          ? [`  earlier   ${showCount(this.#records + this.#pieces - written)} of them were acknowledged to a run before this one`]
          : []),
        `  keys      ${showCount(distinct)} different ones`,
        `  repeated  ${showCount(this.#records - distinct)} records had a key that came before; the last one stays`,
        `  skipped   ${showCount(this.#skipped)} malformed lines`,
        `  server    ${keyspace} had ${showCount(keysBefore)} keys and has ${showCount(keysAfter)}: ${agree ? 'the counts agree' : 'THE COUNTS DIFFER'}`,
        '',
      ].join('\n'),
    );
    if (agree) return;
    throw new KeyfleetError(
      'KF_COUNT_MISMATCH',
      `the input has ${distinct} different keys, yet ${keyspace} went from ${keysBefore} to ${keysAfter} keys; unless others wrote or keys expired meanwhile, records are missing`,
    );
  }

  #count(record: KeyedRecord): void {
    const { key, ttlMs } = record;
    const isPiece = 'type' in record && record.from > 0;
    if (!isPiece) {
      this.#records++;
      this.#census.add(key);
    } else this.#pieces++;
    if (ttlMs !== undefined) this.#withTtl++;
    const value = 'type' in record ? recordLine(record) : record.value;
    this.#hash.update(`${key.length} ${value.length} `).update(key).update(value);
  }

  #mark(): Omit<ImportState, 'setting' | 'keysBefore'> {
    return { items: this.#items, fingerprint: this.#hash.copy().digest('hex') };
  }

  #checkSame(earlier: ImportState): void {
    if (this.#mark().fingerprint !== earlier.fingerprint) throw notTheSame();
  }

  #note(): void {
    const { checkpoint, setting, keysBefore } = this.#options;
    this.#notedMs = Date.now();
    if (checkpoint && this.#acknowledged) checkpoint.write({ ...this.#acknowledged, setting, keysBefore });
  }
}

function notTheSame(): KeyfleetError {
  return new KeyfleetError('KF_CHECKPOINT', 'the input does not begin as the one that was interrupted did; --restart begins anew');
}

/** 0 when nobody knows. @throws KF_USAGE when there is no such file. */
function sizeOf(file: string): number {
  if (file === '-') return 0;
  try {
    const stat = statSync(file);
    if (stat.isDirectory()) throw new Error('it is a directory');
    return stat.isFile() ? stat.size : 0;
  } catch (error) {
    throw new KeyfleetError('KF_USAGE', `cannot read ${file}: ${messageOf(error)}`, { cause: error });
  }
}
