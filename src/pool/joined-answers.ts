import type { JoinKind } from './command-table.ts';

/** One command of several keys, as a command to each group of them. */
export interface CommandPart<Arg, Key> {
  readonly group: number;
  readonly args: Arg[];
  readonly keys: Key[];
  /** Where each of its keys stands among all. */
  readonly orders: number[];
}

/**
 * Splits `name (key value…)…` into one command for each group of keys, in the order in which groups first come. `args` are those of the whole command, the
 * name first, with `step` of them for every key.
 */
export function splitCommand<Arg, Key>(
  args: readonly Arg[],
  keys: readonly Key[],
  step: number,
  groupOf: (key: Key, order: number) => number,
): CommandPart<Arg, Key>[] {
  const parts = new Map<number, CommandPart<Arg, Key>>();
  for (const [order, key] of keys.entries()) {
    const group = groupOf(key, order);
    let part = parts.get(group);
    if (part === undefined) parts.set(group, (part = { group, args: [args[0]!], keys: [], orders: [] }));
    part.keys.push(key);
    part.orders.push(order);
    for (let i = 0; i < step; i++) part.args.push(args[1 + order * step + i]!);
  }
  return [...parts.values()];
}

/** What is done with answers, values of the library or bytes of the proxy. Undefined: it is no number, or no list. */
export interface AnswerForm<Answer> {
  numberOf(answer: Answer): number | undefined;
  elementsOf(answer: Answer): readonly Answer[] | undefined;
  ofNumber(value: number): Answer;
  ofElements(elements: readonly Answer[]): Answer;
  /** Told when answers do not fit together. */
  misfit(): unknown;
}

/** Makes the answers of several servers one, once all are there; the first error when there was one, though the other parts may have been carried out. */
export class JoinedAnswers<Answer> {
  readonly #how: JoinKind;
  readonly #form: AnswerForm<Answer>;
  readonly #orders: readonly (readonly number[])[];
  readonly #parts: (Answer | undefined)[];
  readonly #done: (answer: Answer) => void;
  readonly #failed: (error: unknown) => void;
  #missing: number;
  #error: unknown;
  #hasFailed = false;

  /** @param orders - For `array`: where each element of each part stands in the answer. */
  constructor(
    how: JoinKind,
    parts: number,
    orders: readonly (readonly number[])[],
    form: AnswerForm<Answer>,
    ends: { readonly done: (answer: Answer) => void; readonly failed: (error: unknown) => void },
  ) {
    this.#how = how;
    this.#form = form;
    this.#orders = orders;
    this.#missing = parts;
    this.#parts = new Array<Answer | undefined>(parts).fill(undefined);
    this.#done = ends.done;
    this.#failed = ends.failed;
  }

  take(part: number, answer: Answer): void {
    this.#parts[part] = answer;
    this.#count();
  }

  fail(error: unknown): void {
    if (!this.#hasFailed) this.#error = error;
    this.#hasFailed = true;
    this.#count();
  }

  #count(): void {
    if (--this.#missing > 0) return;
    if (this.#hasFailed) {
      this.#failed(this.#error);
      return;
    }
    const joined = this.#joined(this.#parts as readonly Answer[]);
    if (joined === undefined) this.#failed(this.#form.misfit());
    else this.#done(joined);
  }

  #joined(parts: readonly Answer[]): Answer | undefined {
    const form = this.#form;
    if (this.#how === 'sum') {
      let sum = 0;
      for (const part of parts) {
        const value = form.numberOf(part);
        if (value === undefined) return undefined;
        sum += value;
      }
      return form.ofNumber(sum);
    }
    if (this.#how !== 'array' && this.#how !== 'concat' && this.#how !== 'every') return parts[0];
    const lists = parts.map((part) => form.elementsOf(part));
    if (!lists.every((list) => list !== undefined)) return undefined;
    switch (this.#how) {
      case 'concat':
        return form.ofElements(lists.flat());
      case 'every':
        return form.ofElements(
          lists[0]!.map((_, i) => form.ofNumber(Number(lists.every((list) => list[i] !== undefined && form.numberOf(list[i]) === 1)))),
        );
      default: {
        const whole: Answer[] = [];
        for (const [part, list] of lists.entries()) {
          const orders = this.#orders[part]!;
          if (orders.length !== list.length) return undefined;
          for (const [i, order] of orders.entries()) whole[order] = list[i]!;
        }
        return form.ofElements(whole);
      }
    }
  }
}
