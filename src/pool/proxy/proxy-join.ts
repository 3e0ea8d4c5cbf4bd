import type { Bytes } from '../../base/bytes.ts';
import { isKeyfleetError, type KeyfleetError } from '../../base/errors.ts';
import { decimal } from '../../resp/codec/ascii.ts';
import type { JoinKind } from '../command-table.ts';
import { type AnswerForm, JoinedAnswers } from '../joined-answers.ts';
import type { ReplySink } from '../reply-sink.ts';
import type { ProxyClient } from './proxy-client.ts';
import { elementsOf } from './proxy-wire.ts';

const FRAMES: AnswerForm<Bytes> = {
  numberOf: (frame) => {
    if (frame[0] !== COLON) return undefined;
    const value = decimal(frame, 1, frame.length - 2);
    return Number.isSafeInteger(value) ? value : undefined;
  },
  elementsOf: (frame) => {
    const found = elementsOf(frame, 0, frame.length);
    return found?.bounds.map(([from, to]) => found.chunk.subarray(from, to));
  },
  ofNumber: (value) => Buffer.from(`:${value}\r\n`, 'latin1'),
  ofElements: (elements) => Buffer.concat([Buffer.from(`*${elements.length}\r\n`, 'latin1'), ...elements]),
  misfit: () => Buffer.from('-ERR the servers gave answers that cannot be joined\r\n'),
};

/** Makes the answers of several servers to a client's request one. The token of a part is its index. */
export class Join implements ReplySink<number> {
  readonly #answers: JoinedAnswers<Bytes>;

  constructor(client: ProxyClient, token: number, how: JoinKind, parts: number, orders: readonly (readonly number[])[] = []) {
    const answer = (bytes: Bytes): void => client.onReply(token, bytes, 0, bytes.length);
    this.#answers = new JoinedAnswers(how, parts, orders, FRAMES, {
      done: answer,
      failed: (error) => (isKeyfleetError(error) ? client.onFailure(token, error) : answer(error as Bytes)),
    });
  }

  onReply(part: number, bytes: Bytes, start: number, end: number): void {
    const frame = bytes.subarray(start, end);
    if (frame[0] === MINUS) this.#answers.fail(frame);
    else this.#answers.take(part, frame);
  }

  onFailure(_part: number, error: KeyfleetError): void {
    this.#answers.fail(error);
  }
}

const MINUS = 45;
const COLON = 58;
