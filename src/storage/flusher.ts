import { isKeyfleetError, messageOf } from '../base/errors.ts';
import type { Memtable } from './memtable.ts';

const RETRY_MS = 1_000;
const PAUSE_MS = 50;

export interface FlusherOptions {
  /** The oldest memtable that takes no more writes, if there is one. */
  readonly oldest: () => Memtable | undefined;
  /** Brings all of it to the table, durably; false when `goOn` said no. */
  readonly flush: (memtable: Memtable, goOn: () => boolean) => Promise<boolean>;
  /** It is in the table now. */
  readonly onFlushed: (memtable: Memtable) => void;
  /** The disk is beyond help. Nothing is flushed from then on. */
  readonly onFailed: (error: Error) => void;
}

/** Brings frozen memtables to the table in the background, the oldest first; what fails is tried again after a second. */
export class Flusher {
  readonly #options: FlusherOptions;
  #running: Promise<void> | undefined;
  #isStopped = false;
  #error: Error | undefined;
  /** Who waits for the end of the try under way. */
  #waiting: (() => void)[] = [];
  /** Someone waits for a try, so the pause before it ends. */
  #isWanted = false;
  /** Memtables that were flushed. */
  count = 0;

  constructor(options: FlusherOptions) {
    this.#options = options;
  }

  /** Why the last try failed; undefined once one succeeded. */
  get error(): Error | undefined {
    return this.#error;
  }

  /** Starts, if there is something to flush and it is not doing so already. */
  start(): void {
    if (this.#running || this.#isStopped || !this.#options.oldest()) return;
    this.#running = this.#run().finally(() => {
      this.#running = undefined;
      this.#wake();
    });
  }

  /** Waits for the next memtable that is flushed, or is not. False at once when there is none, or no more trying. */
  async tried(): Promise<boolean> {
    this.start();
    if (!this.#running) return false;
    this.#isWanted = true;
    await new Promise<void>((resolve) => this.#waiting.push(resolve));
    return true;
  }

  /** Ends after the slice under way. */
  async stop(): Promise<void> {
    this.#isStopped = true;
    await this.#running;
  }

  async #run(): Promise<void> {
    while (!this.#isStopped) {
      const memtable = this.#options.oldest();
      if (!memtable) return;
      try {
        if (!(await this.#options.flush(memtable, () => !this.#isStopped))) return;
        this.#error = undefined;
        this.count++;
        this.#options.onFlushed(memtable);
        this.#wake();
      } catch (error) {
        this.#error = error instanceof Error ? error : new Error(messageOf(error));
        if (isKeyfleetError(error) && error.code === 'KF_STORAGE_FAILED') {
          this.#isStopped = true;
          this.#options.onFailed(error);
          return;
        }
        this.#wake();
        await this.#pause();
      }
    }
  }

  async #pause(): Promise<void> {
    for (let waited = 0; waited < RETRY_MS && !this.#isStopped && !this.#isWanted; waited += PAUSE_MS)
      await new Promise((resolve) => setTimeout(resolve, PAUSE_MS));
  }

  #wake(): void {
    this.#isWanted = false;
    const waiting = this.#waiting;
    this.#waiting = [];
    for (const wake of waiting) wake();
  }
}
