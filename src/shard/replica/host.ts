import type { Bytes } from '../../base/bytes.ts';
import type { Entry, EntryCommand } from '../entry.ts';
import type { Applied } from '../outcome.ts';
import type { ReplySink } from '../reply-sink.ts';
import type { AckLevel } from './acks.ts';

/** A moment by a node's own clocks. */
export interface Instant {
  /** Never goes back and counts suspends; its zero means nothing. */
  readonly monoMs: number;
  /** Milliseconds since 1970, as far as the node knows. */
  readonly wallMs: number;
}

/** The answer to an append. */
export type AppendOutcome =
  | { readonly kind: 'appended'; readonly seq: number }
  /** Somebody else's entry stands there; nothing was appended. */
  | { readonly kind: 'conflict'; readonly lastSeq: number }
  /** It may be in the log, or appear there later: read up to a later entry of one's own to find out. */
  | { readonly kind: 'unknown' };

export interface LogRecord {
  readonly seq: number;
  readonly entry: Bytes;
}

/** What a replica wants done. None of these calls back before it returns. */
export interface ReplicaHost {
  /** Appends to the shard's log; `appendSettled(serial, outcome)` tells the outcome, if anybody can. */
  append(serial: number, entry: Bytes, expectedLastSeq: number): void;
  /** Reads the log from `fromSeq` on; any number of `entriesRead`, then one `readEnded`. At most one at a time. */
  read(fromSeq: number): void;
  /** Forgets the log up to `uptoSeq`. */
  truncate(uptoSeq: number): void;
  /** The replica wrote to the open batch of the storage: it is to be committed soon. Returns its number. */
  wrote(): number;
  /** Wants `turnEnded` when everything that arrives now has arrived. */
  wantTurnEnd(): void;
  /** Tells the leader how far this replica's storage is. */
  report(leader: string, durableSeq: number): void;
  /**
   * Tells an answer whose lease ran until `leaseUntilMs`, if that is still to come by a clock read now, after the answer was computed; else
   * gives the read back by `askedAgain`.
   */
  tellLeased(read: PendingRead, answer: unknown, leaseUntilMs: number): void;
  /** An entry has been run, and had effect. What is written to the storage now is in the batch of its effects. */
  ran(entry: Entry<unknown>, seq: number, applied: Applied<unknown> & { readonly kind: 'applied' }): void;
  /** It has read the log to its end for the first time. */
  caughtUp(): void;
  /** The next entry waits for another shard's replica here to have run its entry `seq`: call `goOn` when it has. */
  waitsFor(shard: number, seq: number): void;
  /** Another leads than before, or nobody does. */
  leaderChanged(): void;
  /** The log no longer has what this replica needs, or the replica has another past: its data must come from another replica. */
  wantSnapshot(): void;
}

export interface PendingCommand<Command> {
  readonly command: EntryCommand<Command>;
  /** Its bytes in an entry, see bodyOf. */
  readonly body: Bytes;
  /** Undefined when whoever asked has been told something else meanwhile. */
  sink: ReplySink<never> | undefined;
  readonly token: number;
  readonly deadlineMs: number;
  readonly ack: AckLevel;
}

/** What whoever sends a command says of it. */
export interface CommandTerms {
  /** Default: `log+1`. */
  readonly ack?: AckLevel | undefined;
  /** He waits until then, and is told by then or soon after. */
  readonly untilMs?: number | undefined;
}

export interface PendingRead {
  readonly key: Bytes;
  readonly query: unknown;
  readonly many: boolean;
  /** Instead of a query: finds the answer in the replica's data itself. */
  readonly look?: () => unknown;
  readonly sink: ReplySink<never>;
  readonly token: number;
  readonly deadlineMs: number;
}
