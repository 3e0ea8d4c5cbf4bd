import { setTimeout as sleep } from 'node:timers/promises';
import { isKeyfleetError, KeyfleetError, messageOf } from '../../base/errors.ts';
import { KIB } from '../../base/units.ts';
import { viewOf } from '../../http/json-bytes.ts';
import { type KeyedRecord, recordLine } from '../../http/record-json.ts';
import type { ServerClient } from '../client/server-client.ts';

// Sends records to a server in batches, a few under way at once. Of two records with one key the later one stays: they never are in two
// batches under way at once, and one batch keeps its order.

const BATCH_BYTES = 512 * KIB;
const BATCH_RECORDS = 2_000;
const BATCHES_UNDER_WAY = 4;

export interface SenderOptions<Mark> {
  readonly client: ServerClient;
  readonly keyspace: string;
  /** How long to go on trying while the server does not answer or refuses for now. */
  readonly retryForMs: number;
  readonly signal: AbortSignal;
  /** Everything up to `mark` is acknowledged. Called in the order of the marks. */
  readonly onAcknowledged: (mark: Mark) => void;
  /** Why a batch has to be sent again, in a few words; '' when one was taken after that. */
  readonly onTrouble: (why: string) => void;
}

interface Batch<Mark> {
  readonly lines: string[];
  readonly keys: Set<string>;
  readonly firstLine: number;
  lastLine: number;
  bytes: number;
  mark: Mark | undefined;
  done: Promise<void>;
  isDone: boolean;
}

export interface SendCounts {
  readonly written: number;
  readonly created: number;
  /** A batch was sent again, so `created` may count too few. */
  readonly wasRetried: boolean;
}

export class ImportSender<Mark> {
  readonly #options: SenderOptions<Mark>;
  readonly #underWay: Batch<Mark>[] = [];
  #open: Batch<Mark> | undefined;
  #failure: unknown;
  #hasTrouble = false;
  #counts: SendCounts = { written: 0, created: 0, wasRetried: false };

  constructor(options: SenderOptions<Mark>) {
    this.#options = options;
  }

  get counts(): SendCounts {
    return this.#counts;
  }

  /** Takes a record; waits while enough is under way. `markOf` is asked when the batch closes. @throws what a batch failed with. */
  async add(line: number, record: KeyedRecord, markOf: () => Mark): Promise<void> {
    const identity = viewOf(record.key).toString('latin1');
    for (const batch of [...this.#underWay]) if (batch.keys.has(identity)) await batch.done;
    this.#open ??= {
      lines: [],
      keys: new Set(),
      firstLine: line,
      lastLine: line,
      bytes: 0,
      mark: undefined,
      done: Promise.resolve(),
      isDone: false,
    };
    const text = recordLine(record);
    this.#open.lines.push(text);
    this.#open.keys.add(identity);
    this.#open.bytes += text.length;
    this.#open.lastLine = line;
    if (this.#open.bytes >= BATCH_BYTES || this.#open.lines.length >= BATCH_RECORDS) await this.#close(markOf());
    else if (this.#failure !== undefined) throw this.#failure;
  }

  /** Sends what is still held back and waits until everything is acknowledged. @throws what a batch failed with. */
  async finish(mark: Mark): Promise<void> {
    await this.#close(mark);
    await Promise.all(this.#underWay.map((batch) => batch.done));
    if (this.#failure !== undefined) throw this.#failure;
  }

  /** Waits until nothing is under way any more, whatever became of it; what is held back stays unsent. */
  async settle(): Promise<void> {
    await Promise.allSettled(this.#underWay.map((batch) => batch.done));
  }

  async #close(mark: Mark): Promise<void> {
    const batch = this.#open;
    this.#open = undefined;
    if (batch) {
      batch.mark = mark;
      this.#underWay.push(batch);
      batch.done = this.#send(batch).then(
        () => this.#acknowledge(batch),
        (error: unknown) => {
          this.#failure ??= error;
        },
      );
    }
    while (this.#underWay.length >= BATCHES_UNDER_WAY && this.#failure === undefined) await this.#underWay[0]!.done;
    if (this.#failure !== undefined) throw this.#failure;
  }

  #acknowledge(batch: Batch<Mark>): void {
    batch.isDone = true;
    while (this.#underWay[0]?.isDone) this.#options.onAcknowledged(this.#underWay.shift()!.mark!);
  }

  async #send(batch: Batch<Mark>): Promise<void> {
    const { client, keyspace, retryForMs, signal } = this.#options;
    const bytes = Buffer.from(`${batch.lines.join('\n')}\n`, 'utf8');
    const startedMs = Date.now();
    for (let pauseMs = 100; ; pauseMs = Math.min(2 * pauseMs, 2_000)) {
      try {
        const response = await client.request('POST', `/v1/keyspaces/${encodeURIComponent(keyspace)}/batch/put`, {
          type: 'application/x-ndjson',
          bytes,
        });
        const answer = await readAnswer(client, response);
        if (answer.written !== batch.lines.length) throw miscounted(batch, answer.written);
        this.#counts = { ...this.#counts, written: this.#counts.written + answer.written, created: this.#counts.created + answer.created };
        if (this.#hasTrouble) this.#tellTrouble('');
        return;
      } catch (error) {
        if (!isKeyfleetError(error)) throw error;
        const isOver = signal.aborted || Date.now() - startedMs + pauseMs > retryForMs;
        if (!error.retryable || isOver) throw withLines(error, batch);
        this.#counts = { ...this.#counts, wasRetried: true };
        this.#tellTrouble(`${error.code === 'KF_UNREACHABLE' ? 'the server does not answer' : error.code}, trying again`);
        await sleep(pauseMs, undefined, { signal }).catch(() => undefined);
      }
    }
  }

  #tellTrouble(why: string): void {
    this.#hasTrouble = why !== '';
    this.#options.onTrouble(why);
  }
}

async function readAnswer(client: ServerClient, response: Response): Promise<{ readonly written: number; readonly created: number }> {
  try {
    return (await response.json()) as { readonly written: number; readonly created: number };
  } catch (error) {
    throw client.unreachable(error);
  }
}

function miscounted(batch: Batch<unknown>, written: number): KeyfleetError {
  return new KeyfleetError('KF_COUNT_MISMATCH', `the server acknowledged ${written} of ${batch.lines.length} records`);
}

function withLines(error: KeyfleetError, { firstLine, lastLine }: Batch<unknown>): KeyfleetError {
  return new KeyfleetError(error.code, `${messageOf(error)} (lines ${firstLine} to ${lastLine} are not acknowledged)`, {
    cause: error,
    retryable: error.retryable,
  });
}
