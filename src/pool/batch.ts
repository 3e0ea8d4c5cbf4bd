import { KeyfleetError } from '../base/errors.ts';
import type { ReplyValue } from './reply-value.ts';
import type { CommandArg } from './request-encoder.ts';

export type BatchResult = ReplyValue | KeyfleetError;

/** Commands gathered to go out together: `pool.multi().add('INCR', 'a').add('GET', 'a').exec()`. */
export class Batch {
  readonly #commands: (readonly CommandArg[])[] = [];
  readonly #run: (commands: readonly (readonly CommandArg[])[]) => Promise<BatchResult[]>;
  #sent = false;

  constructor(run: (commands: readonly (readonly CommandArg[])[]) => Promise<BatchResult[]>) {
    this.#run = run;
  }

  get length(): number {
    return this.#commands.length;
  }

  /** One more command, the name first. */
  add(...args: CommandArg[]): this {
    this.#commands.push(args);
    return this;
  }

  /** Sends all; the answers in their order, error replies among them as values. @throws KF_BAD_COMMAND when it was sent before. */
  exec(): Promise<BatchResult[]> {
    if (this.#sent) return Promise.reject(new KeyfleetError('KF_BAD_COMMAND', 'this batch has been sent already'));
    this.#sent = true;
    return this.#commands.length === 0 ? Promise.resolve([]) : this.#run(this.#commands);
  }
}
