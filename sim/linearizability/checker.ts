import { assert } from '../../src/base/assert.ts';
import type { History, Operation } from './history.ts';

// Is there one order of all requests, respecting that a request which returned before another was called comes before it, in which a
// sequential machine gives exactly the answers that clients saw?
//
// The search is that of Wing and Gong as Lowe made it quick, and as Porcupine does it: walk the calls that could be next, try one, take it out
// of the list, go on; at the first return whose call has not been placed, take the last choice back. Every pair (set of requests placed, state)
// is looked at once. Keys are checked one by one (`partition`), which is sound because linearizability is local and turns one long search
// into many short ones.
//
// A request of unknown outcome has a call and no return: it may be placed anywhere after its call, or left out. Such requests are what makes
// the search explode, so: they are tried last; of several with the same input only the earliest is tried (any other would do no better); and
// a model may say that one of them has left no trace in any answer, and then it is left out.
//
// @see Wing, Gong: Testing and verifying concurrent objects, 1993. Lowe: Testing for linearizability, 2017. Athalye: Porcupine, 2017.

export interface Model<State extends string | number, Input, Output> {
  readonly initial: State;
  /** The state after `input`, or undefined when `input` cannot have been answered with `output` in `state`. An undefined output fits always. */
  step(state: State, input: Input, output: Output | undefined): State | undefined;
  /** What of the state this request touches; requests of different parts know nothing of each other. Absent: one part. */
  partition?(input: Input): string;
  /** Whether anybody could tell if a request of unknown outcome took effect, judged by what `answered` saw. Absent: yes. */
  leftTrace?(input: Input, answered: History<Input, Output>): boolean;
}

export type Verdict<Input, Output> =
  | { readonly kind: 'linearizable'; readonly steps: number }
  /** No order explains `part`. The longest attempt placed `placed` in this order; `stuck` had to come next and cannot. */
  | {
      readonly kind: 'violation';
      readonly part: string;
      readonly steps: number;
      readonly placed: History<Input, Output>;
      readonly stuck: Operation<Input, Output>;
    }
  /** The search gave up after `steps`. Neither a proof nor a find. */
  | { readonly kind: 'undecided'; readonly part: string; readonly steps: number };

export interface CheckOptions {
  /** For each part, the choices tried before it is given up. Default: 2 million, some seconds. */
  readonly maxSteps?: number;
}

/** Whether `history` is linearizable with respect to `model`. Cost: near linear for histories that are, exponential in concurrency at worst. */
export function checkLinearizable<State extends string | number, Input, Output>(
  model: Model<State, Input, Output>,
  history: History<Input, Output>,
  options: CheckOptions = {},
): Verdict<Input, Output> {
  const { maxSteps = 2_000_000 } = options;
  const parts = new Map<string, Operation<Input, Output>[]>();
  for (const operation of history) {
    assert(operation.calledAt <= operation.returnedAt, () => `an operation called at ${operation.calledAt}, after its return`);
    const part = model.partition?.(operation.input) ?? '';
    const of = parts.get(part);
    if (of) of.push(operation);
    else parts.set(part, [operation]);
  }
  let steps = 0;
  let undecided: Verdict<Input, Output> | undefined;
  for (const [part, operations] of parts) {
    const verdict = new Search(model, operations, part, maxSteps).run();
    steps += verdict.steps;
    if (verdict.kind === 'violation') return { ...verdict, steps };
    if (verdict.kind === 'undecided') undecided ??= verdict;
  }
  return undecided ?? { kind: 'linearizable', steps };
}

/** A list node: the call or the return of request `id`. `at` orders them; calls stand before returns of the same number. */
interface Node {
  readonly id: number;
  readonly at: number;
  readonly isCall: boolean;
  /** Of a call: its return. */
  mate: Node | undefined;
  prev: Node | undefined;
  next: Node | undefined;
}

interface Choice<State> {
  readonly node: Node;
  readonly state: State;
}

class Search<State extends string | number, Input, Output> {
  readonly #model: Model<State, Input, Output>;
  readonly #operations: Operation<Input, Output>[];
  readonly #part: string;
  readonly #maxSteps: number;
  /** Calls and returns of the answered requests, in order, behind a node that is none. */
  readonly #answered: Node;
  /** Calls of the others. */
  readonly #unknown: Node;
  /** For each request of unknown outcome: the last one before it with the same input, which must be placed first; else -1. */
  readonly #twin: Int32Array;
  readonly #placed: Uint32Array;
  readonly #seen: SeenSet<State>;
  #left: number;

  constructor(model: Model<State, Input, Output>, operations: readonly Operation<Input, Output>[], part: string, maxSteps: number) {
    this.#model = model;
    this.#part = part;
    this.#maxSteps = maxSteps;
    const answered = operations.filter((operation) => operation.returnedAt !== Number.POSITIVE_INFINITY);
    const unknown = operations.filter(
      (operation) => operation.returnedAt === Number.POSITIVE_INFINITY && (model.leftTrace?.(operation.input, answered) ?? true),
    );
    this.#operations = [...answered, ...unknown];
    this.#left = answered.length;
    this.#answered = linked(
      answered.flatMap((operation, id) => {
        const back: Node = { id, at: operation.returnedAt, isCall: false, mate: undefined, prev: undefined, next: undefined };
        return [{ id, at: operation.calledAt, isCall: true, mate: back, prev: undefined, next: undefined }, back];
      }),
    );
    this.#unknown = linked(
      unknown.map(({ calledAt }, index) => ({
        id: answered.length + index,
        at: calledAt,
        isCall: true,
        mate: undefined,
        prev: undefined,
        next: undefined,
      })),
    );
    this.#twin = new Int32Array(this.#operations.length).fill(-1);
    const lastOf = new Map<string, number>();
    for (let node = this.#unknown.next; node; node = node.next) {
      const input = JSON.stringify(this.#operations[node.id]!.input);
      this.#twin[node.id] = lastOf.get(input) ?? -1;
      lastOf.set(input, node.id);
    }
    this.#placed = new Uint32Array((this.#operations.length + 31) >>> 5);
    this.#seen = new SeenSet(this.#operations.length);
  }

  run(): Verdict<Input, Output> {
    const choices: Choice<State>[] = [];
    let state = this.#model.initial;
    let node = this.#answered.next;
    let steps = 0;
    let longest: readonly number[] = [];
    let stuckId = this.#answered.next?.id ?? 0;
    while (this.#left > 0) {
      const next = node && this.#candidate(node) ? this.#tryStep(state, node) : undefined;
      if (next !== undefined) {
        if (++steps > this.#maxSteps) return { kind: 'undecided', part: this.#part, steps };
        choices.push({ node: node!, state });
        state = next;
        this.#take(node!);
        if (choices.length > longest.length) {
          longest = choices.map((choice) => choice.node.id);
          stuckId = this.#firstReturn()?.id ?? stuckId;
        }
        node = this.#answered.next;
        continue;
      }
      node = this.#successor(node);
      while (node === undefined) {
        const last = choices.pop();
        if (!last) {
          const placed = longest.map((id) => this.#operations[id]!);
          return { kind: 'violation', part: this.#part, steps, placed, stuck: this.#operations[stuckId]! };
        }
        this.#putBack(last.node);
        state = last.state;
        node = this.#successor(last.node);
      }
    }
    return { kind: 'linearizable', steps };
  }

  /** A call may be next when no return stands before it, which the walk sees to, and its twin, if any, is placed. */
  #candidate(node: Node): boolean {
    const twin = this.#twin[node.id]!;
    return node.isCall && (twin < 0 || (this.#placed[twin >>> 5]! & (1 << (twin & 31))) !== 0);
  }

  /** The call to look at after `node`: those of answered requests up to the first return, then the unknown ones called before that return. */
  #successor(node: Node | undefined): Node | undefined {
    let next = node?.next;
    const wasUnknown = node !== undefined && node.mate === undefined && node.isCall;
    if (!wasUnknown) {
      if (node?.isCall && next?.isCall) return next;
      next = this.#unknown.next;
    }
    if (!next) return undefined;
    const limit = this.#firstReturn();
    return limit && next.at > limit.at ? undefined : next;
  }

  #firstReturn(): Node | undefined {
    let node = this.#answered.next;
    while (node?.isCall) node = node.next;
    return node;
  }

  /** The state behind `node`, when the model allows it and that place has not been looked at. */
  #tryStep(state: State, node: Node): State | undefined {
    const { input, output } = this.#operations[node.id]!;
    const next = this.#model.step(state, input, output);
    if (next === undefined) return undefined;
    return this.#seen.add(this.#placed, node.id, next) ? next : undefined;
  }

  #take(node: Node): void {
    unlink(node);
    if (node.mate) {
      unlink(node.mate);
      this.#left--;
    }
    this.#flip(node.id);
  }

  #putBack(node: Node): void {
    if (node.mate) {
      relink(node.mate);
      this.#left++;
    }
    relink(node);
    this.#flip(node.id);
  }

  #flip(id: number): void {
    this.#placed[id >>> 5]! ^= 1 << (id & 31);
    this.#seen.flip(id);
  }
}

/** The pairs (set of placed requests, state) that were looked at; sets are hashed piece by piece (Zobrist), and compared whole. */
class SeenSet<State extends string | number> {
  readonly #zobrist: Uint32Array;
  readonly #buckets = new Map<number, { readonly placed: Uint32Array; readonly state: State }[]>();
  #hash = 0;

  constructor(count: number) {
    this.#zobrist = Uint32Array.from({ length: count }, (_, id) => {
      let mixed = Math.imul(id + 1, 0x9e3779b9);
      mixed = Math.imul(mixed ^ (mixed >>> 16), 0x85ebca6b);
      mixed = Math.imul(mixed ^ (mixed >>> 13), 0xc2b2ae35);
      return mixed ^ (mixed >>> 16);
    });
  }

  flip(id: number): void {
    this.#hash ^= this.#zobrist[id]!;
  }

  /** Adds (`placed` with `id`, `state`); false when it is there. */
  add(placed: Uint32Array, id: number, state: State): boolean {
    const hash = this.#hash ^ this.#zobrist[id]!;
    const word = id >>> 5;
    const withId = placed[word]! | (1 << (id & 31));
    const bucket = this.#buckets.get(hash);
    if (bucket) {
      for (const one of bucket) if (one.state === state && equalBut(one.placed, placed, word, withId >>> 0)) return false;
    }
    const copy = placed.slice();
    copy[word] = withId;
    if (bucket) bucket.push({ placed: copy, state });
    else this.#buckets.set(hash, [{ placed: copy, state }]);
    return true;
  }
}

/** `a` equals `b` with its word `at` replaced by `word`. */
function equalBut(a: Uint32Array, b: Uint32Array, at: number, word: number): boolean {
  for (let i = 0; i < a.length; i++) if (a[i] !== (i === at ? word : b[i])) return false;
  return true;
}

function linked(nodes: Node[]): Node {
  nodes.sort((a, b) => a.at - b.at || Number(b.isCall) - Number(a.isCall));
  const head: Node = { id: -1, at: 0, isCall: false, mate: undefined, prev: undefined, next: undefined };
  let last = head;
  for (const node of nodes) {
    last.next = node;
    node.prev = last;
    last = node;
  }
  return head;
}

function unlink(node: Node): void {
  node.prev!.next = node.next;
  if (node.next) node.next.prev = node.prev;
}

/** Undoes {@link unlink}, in the reverse order of the unlinkings. */
function relink(node: Node): void {
  node.prev!.next = node;
  if (node.next) node.next.prev = node;
}
