import { setTimeout as sleep } from 'node:timers/promises';
import { isKeyfleetError, KeyfleetError } from '../../base/errors.ts';
import { type VerifyOptions, type VerifyReport, verifyPool } from './move-verify.ts';

export interface VerifyStatus {
  readonly isRunning: boolean;
  /** Keys looked at so far. */
  readonly keys: number;
  readonly report: VerifyReport | undefined;
  readonly error: { readonly code: string; readonly message: string } | undefined;
}

/** One verification at a time, however long it takes: begun by one request, looked at by others. */
export class VerifyJob {
  #status: VerifyStatus | undefined;
  #running: Promise<void> | undefined;
  readonly #abort = new AbortController();

  get status(): VerifyStatus | undefined {
    return this.#status;
  }

  /** @throws KF_POOL_MOVES_RUNNING while another one runs. */
  begin(options: Omit<VerifyOptions, 'onProgress' | 'signal'>): void {
    if (this.#running !== undefined) throw new KeyfleetError('KF_POOL_MOVES_RUNNING', 'a verification is under way; wait for it');
    let keys = 0;
    this.#status = { isRunning: true, keys, report: undefined, error: undefined };
    const onProgress = (count: number): void => {
      keys = count;
      this.#status = { isRunning: true, keys, report: undefined, error: undefined };
    };
    this.#running = verifyPool({ ...options, onProgress, signal: this.#abort.signal })
      .then(
        (report) => {
          this.#status = { isRunning: false, keys: report.keys, report, error: undefined };
        },
        (error: unknown) => {
          if (!isKeyfleetError(error) && !this.#abort.signal.aborted) throw error;
          const { code, message } = isKeyfleetError(error) ? error : { code: 'KF_CLOSED', message: 'the owner ends' };
          this.#status = { isRunning: false, keys, report: undefined, error: { code, message } };
        },
      )
      .finally(() => {
        this.#running = undefined;
      });
  }

  /** The status, once it has ended or `waitMs` are over. */
  async settled(waitMs: number): Promise<VerifyStatus | undefined> {
    const timer = new AbortController();
    await Promise.race([this.#running, sleep(waitMs, undefined, { signal: timer.signal }).catch(() => undefined)]);
    timer.abort();
    return this.#status;
  }

  async close(): Promise<void> {
    this.#abort.abort();
    await this.#running;
  }
}
