import { assert } from '../../base/assert.ts';
import { type Bytes, equalBytes } from '../../base/bytes.ts';
import { ChainHash } from '../chain-hash.ts';
import { type Entry, type EntryCommand, type EntryKind, encodeEntry } from '../entry.ts';
import type { ValueCodec } from '../value-module.ts';
import type { PendingCommand, PendingRead } from './host.ts';

// What a leader has sent to the log and not yet run. Several entries may be on their way, each ordered behind the one before it as if that
// were certain to arrive. It is not: then those behind it are void wherever they land, because their prevHash names an entry that is not there.

/** So many of those that nobody waits for, and of which nobody knows what became, are remembered. */
const MOST_SPENT = 64;

/** An entry on its way. */
export interface Proposal<Command> {
  readonly serial: number;
  /** Where it will stand, if it is appended at all. */
  readonly seq: number;
  readonly kind: EntryKind;
  readonly entry: Entry<Command>;
  readonly bytes: Bytes;
  /** Of its bytes. */
  readonly hash: Bytes;
  /** When it was sent off, by the clock of this node. */
  readonly sentMs: number;
  readonly commands: readonly PendingCommand<Command>[];
  /** Answered when it has been run, unless they have waited too long by then. */
  reads: readonly PendingRead[];
  fate: 'open' | 'appended' | 'unknown';
}

/** The end of the log as the leader expects it. */
export interface Tail {
  readonly seq: number;
  readonly hash: Bytes;
  readonly nowMs: number;
}

export class Pipeline<Command> {
  readonly #codec: ValueCodec<Command>;
  readonly #chain = new ChainHash();
  #proposals: Proposal<Command>[] = [];
  #tail: Tail | undefined;
  #lastSerial = 0;

  constructor(codec: ValueCodec<Command>) {
    this.#codec = codec;
  }

  /** In the order of sending. */
  get proposals(): readonly Proposal<Command>[] {
    return this.#proposals;
  }

  /** Makes the next entry: behind the last one sent, or behind `applied` when none is on its way. */
  propose(options: {
    readonly applied: Tail;
    readonly epoch: number;
    readonly leader: string;
    readonly wallMs: number;
    readonly sentMs: number;
    readonly kind?: 'claim' | 'resign';
    readonly basis?: number;
    readonly commands?: readonly PendingCommand<Command>[];
    readonly reads?: readonly PendingRead[];
  }): Proposal<Command> {
    const { applied, epoch, leader, wallMs, sentMs, basis, commands = [], reads = [] } = options;
    const tail = this.#tail ?? applied;
    const kind = options.kind ?? (this.#tail ? 'predicted' : 'grounded');
    assert(kind !== 'claim' || this.#tail === undefined, () => 'a claim behind entries on their way');
    const serial = ++this.#lastSerial;
    const nowMs = Math.max(Math.floor(wallMs), tail.nowMs);
    const entry: Entry<Command> = {
      kind,
      ...(basis === undefined ? {} : { basis }),
      serial,
      epoch,
      leader,
      prevHash: tail.hash,
      nowMs,
      commands: commands.map((one): EntryCommand<Command> => one.command),
    };
    const bodies = commands.map((one) => one.body);
    const bytes = encodeEntry(entry, this.#codec, bodies);
    this.#chain.start(bytes);
    const hash = this.#chain.finish();
    const proposal: Proposal<Command> = { serial, seq: tail.seq + 1, kind, entry, bytes, hash, sentMs, commands, reads, fate: 'open' };
    this.#proposals.push(proposal);
    this.#tail = { seq: proposal.seq, hash, nowMs };
    return proposal;
  }

  find(serial: number): Proposal<Command> | undefined {
    return this.#proposals.find((one) => one.serial === serial);
  }

  /** The proposal that entry `seq` of the log is, if it is one. */
  match(seq: number, bytes: Bytes): Proposal<Command> | undefined {
    return this.#proposals.find((one) => one.seq === seq && equalBytes(one.bytes, bytes));
  }

  /** Takes a proposal out: it has been run, or is known to be void. */
  remove(proposal: Proposal<Command>): void {
    this.#proposals = this.#proposals.filter((one) => one !== proposal);
    if (this.#proposals.length === 0) this.#tail = undefined;
  }

  /** Takes out claims whose places others have taken: they are void. */
  forgetUpto(seq: number): void {
    this.#proposals = this.#proposals.filter((one) => one.seq > seq);
  }

  /** The next proposal goes behind what has been run, and not behind what is on its way. */
  restart(): void {
    this.#tail = undefined;
    // While a log takes nothing, barriers and claims are sent to it without end. One that is let go and comes after all is run as anybody's.
    let left = MOST_SPENT;
    for (let i = this.#proposals.length - 1; i >= 0; i--) if (isSpent(this.#proposals[i]!) && left-- <= 0) this.#proposals.splice(i, 1);
  }

  /** Takes out all that is on its way. */
  takeAll(): Proposal<Command>[] {
    return this.takeBefore(Number.POSITIVE_INFINITY);
  }

  /** Takes out what was sent before `serial`: none of it can have an effect any more. */
  takeBefore(serial: number): Proposal<Command>[] {
    const taken = this.#proposals.filter((one) => one.serial < serial);
    this.#proposals = this.#proposals.filter((one) => one.serial >= serial);
    if (this.#proposals.length === 0) this.#tail = undefined;
    return taken;
  }
}

function isSpent({ fate, commands, reads }: Proposal<unknown>): boolean {
  return fate === 'unknown' && commands.length === 0 && reads.length === 0;
}

/** Behind it, the leader of another shard may answer for this one. */
export function isFreeze<Command>({ commands: [first] }: Proposal<Command>): boolean {
  return first?.command.kind === 'control' && first.command.control.kind === 'freeze';
}
