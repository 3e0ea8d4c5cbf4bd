import type { KeyfleetError } from '../base/errors.ts';

/** A shard is split or merged in milliseconds; when it takes so long, something is wrong, and the client is told. */
const LONGEST_MS = 10_000;
/** More are refused at once. */
const MOST = 100_000;

/** Requests for a shard that serves nobody just now. They are tried again, in the order of their coming, when the shards have changed. */
export class ParkedRequests {
  readonly #waiting: { readonly retry: () => void; readonly fail: () => void; readonly untilMs: number }[] = [];
  #timer: NodeJS.Timeout | undefined;

  /** `fail` is called with nobody's help after {@link LONGEST_MS}, with `why` the shard does not serve. */
  add(retry: () => void, fail: (why: KeyfleetError) => void, why: KeyfleetError): void {
    if (this.#waiting.length >= MOST) {
      fail(why);
      return;
    }
    this.#waiting.push({ retry, fail: () => fail(why), untilMs: performance.now() + LONGEST_MS });
    this.#timer ??= setTimeout(() => this.#giveUp(), LONGEST_MS);
  }

  /** Tries all of them again. Those that find no shard even now are added again. */
  release(): void {
    for (const { retry } of this.#waiting.splice(0)) retry();
    if (this.#waiting.length > 0) return;
    clearTimeout(this.#timer);
    this.#timer = undefined;
  }

  #giveUp(): void {
    const nowMs = performance.now();
    while (this.#waiting.length > 0 && this.#waiting[0]!.untilMs <= nowMs) this.#waiting.shift()!.fail();
    const first = this.#waiting[0];
    this.#timer = first && setTimeout(() => this.#giveUp(), Math.max(1, first.untilMs - nowMs));
  }
}
