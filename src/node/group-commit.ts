import type { CommitNumber, Storage } from '../storage/storage.ts';
import type { NodeClock } from './node-clock.ts';

/** What nobody waits for is left open for so long at most, in milliseconds, and for so many writes. */
const IDLE_MS = 20;
const IDLE_WRITES = 256;

/**
 * One open batch for all replicas of a node. Once somebody waits for what is in it, it is closed at the end of the turn while the disk is idle, and when
 * the disk is done while that syncs. What nobody waits for is left open for a while, for the disk and its callers to be bothered less often.
 */
export class GroupCommit {
  readonly #storage: Storage;
  readonly #clock: Pick<NodeClock, 'after' | 'atTurnEnd'>;
  readonly #stopListening: () => void;
  #isAwaited = false;
  #turnEndIsDue = false;
  /** Writes to the open batch that nobody waits for. */
  #idleWrites = 0;
  #cancelTimer: () => void = () => {};
  #stopped = false;

  constructor(storage: Storage, clock: Pick<NodeClock, 'after' | 'atTurnEnd'>) {
    this.#storage = storage;
    this.#clock = clock;
    this.#stopListening = storage.onDurable((durable) => {
      if (this.#isAwaited && !this.#turnEndIsDue && storage.committed === durable) this.commit();
    });
  }

  /** Something was written to the open batch. Returns its number. `isAwaited`: somebody waits until it is durable. */
  wrote(isAwaited = true): CommitNumber {
    const { openNumber } = this.#storage;
    if (isAwaited) this.#closeSoon();
    else if (this.#idleWrites++ === 0) this.#cancelTimer = this.#clock.after(IDLE_MS, () => this.#closeSoon());
    else if (this.#idleWrites >= IDLE_WRITES) this.#closeSoon();
    return openNumber;
  }

  /** Closes the open batch now. */
  commit(): void {
    if (this.#stopped) return;
    this.#isAwaited = false;
    this.#idleWrites = 0;
    this.#cancelTimer();
    this.#storage.commit();
  }

  stop(): void {
    this.#stopped = true;
    this.#cancelTimer();
    this.#stopListening();
  }

  #closeSoon(): void {
    if (this.#isAwaited) return;
    this.#isAwaited = true;
    const { committed, durable } = this.#storage;
    if (this.#turnEndIsDue || committed !== durable) return;
    this.#turnEndIsDue = true;
    this.#clock.atTurnEnd(() => {
      this.#turnEndIsDue = false;
      if (this.#isAwaited && this.#storage.committed === this.#storage.durable) this.commit();
    });
  }
}
