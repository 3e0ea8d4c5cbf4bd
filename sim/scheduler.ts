import { Prng } from '../src/base/prng.ts';

// Virtual time. Everything that happens in a simulation is an event in one queue, ordered by time and, at one time, by when it was put there. Between
// two events all promises that the first one settled are worked off, so that awaits cost no time and their order is the order of events.

export interface SimEvent {
  readonly atMs: number;
  readonly order: number;
  readonly label: string;
  action: (() => void) | undefined;
}

export class Scheduler {
  readonly chance: Prng;
  #nowMs = 0;
  #order = 0;
  #events = 0;
  #hash = 0x811c9dc5;
  #promisesMoved = false;
  readonly #heap: SimEvent[] = [];

  constructor(seed: number) {
    this.chance = new Prng(seed);
  }

  /** Milliseconds since the simulation began, by the clock of the world. */
  get nowMs(): number {
    return this.#nowMs;
  }

  get eventCount(): number {
    return this.#events;
  }

  /** Of all events so far, their times and labels: two runs are the same run when theirs are equal. */
  get traceHash(): string {
    return (this.#hash >>> 0).toString(16).padStart(8, '0');
  }

  /** Adds facts to the trace that no event shows, such as the state at the end. */
  mark(text: string): void {
    for (let i = 0; i < text.length; i++) this.#hash = Math.imul(this.#hash ^ text.charCodeAt(i), 0x01000193);
  }

  /** Has `action` called after `delayMs`. Returns the event, whose action may be taken away. */
  after(delayMs: number, label: string, action: () => void): SimEvent {
    const event: SimEvent = { atMs: this.#nowMs + Math.max(0, delayMs), order: this.#order++, label, action };
    this.#push(event);
    return event;
  }

  /** To be said by whoever settles a promise that the code under test may be waiting for. */
  promisesMoved(): void {
    this.#promisesMoved = true;
  }

  /** Lets everything happen that happens before `untilMs`. Stops early when `isOver` says so. */
  async run(untilMs: number, isOver: () => boolean = () => false): Promise<void> {
    while (this.#heap.length > 0 && this.#heap[0]!.atMs <= untilMs && !isOver()) {
      const event = this.#pop();
      this.#nowMs = event.atMs;
      if (!event.action) continue;
      this.#events++;
      this.#note(event);
      event.action();
      if (!this.#promisesMoved) continue;
      this.#promisesMoved = false;
      await settled(this.#events);
    }
    if (!isOver()) this.#nowMs = Math.max(this.#nowMs, untilMs);
  }

  #note({ label, atMs }: SimEvent): void {
    let ofLabel = hashes.get(label);
    if (ofLabel === undefined) {
      ofLabel = 0;
      for (let i = 0; i < label.length; i++) ofLabel = Math.imul(ofLabel ^ label.charCodeAt(i), 0x01000193);
      hashes.set(label, ofLabel);
    }
    this.#hash = Math.imul(Math.imul(this.#hash ^ Math.floor(atMs * 1_000), 0x01000193) ^ ofLabel, 0x01000193);
  }

  #push(event: SimEvent): void {
    const heap = this.#heap;
    let at = heap.length;
    heap.push(event);
    while (at > 0) {
      const parent = (at - 1) >>> 1;
      if (!before(event, heap[parent]!)) break;
      heap[at] = heap[parent]!;
      at = parent;
    }
    heap[at] = event;
  }

  #pop(): SimEvent {
    const heap = this.#heap;
    const first = heap[0]!;
    const last = heap.pop()!;
    if (heap.length === 0) return first;
    let at = 0;
    for (;;) {
      let child = 2 * at + 1;
      if (child >= heap.length) break;
      if (child + 1 < heap.length && before(heap[child + 1]!, heap[child]!)) child++;
      if (!before(heap[child]!, last)) break;
      heap[at] = heap[child]!;
      at = child;
    }
    heap[at] = last;
    return first;
  }
}

/** Of labels, of which there are few. */
const hashes = new Map<string, number>();

/** Between so many events the process looks at the world outside. */
const BREATH = 4_096;

/**
 * Fulfilled when no promise is left that could move without another event. A next tick, asked for from a promise's own turn, comes when all promises
 * have had theirs: the same as waiting for the event loop to come round, at a fraction of the time.
 */
function settled(events: number): Promise<void> {
  return new Promise((resolve) => (events % BREATH === 0 ? setImmediate(resolve) : process.nextTick(resolve)));
}

function before(a: SimEvent, b: SimEvent): boolean {
  return a.atMs < b.atMs || (a.atMs === b.atMs && a.order < b.order);
}
