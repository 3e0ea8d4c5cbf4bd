import type { KeyfleetError } from '../../base/errors.ts';
import { HeldAnswers } from '../held-answers.ts';
import type { ReplySink } from '../reply-sink.ts';
import type { PendingCommand } from './host.ts';

/** When a command that has been run is answered: the log's quorum has it; and the leader's storage too; and that of another replica too. */
export type AckLevel = 'log' | 'log+1' | 'log+quorum';

interface WaitsForOthers {
  readonly seq: number;
  readonly sink: ReplySink<never>;
  readonly token: number;
  readonly reply: unknown;
  readonly deadlineMs: number;
}

/** Answers of commands that have been run, until enough storages have them. */
export class Acks {
  /** By the batch of this node's storage that they wait for, oldest first. */
  readonly #held: { readonly number: number; seq: number; readonly answers: HeldAnswers }[] = [];
  /** In the order of the log. */
  #forOthers: WaitsForOthers[] = [];
  #durableSeq: number;
  /** The last entry that the storage of another replica has. */
  #othersSeq = 0;

  constructor(durableSeq: number) {
    this.#durableSeq = durableSeq;
  }

  /** The last entry whose effects are durable here. */
  get durableSeq(): number {
    return this.#durableSeq;
  }

  /** Somebody waits for other replicas' storages. */
  get wantsReports(): boolean {
    return this.#forOthers.length > 0;
  }

  /** Entry `seq` is in batch `number`. To be called for each, in order. */
  ran(seq: number, number: number): void {
    const last = this.#held.at(-1);
    if (last?.number === number) last.seq = seq;
    else this.#held.push({ number, seq, answers: new HeldAnswers() });
  }

  /** Tells the reply of a command of the entry that was run last, when its `ack` allows it; an error at once. */
  add({ sink, token, ack, deadlineMs }: PendingCommand<unknown>, reply: unknown): void {
    const { seq, answers } = this.#held.at(-1)!;
    if (!sink) return;
    if (reply instanceof Error) sink.failed(token, reply);
    else if (ack === 'log') sink.settled(token, reply as never);
    else if (ack === 'log+1') answers.add(sink, token, reply as never, true);
    else this.#forOthers.push({ seq, sink, token, reply, deadlineMs });
  }

  /** Batches of the storage up to `number` are durable. */
  storageDurable(number: number): void {
    while (this.#held.length > 0 && this.#held[0]!.number <= number) {
      const { seq, answers } = this.#held.shift()!;
      this.#durableSeq = Math.max(this.#durableSeq, seq);
      answers.settle();
    }
    this.#settle();
  }

  /** Another replica's storage has come to entry `seq`. */
  otherDurable(seq: number): void {
    if (seq <= this.#othersSeq) return;
    this.#othersSeq = seq;
    this.#settle();
  }

  /** Those that have waited too long for others are told `late`. */
  expire(nowMs: number, late: () => KeyfleetError): void {
    if (!this.#forOthers.some(({ deadlineMs }) => deadlineMs <= nowMs)) return;
    const due = this.#forOthers.filter(({ deadlineMs }) => deadlineMs <= nowMs);
    this.#forOthers = this.#forOthers.filter(({ deadlineMs }) => deadlineMs > nowMs);
    for (const { sink, token } of due) sink.failed(token, late());
  }

  fail(unknown: KeyfleetError, why: KeyfleetError): void {
    for (const { sink, token } of this.#forOthers.splice(0)) sink.failed(token, unknown);
    for (const { answers } of this.#held.splice(0)) answers.fail(unknown, why);
  }

  #settle(): void {
    const upto = Math.min(this.#durableSeq, this.#othersSeq);
    while (this.#forOthers.length > 0 && this.#forOthers[0]!.seq <= upto) {
      const { sink, token, reply } = this.#forOthers.shift()!;
      sink.settled(token, reply as never);
    }
  }
}
