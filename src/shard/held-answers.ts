import type { ReplySink } from './reply-sink.ts';

// The answers that wait for one batch to become durable: flat lists instead of a promise or a closure for each.

export class HeldAnswers {
  #sinks: ReplySink<never>[] = [];
  #tokens: number[] = [];
  #answers: unknown[] = [];
  #areWrites: boolean[] = [];

  get count(): number {
    return this.#sinks.length;
  }

  add<T>(sink: ReplySink<T>, token: number, answer: T, isWrite: boolean): void {
    this.#sinks.push(sink as ReplySink<never>);
    this.#tokens.push(token);
    this.#answers.push(answer);
    this.#areWrites.push(isWrite);
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
    const sinks = this.#sinks;
    const tokens = this.#tokens;
    const answers = this.#answers;
    const areWrites = this.#areWrites;
    let thrown: { readonly error: unknown } | undefined;
    for (let i = 0; i < sinks.length; i++) {
      try {
        tell(sinks[i]!, tokens[i]!, answers[i], areWrites[i]!);
      } catch (error) {
        thrown ??= { error };
      }
    }
    this.#sinks = [];
    this.#tokens = [];
    this.#answers = [];
    this.#areWrites = [];
    if (thrown) throw thrown.error;
  }
}
