/** Runs tasks one after the other per name, in the order they came, and side by side across names. Keeps nothing of a name at rest. */
export class KeyedMutex {
  readonly #tails = new Map<string, Promise<unknown>>();

  /** Nobody has the name: what is done until the next await is alone with it. */
  isFree(name: string): boolean {
    return !this.#tails.has(name);
  }

  run<T>(name: string, task: () => Promise<T>): Promise<T> {
    const before = this.#tails.get(name);
    const result = before === undefined ? task() : before.then(task, task);
    this.#tails.set(name, result);
    const forget = (): void => {
      if (this.#tails.get(name) === result) this.#tails.delete(name);
    };
    result.then(forget, forget);
    return result;
  }
}
