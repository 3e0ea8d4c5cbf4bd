import { SingleBar } from 'cli-progress';
import { showCount, showDuration } from '../../base/units.ts';

/**
 * How far long work is: a bar with rate and time left on a terminal, a line every few seconds elsewhere. Writes to standard error, so that
 * standard output stays free for data.
 */
export class Progress {
  readonly #bar: SingleBar;
  readonly #startedMs = Date.now();
  readonly #total: number;
  readonly #earlier: number;
  #records = 0;
  #done = 0;
  #note = '';

  /** `total`: in whatever `update` counts `done` by; 0 when nobody knows. `earlier`: records done by a run before this one. */
  constructor(verb: string, total: number, { earlier = 0, unit = 'records' }: { readonly earlier?: number; readonly unit?: string } = {}) {
    this.#total = total;
    this.#earlier = earlier;
    const known = total > 0;
    this.#bar = new SingleBar({
      format: known
        ? `${verb} {bar} {percentage}% | {records} ${unit} | {rate}/s{note} | {left} left`
        : `${verb} | {records} ${unit} | {rate}/s{note}`,
      barCompleteChar: '#',
      barIncompleteChar: '-',
      barsize: 24,
      hideCursor: true,
      clearOnComplete: false,
      noTTYOutput: true,
      notTTYSchedule: 3_000,
      stopOnComplete: false,
      fps: 8,
    });
    this.#bar.start(known ? total : 1, 0, this.#payload(0));
  }

  /** `note`: whatever else there is to say from now on. */
  update(done: number, records: number, note?: string): void {
    this.#done = done;
    this.#records = records;
    if (note !== undefined) this.#note = note === '' ? '' : ` | ${note}`;
    this.#bar.update(this.#total > 0 ? Math.min(done, this.#total) : 0, this.#payload(done));
  }

  /** Says `note` from now on; '' for nothing. */
  note(note: string): void {
    this.update(this.#done, this.#records, note);
  }

  stop(): void {
    this.#bar.stop();
  }

  get elapsedMs(): number {
    return Date.now() - this.#startedMs;
  }

  #payload(done: number): Readonly<Record<string, string>> {
    const seconds = Math.max(this.elapsedMs / 1_000, 0.001);
    const share = this.#total > 0 ? done / this.#total : 0;
    return {
      records: showCount(this.#records),
      note: this.#note,
      rate: showCount(Math.max(0, this.#records - this.#earlier) / seconds),
      left: share > 0.001 ? showDuration((this.elapsedMs * (1 - share)) / share) : '?',
    };
  }
}
