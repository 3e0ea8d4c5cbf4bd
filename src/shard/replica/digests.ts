import { type Bytes, copyBytes, fromHex, toHex } from '../../base/bytes.ts';
import type { Entry, EntryCommand } from '../entry.ts';
import { recordKey } from '../key-layout.ts';
import type { ShardState } from '../shard-state.ts';
import type { ShardReader } from '../shard-storage.ts';
import { type DataDigest, dataDigest, type Stretch } from './data-digest.ts';

// Replicas compare what they have, a stretch at a time. The hash chain of the log says that they have run the same entries; this says that it came to the
// same: a module that is not pure, or a disk that is not true, is found out.
//
//   the leader appends a mark: "as of this entry, the digest of this stretch"
//   each replica, on running the mark, takes the digest, and tells the leader with its next report
//   if they differ, the leader appends what most had; whoever had something else answers no more, and is brought its data from another
//
// The leader has no more weight than others, unless it is one against one: then what clients were told is the truth. If all agree, the log says nothing.

/** What a replica found as of a mark's entry. */
export interface Vote {
  readonly seq: number;
  readonly hash: Bytes;
}

export type DigestCommand = Extract<EntryCommand<never>, { readonly kind: 'digest-mark' | 'digest' }>;

/** At most so much a time: a fraction of a millisecond. */
const MAX_PAIRS = 128;
const MAX_BYTES = 64 * 1024;
/** Entries of many commands: a mark so much sooner that no more new keys than these are put in their order for it at once. */
const COMMANDS_PER_ENTRY = 8;

export interface DigestsOptions {
  readonly reader: ShardReader;
  readonly state: () => Readonly<ShardState>;
  readonly positionOf: (key: Bytes) => number;
  /** Entries between two marks; fewer, if they have many commands. */
  readonly every: number;
  /** How long the leader waits for what the others found, in milliseconds. */
  readonly votingMs: number;
}

export class Digests {
  readonly #options: DigestsOptions;
  /** As of the last mark that this replica ran. */
  #own: (Vote & { readonly next: Bytes | undefined }) | undefined;
  /** Of the leader: the mark that is being voted on, who found what, by name, and until when. */
  #voting: { readonly seq: number; readonly found: Map<string, string>; readonly untilMs: number } | undefined;
  /** What was sent and not heard of since. */
  #sent: DigestCommand['kind'] | undefined;
  #lastMark: number;
  /** Commands run since then. */
  #commands = 0;
  /** Where the last stretch in turn ended. */
  #from: Bytes = new Uint8Array(0);
  #turns = 0;
  /** A key that was written lately. */
  #written: Bytes | undefined;

  constructor(options: DigestsOptions) {
    this.#options = options;
    this.#lastMark = options.state().applied;
  }

  /** What this replica found last, to be told to the leader. */
  get vote(): Vote | undefined {
    return this.#own && { seq: this.#own.seq, hash: this.#own.hash };
  }

  /** An entry has been run. True: what this replica has differs from what most have. */
  ran(entry: Entry<unknown>, seq: number): boolean {
    let differs = false;
    this.#commands += entry.commands.length;
    for (const command of entry.commands) {
      if (command.kind === 'digest-mark') this.#take(command, seq);
      else if (command.kind === 'digest') differs ||= this.#own?.seq === command.seq && toHex(this.#own.hash) !== toHex(command.hash);
      else if (command.kind === 'command') this.#written = command.key;
    }
    return differs;
  }

  /** Another replica says what it found. */
  voted(from: string, vote: Vote): void {
    if (this.#voting?.seq === vote.seq) this.#voting.found.set(from, toHex(vote.hash));
  }

  /** What the leader, `self`, is to append now, if anything. It must hear what became of that by {@link settled}. */
  next(self: string, nowMs: number): DigestCommand | undefined {
    if (this.#sent) return undefined;
    const command = this.#decide(self, nowMs) ?? this.#mark();
    this.#sent = command?.kind;
    return command;
  }

  /** What was to be appended has been run, at `nowMs`, or was given up. */
  settled(wasRun: boolean, nowMs: number): void {
    if (wasRun && this.#own && this.#sent === 'digest-mark') {
      this.#voting = { seq: this.#own.seq, found: new Map(), untilMs: nowMs + this.#options.votingMs };
    }
    this.#sent = undefined;
  }

  /** When the time of the vote is over, and not all agree: what most found. */
  #decide(self: string, nowMs: number): DigestCommand | undefined {
    const { seq, found, untilMs } = this.#voting ?? { seq: 0, found: new Map<string, string>(), untilMs: Number.POSITIVE_INFINITY };
    if (nowMs < untilMs) return undefined;
    this.#voting = undefined;
    const own = this.#own;
    if (own?.seq !== seq) return undefined;
    found.set(self, toHex(own.hash));
    const hash = mostFound(found, self);
    return hash === undefined ? undefined : { kind: 'digest', seq, hash: fromHex(hash)! };
  }

  #mark(): DigestCommand | undefined {
    const { state, every } = this.#options;
    const { status, applied } = state();
    const isDue = applied - this.#lastMark >= every || this.#commands >= every * COMMANDS_PER_ENTRY;
    if (this.#voting || status !== 'serving' || !isDue) return undefined;
    return { kind: 'digest-mark', ...this.#nextStretch() };
  }

  /** In turn what lies there, and what was written lately. */
  #nextStretch(): Stretch {
    const { positionOf } = this.#options;
    const isAtWritten = this.#turns++ % 2 === 1 && this.#written !== undefined;
    // Without the number of the table.
    const from = isAtWritten ? copyBytes(recordKey(0, positionOf(this.#written!), this.#written!), 4) : this.#from;
    return { from, maxPairs: MAX_PAIRS, maxBytes: MAX_BYTES };
  }

  #take(stretch: Stretch, seq: number): void {
    const { reader, state } = this.#options;
    const { hash, next }: DataDigest = dataDigest(reader, state(), stretch);
    this.#own = { seq, hash, next };
    this.#lastMark = seq;
    this.#commands = 0;
    if (toHex(stretch.from) === toHex(this.#from)) this.#from = next ?? new Uint8Array(0);
  }
}

/** Undefined: all found the same. Of what equally many found, what `self` did, if that is among it. */
function mostFound(found: ReadonlyMap<string, string>, self: string): string | undefined {
  const counts = new Map<string, number>();
  for (const hash of found.values()) counts.set(hash, (counts.get(hash) ?? 0) + 1);
  if (counts.size < 2) return undefined;
  const own = found.get(self);
  const rank = (hash: string): number => 2 * counts.get(hash)! + (hash === own ? 1 : 0);
  return [...counts.keys()].sort((a, b) => rank(b) - rank(a) || (a < b ? -1 : 1))[0];
}
