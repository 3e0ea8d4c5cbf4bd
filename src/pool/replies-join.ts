import { KeyfleetError } from '../base/errors.ts';
import type { JoinKind } from './command-table.ts';
import { type AnswerForm, JoinedAnswers } from './joined-answers.ts';
import type { ReplyValue } from './reply-value.ts';
import type { Pending } from './server-link.ts';

const VALUES: AnswerForm<ReplyValue> = {
  numberOf: (value) => (typeof value === 'number' || typeof value === 'bigint' ? Number(value) : undefined),
  elementsOf: (value) => (Array.isArray(value) ? value : undefined),
  ofNumber: (value) => value,
  ofElements: (elements) => [...elements],
  misfit: () => new KeyfleetError('KF_REDIS_ERROR', 'the servers gave answers that cannot be joined'),
};

/** Makes the answers of several servers one, and hands it on when all are there; the first error when one failed. */
export class JoinedReplies {
  readonly #target: Pending;
  readonly #answers: JoinedAnswers<ReplyValue>;

  constructor(target: Pending, how: JoinKind, parts: number, orders: readonly (readonly number[])[] = []) {
    this.#target = target;
    this.#answers = new JoinedAnswers(how, parts, orders, VALUES, {
      done: (value) => target.resolve(value),
      failed: (error) => target.reject(error),
    });
  }

  /** Who hears of the answer to part `index`. */
  part(index: number): Pending {
    return {
      asBuffers: this.#target.asBuffers,
      resolve: (value) => this.#answers.take(index, value),
      reject: (error) => this.#answers.fail(error),
    };
  }
}
