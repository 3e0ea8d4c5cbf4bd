/**
 * One request as its client saw it. `calledAt` and `returnedAt` are places in the order of all events of the run, not times: a request that
 * returned at 7 was over before one that was called at 8. Equal numbers say nothing about the order.
 */
export interface Operation<Input, Output> {
  readonly client: string;
  readonly input: Input;
  /** Undefined: nobody knows whether it took effect. It may have, at any moment after its call, however late, or never. */
  readonly output: Output | undefined;
  readonly calledAt: number;
  /** Infinity while the outcome is unknown. */
  readonly returnedAt: number;
}

export type History<Input, Output> = readonly Operation<Input, Output>[];

/** Writes down what clients do. A request that certainly had no effect (a redirect, a refusal) is taken out again by {@link forget}. */
export class HistoryRecorder<Input, Output> {
  readonly #operations: (Operation<Input, Output> | undefined)[] = [];
  #events = 0;

  /** Returns the token that names the request from now on. */
  call(client: string, input: Input): number {
    this.#operations.push({ client, input, output: undefined, calledAt: ++this.#events, returnedAt: Number.POSITIVE_INFINITY });
    return this.#operations.length - 1;
  }

  /** The request was answered. A request of which this is never said stays unknown. */
  settled(token: number, output: Output): void {
    const operation = this.#operations[token];
    if (operation) this.#operations[token] = { ...operation, output, returnedAt: ++this.#events };
  }

  forget(token: number): void {
    this.#operations[token] = undefined;
  }

  history(): History<Input, Output> {
    return this.#operations.filter((operation) => operation !== undefined);
  }
}
