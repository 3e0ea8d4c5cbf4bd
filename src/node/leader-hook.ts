import type { Bytes } from '../base/bytes.ts';

/** Names a commit: of two, the one with the higher epoch and then the higher number is the later. What acts on the world refuses what is earlier. */
export interface FencingToken {
  readonly shard: number;
  readonly epoch: number;
  readonly seq: number;
}

/** A command that changed something, and is durable. */
export interface CommittedCommand<Command> {
  readonly keyspace: string;
  readonly token: FencingToken;
  /** Which of its entry's commands it is, from 0: token and index together name it for good. */
  readonly index: number;
  /** The first of its keys. */
  readonly key: Bytes;
  readonly command: Command;
  /** The time of the entry. */
  readonly nowMs: number;
}

export interface AnsweredQuery<Query, Answer> {
  readonly keyspace: string;
  readonly key: Bytes;
  readonly query: Query;
  readonly answer: Answer;
}

/**
 * What the leader of a keyspace's shards tells the world. It runs behind the commands: they wait for nothing that it does, and what it throws is
 * told to `onBackgroundError` and harms nobody.
 */
export interface LeaderHook<Command, Query, Answer> {
  /**
   * Called for each command that changed something, one at a time, in the order of the shard's log. `at-least-once`: until it has not thrown, also
   * after a crash, so that a command may come twice.
   */
  onCommandCommitted?(event: CommittedCommand<Command>): void | Promise<void>;
  /** Called for each query, after its answer; best effort. */
  onQueryAnswered?(event: AnsweredQuery<Query, Answer>): void | Promise<void>;
  /** `best-effort`: once at most, and not after a crash, nor when more than 10,000 wait. Default: `at-least-once`. */
  readonly delivery?: 'at-least-once' | 'best-effort';
  /** How long one call may take before it counts as failed. Default: 30,000. */
  readonly timeoutMs?: number;
  /** After so many attempts a command is passed over, and told to `onBackgroundError`. Default: never. */
  readonly giveUpAfter?: number;
}
