import { KeyfleetError } from '../base/errors.ts';
import type { CommitNumber } from './storage.ts';

/** Who waits for which commit number to become durable, and who wants to hear of failure; the part that all adapters share. */
export class CommitProgress {
  #durable: CommitNumber;
  #failure: Error | undefined;
  readonly #durableListeners = new Set<(durable: CommitNumber) => void>();
  readonly #failedListeners = new Set<(error: Error) => void>();
  readonly #waiters = new Map<CommitNumber, Waiter>();

  constructor(durable: CommitNumber) {
    this.#durable = durable;
  }

  get durable(): CommitNumber {
    return this.#durable;
  }

  get failure(): Error | undefined {
    return this.#failure;
  }

  /** Tells everyone that batches up to `number` are durable. Never goes back, and not on after a failure. */
  advance(number: CommitNumber): void {
    if (number <= this.#durable || this.#failure) return;
    this.#durable = number;
    for (const listener of this.#durableListeners) listener(number);
    if (this.#waiters.size === 0) return;
    for (const [waited, waiter] of this.#waiters) {
      if (waited > number) continue;
      this.#waiters.delete(waited);
      waiter.resolve();
    }
  }

  /** Whatever is not durable now has an unknown outcome for good. Only the first call counts. */
  fail(error: Error): void {
    if (this.#failure) return;
    this.#failure = error;
    for (const waiter of this.#waiters.values()) waiter.reject(error);
    this.#waiters.clear();
    for (const listener of this.#failedListeners) listener(error);
  }

  onDurable(listener: (durable: CommitNumber) => void): () => void {
    this.#durableListeners.add(listener);
    return () => this.#durableListeners.delete(listener);
  }

  onFailed(listener: (error: Error) => void): () => void {
    const failure = this.#failure;
    if (failure) queueMicrotask(() => listener(failure));
    else this.#failedListeners.add(listener);
    return () => this.#failedListeners.delete(listener);
  }

  whenDurable(number: CommitNumber): Promise<void> {
    if (number <= this.#durable) return Promise.resolve();
    if (this.#failure) return Promise.reject(this.#failure);
    const known = this.#waiters.get(number);
    if (known) return known.promise;
    const waiter = newWaiter();
    this.#waiters.set(number, waiter);
    return waiter.promise;
  }
}

interface Waiter {
  readonly promise: Promise<void>;
  resolve(): void;
  reject(error: Error): void;
}

function newWaiter(): Waiter {
  let resolve = (): void => {};
  let reject = (_error: Error): void => {};
  const promise = new Promise<void>((onResolve, onReject) => {
    resolve = onResolve;
    reject = onReject;
  });
  return { promise, resolve, reject };
}

export function storageFailed(what: string, cause: unknown): KeyfleetError {
  return new KeyfleetError('KF_STORAGE_FAILED', what, { cause });
}
