import type { Bytes } from '../../base/bytes.ts';
import { KeyfleetError } from '../../base/errors.ts';
import type { EntryCommand } from '../entry.ts';
import type { Instant, PendingCommand, PendingRead } from './host.ts';
import type { Proposal } from './pipeline.ts';
import type { ReplicaTiming } from './timing.ts';

/** Of a command in an entry, beside its key and body. */
const COMMAND_OVERHEAD_BYTES = 16;
/** And of a request id, beside the client's name. */
const REQUEST_ID_BYTES = 26;

/** The requests that a replica has taken and not yet sent anywhere, and the telling of those whose time is over. */
export class Waiting<Command> {
  #commands: PendingCommand<Command>[] = [];
  /** For an entry behind them. */
  #reads: PendingRead[] = [];
  /** Until this replica has run an entry. */
  #local: { readonly read: PendingRead; readonly minSeq: number }[] = [];

  get commandCount(): number {
    return this.#commands.length;
  }

  get isEmpty(): boolean {
    return this.#commands.length === 0 && this.#reads.length === 0;
  }

  addCommand(command: PendingCommand<Command>): void {
    this.#commands.push(command);
  }

  addRead(read: PendingRead): void {
    this.#reads.push(read);
  }

  addLocal(read: PendingRead, minSeq: number): void {
    this.#local.push({ read, minSeq });
  }

  /**
   * What goes into the next entry: the first command, those behind it that fit into `maxBytes` with it, and all reads. A step of a workflow is alone
   * among commands.
   */
  takeForEntry(maxBytes: number): { readonly commands: PendingCommand<Command>[]; readonly reads: PendingRead[] } {
    let count = 0;
    let bytes = 0;
    while (count < this.#commands.length) {
      const { command, body } = this.#commands[count]!;
      const isStep = command.kind === 'control';
      if (count > 0 && isStep) break;
      bytes += sizeOf(command, body) + COMMAND_OVERHEAD_BYTES;
      if (count > 0 && bytes > maxBytes) break;
      count++;
      if (isStep) break;
    }
    return { commands: this.#commands.splice(0, count), reads: this.#reads.splice(0) };
  }

  /** Puts what was sent without effect before all others, in its old order. */
  putBack(proposals: readonly Proposal<Command>[]): void {
    if (proposals.length === 0) return;
    this.#commands = [...proposals.flatMap((one) => one.commands).filter((one) => one.sink !== undefined), ...this.#commands];
    this.#reads = [...proposals.flatMap((one) => one.reads), ...this.#reads];
  }

  /** Those that wait for no more than entry `applied`. */
  takeLocal(applied: number): PendingRead[] {
    if (this.#local.length === 0) return [];
    const ready = this.#local.filter((one) => one.minSeq <= applied).map((one) => one.read);
    this.#local = this.#local.filter((one) => one.minSeq > applied);
    return ready;
  }

  /** Tells those that have waited too long what is known of their request: `late`; of a command on its way, nothing. */
  expire(nowMs: number, late: () => KeyfleetError, sent: readonly Proposal<Command>[]): void {
    const isDue = (one: { readonly deadlineMs: number }): boolean => one.deadlineMs <= nowMs;
    if (this.#commands.some(isDue)) {
      for (const one of this.#commands) if (isDue(one)) failCommand(one, late());
      this.#commands = this.#commands.filter((one) => one.sink !== undefined);
    }
    const reads = this.#reads.filter(isDue);
    for (const proposal of sent) {
      for (const one of proposal.commands) {
        if (one.sink && isDue(one)) failCommand(one, outcomeUnknown('the log did not say in time whether it took the entry'));
      }
      const late = proposal.reads.filter(isDue);
      if (late.length === 0) continue;
      proposal.reads = proposal.reads.filter((read) => !isDue(read));
      reads.push(...late);
    }
    if (reads.length > 0) this.#reads = this.#reads.filter((read) => !isDue(read));
    const local = this.#local.filter(({ read }) => isDue(read));
    if (local.length > 0) this.#local = this.#local.filter(({ read }) => !isDue(read));
    for (const read of reads) failRead(read, late());
    for (const { read } of local) failRead(read, late());
  }

  /** Tells everyone who waits for an entry. */
  fail(error: KeyfleetError): void {
    for (const one of this.#commands.splice(0)) failCommand(one, error);
    for (const read of this.#reads.splice(0)) failRead(read, error);
  }

  /** Tells everyone who waits for this replica to catch up. */
  failLocal(error: KeyfleetError): void {
    for (const { read } of this.#local.splice(0)) failRead(read, error);
  }
}

/** Until when a request waits here that came `now`: no longer than whoever asks. */
export function deadlineMs(timing: Pick<ReplicaTiming, 'requestTimeoutMs'>, now: Instant, untilMs = Number.POSITIVE_INFINITY): number {
  return Math.min(untilMs, now.monoMs + timing.requestTimeoutMs);
}

export function failCommand<Command>(one: PendingCommand<Command>, error: Error): void {
  const { sink } = one;
  one.sink = undefined;
  sink?.failed(one.token, error);
}

export function failRead(read: PendingRead, error: Error): void {
  read.sink.failed(read.token, error);
}

/** Tells everyone who waits for entries on their way. */
export function failSent<Command>(proposals: readonly Proposal<Command>[], forCommands: Error, forReads: Error): void {
  for (const { commands, reads } of proposals) {
    for (const one of commands) failCommand(one, forCommands);
    for (const read of reads) failRead(read, forReads);
  }
}

export function outcomeUnknown(why: string): KeyfleetError {
  return new KeyfleetError('KF_OUTCOME_UNKNOWN', `the command may or may not have an effect: ${why}`);
}

/** What a command adds to an entry, beside some bytes that all have. */
export function sizeOf<Command>(command: EntryCommand<Command>, body: Bytes): number {
  if (!('key' in command)) return body.length;
  return command.key.length + body.length + (command.request ? command.request.clientId.length + REQUEST_ID_BYTES : 0);
}
