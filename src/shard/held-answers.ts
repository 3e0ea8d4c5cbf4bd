import type { ReplySink } from './reply-sink.ts';

// The answers that wait for one batch to become durable: flat lists instead of a promise or a closure for each, used again for the next batch.

export class HeldAnswers {
  readonly #sinks: (ReplySink<never> | undefined)[] = [];
  readonly #tokens: number[] = [];
  readonly #answers: unknown[] = [];
  readonly #areWrites: boolean[] = [];
  #count = 0;

  get count(): number {
    return this.#count;
  }

  add<T>(sink: ReplySink<T>, token: number, answer: T, isWrite: boolean): void {
    const at = this.#count++;
    this.#sinks[at] = sink as ReplySink<never>;
    this.#tokens[at] = token;
    this.#answers[at] = answer;
    this.#areWrites[at] = isWrite;
  }

  /** Tells every answer, in the order of adding, and is empty then. A sink that throws stops no other: its error is thrown once all have been told. */
  settle(): void {
    this.#tell((sink, token, answer) => sink.settled(token, answer as never));
  }

  /** Tells everyone of a failure instead; readers and writers may get different ones. */
  fail(forWrites: Error, forReads: Error): void {
    this.#tell((sink, token, _answer, isWrite) => sink.failed(token, isWrite ? forWrites : forReads));
  }

  #tell(tell: (sink: ReplySink<never>, token: number, answer: unknown, isWrite: boolean) => void): void {
    let thrown: { readonly error: unknown } | undefined;
    for (let i = 0; i < this.#count; i++) {
      const sink = this.#sinks[i]!;
      const answer = this.#answers[i];
      this.#sinks[i] = undefined;
      this.#answers[i] = undefined;
      try {
        tell(sink, this.#tokens[i]!, answer, this.#areWrites[i]!);
      } catch (error) {
        thrown ??= { error };
      }
    }
    this.#count = 0;
    if (thrown) throw thrown.error;
  }
}
