import type { JoinKind } from './proxy-commands.ts';
import type { ReplyValue } from './reply-value.ts';
import type { Pending } from './server-link.ts';

/** Makes the answers of several servers one, and hands it on when all are there; the first error when one failed. */
export class JoinedReplies {
  readonly #target: Pending;
  readonly #how: JoinKind;
  readonly #parts: (ReplyValue | undefined)[];
  /** For `array`: where each element of each part stands in the answer. */
  readonly #orders: readonly (readonly number[])[];
  #missing: number;
  #error: unknown;
  #failed = false;

  constructor(target: Pending, how: JoinKind, parts: number, orders: readonly (readonly number[])[] = []) {
    this.#target = target;
    this.#how = how;
    this.#missing = parts;
    this.#parts = new Array<ReplyValue | undefined>(parts).fill(undefined);
    this.#orders = orders;
  }

  /** Who hears of the answer to part `index`. */
  part(index: number): Pending {
    return {
      asBuffers: this.#target.asBuffers,
      resolve: (value) => {
        this.#parts[index] = value;
        this.#done();
      },
      reject: (error) => {
        if (!this.#failed) this.#error = error;
        this.#failed = true;
        this.#done();
      },
    };
  }

  #done(): void {
    if (--this.#missing > 0) return;
    if (this.#failed) this.#target.reject(this.#error);
    else this.#target.resolve(this.#joined());
  }

  #joined(): ReplyValue {
    const parts = this.#parts as ReplyValue[];
    switch (this.#how) {
      case 'sum':
        return parts.reduce<number>((sum, part) => sum + Number(part), 0);
      case 'array': {
        const joined: ReplyValue[] = [];
        this.#orders.forEach((orders, part) => {
          orders.forEach((order, i) => {
            joined[order] = (parts[part] as ReplyValue[])[i] ?? null;
          });
        });
        return joined;
      }
      case 'concat':
        return parts.flatMap((part) => part as ReplyValue[]);
      case 'every':
        return (parts as ReplyValue[][]).reduce((all, part) => all.map((one, i) => (one === 1 && part[i] === 1 ? 1 : 0)));
      default:
        return parts[0]!;
    }
  }
}
