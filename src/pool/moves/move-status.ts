import type { MoveState, PlannedMove } from './move-records.ts';

export interface MoveStatus {
  readonly state: 'idle' | 'running' | 'paused' | 'cancelling' | 'stopped';
  readonly title: string | undefined;
  readonly moves: readonly (PlannedMove & { readonly state: MoveState })[];
  readonly slotsDone: number;
  readonly slotsTotal: number;
  readonly keysMoved: number;
  readonly bytesMoved: number;
  readonly keysPerSecond: number;
  readonly bytesPerSecond: number;
  /** From the forecasts of the moves that have begun since the owner started; those that have not are taken to have as many keys a slot. */
  readonly keysExpected: number;
  /** How much of the move under way has been walked, from 0 to 1; 0 when its forecast was made by an owner before. */
  readonly walkedShare: number;
  readonly secondsLeft: number | undefined;
  readonly foregroundP99Ms: number | undefined;
  readonly pauseMs: number;
  /** What stands in the way now. */
  readonly trouble: string | undefined;
  readonly epoch: number;
}

const WINDOW_MS = 5_000;
/** So many keys make a speed. */
const ENOUGH_KEYS = 1_000;

/** Counts what moves, and how fast over the last five seconds. */
export class MoveMeter {
  readonly #startedMs = performance.now();
  #lastMs = performance.now();
  #keys = 0;
  #bytes = 0;
  #expected = 0;
  #expectedSlots = 0;
  /** Of the move that began last. */
  #last = { expected: 0, keysBefore: 0 };
  readonly #recent: { readonly atMs: number; readonly keys: number; readonly bytes: number }[] = [];

  /** A move begins. */
  expect(keys: number, slotCount: number): void {
    this.#expected += keys;
    this.#expectedSlots += slotCount;
    this.#last = { expected: keys, keysBefore: this.#keys };
  }

  /** A move is over. */
  ended(): void {
    this.#last = { expected: 0, keysBefore: this.#keys };
  }

  count(keys: number, bytes: number): void {
    const nowMs = performance.now();
    this.#lastMs = nowMs;
    this.#keys += keys;
    this.#bytes += bytes;
    this.#recent.push({ atMs: nowMs, keys, bytes });
    while (this.#recent.length > 0 && nowMs - this.#recent[0]!.atMs > WINDOW_MS) this.#recent.shift();
  }

  /** From the beginning to the last key, barriers included; undefined when too little moved to say. */
  get averageKeysPerSecond(): number | undefined {
    return this.#keys < ENOUGH_KEYS ? undefined : (this.#keys * 1_000) / Math.max(1, this.#lastMs - this.#startedMs);
  }

  /** `slotsToBegin`: of moves that have not begun. */
  read(
    slotsToBegin: number,
  ): Pick<MoveStatus, 'keysMoved' | 'bytesMoved' | 'keysPerSecond' | 'bytesPerSecond' | 'keysExpected' | 'walkedShare' | 'secondsLeft'> {
    const nowMs = performance.now();
    const recent = this.#recent.filter(({ atMs }) => nowMs - atMs < WINDOW_MS);
    const seconds = Math.max(0.25, (nowMs - (recent[0]?.atMs ?? nowMs)) / 1_000);
    const rate = (of: 'keys' | 'bytes'): number => recent.reduce((sum, one) => sum + one[of], 0) / seconds;
    const keysPerSecond = rate('keys');
    const keysExpected =
      this.#expected + (this.#expectedSlots === 0 ? 0 : Math.round((this.#expected * slotsToBegin) / this.#expectedSlots));
    const { expected, keysBefore } = this.#last;
    return {
      keysMoved: this.#keys,
      bytesMoved: this.#bytes,
      keysPerSecond,
      bytesPerSecond: rate('bytes'),
      keysExpected,
      walkedShare: expected === 0 ? 0 : Math.min(1, (this.#keys - keysBefore) / expected),
      secondsLeft: keysPerSecond > 0 ? Math.max(0, keysExpected - this.#keys) / keysPerSecond : undefined,
    };
  }
}
