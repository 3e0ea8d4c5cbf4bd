import type { CommitNumber, Storage } from '../storage/storage.ts';

/**
 * One open batch for all replicas of a node: while the disk is idle it is closed at the end of the turn, and while the disk syncs, what arrives
 * shares the next one.
 */
export class GroupCommit {
  readonly #storage: Storage;
  readonly #atTurnEnd: (callback: () => void) => void;
  readonly #stopListening: () => void;
  #isOpen = false;
  #turnEndIsDue = false;
  #stopped = false;

  constructor(storage: Storage, atTurnEnd: (callback: () => void) => void) {
    this.#storage = storage;
    this.#atTurnEnd = atTurnEnd;
    this.#stopListening = storage.onDurable((durable) => {
      if (this.#isOpen && !this.#turnEndIsDue && storage.committed === durable) this.commit();
    });
  }

  /** Something was written to the open batch. Returns its number. */
  wrote(): CommitNumber {
    const { openNumber, committed, durable } = this.#storage;
    if (!this.#isOpen) {
      this.#isOpen = true;
      if (!this.#turnEndIsDue && committed === durable) {
        this.#turnEndIsDue = true;
        this.#atTurnEnd(() => {
          this.#turnEndIsDue = false;
          if (this.#isOpen && this.#storage.committed === this.#storage.durable) this.commit();
        });
      }
    }
    return openNumber;
  }

  /** Closes the open batch now. */
  commit(): void {
    if (this.#stopped) return;
    this.#isOpen = false;
    this.#storage.commit();
  }

  stop(): void {
    this.#stopped = true;
    this.#stopListening();
  }
}
