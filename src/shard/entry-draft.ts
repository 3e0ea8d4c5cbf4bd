import type { Bytes } from '../base/bytes.ts';
import { ChainHash } from './chain-hash.ts';
import { type Entry, type EntryCommand, encodeEntryHeader, hashCommand, hashKeyed, KIND_COMMAND, KIND_COMMAND_MANY } from './entry.ts';
import { inPlace } from './in-place-codec.ts';
import type { InPlaceCodec, ValueCodec } from './value-module.ts';

/** The open entry of a shard that orders commands by running them: its hash so far, and its commands where somebody wants them. */
export class EntryDraft<Command> {
  readonly #chain = new ChainHash();
  readonly #codec: InPlaceCodec<Command>;
  readonly #keeps: boolean;
  #header: Omit<Entry<Command>, 'commands'> | undefined;
  #kept: EntryCommand<Command>[] = [];
  #changed: boolean[] = [];
  #count = 0;
  #isLogged = false;
  /** Where it is known beforehand. */
  #hash: Bytes | undefined;

  constructor(codec: ValueCodec<Command>, keeps: boolean) {
    this.#codec = inPlace(codec);
    this.#keeps = keeps;
  }

  begin(header: Omit<Entry<Command>, 'commands'>): void {
    this.#header = header;
    this.#count = 0;
    this.#kept = [];
    this.#changed = [];
    this.#isLogged = false;
    this.#hash = undefined;
    this.#chain.start(encodeEntryHeader(header));
  }

  /**
   * Begins with all that a log says of the entry; what is added to it then counts for nothing. `also`: what else is in its hash; `bytes`: the
   * entry as it stands in the log, where that is at hand, and `hash` its hash.
   */
  beginLogged(entry: Entry<Command>, also: Bytes | undefined, bytes?: Bytes, hash?: Bytes): void {
    if (bytes) {
      this.#hash = also ? undefined : hash;
      if (!this.#hash) this.#chain.start(bytes);
      this.#count = 0;
    } else {
      this.begin(entry);
      for (const command of entry.commands) hashCommand(this.#chain, command, this.#codec);
    }
    if (also) this.#chain.add(also);
    this.#isLogged = true;
  }

  get isEmpty(): boolean {
    return this.#count === 0;
  }

  /** A command without a request id that changed something, the most common of all. */
  addKeyed(kind: 'command' | 'command-many', key: Bytes, command: Command): void {
    this.#count++;
    if (this.#isLogged) return;
    hashKeyed(this.#chain, kind === 'command' ? KIND_COMMAND : KIND_COMMAND_MANY, key, command, this.#codec);
    if (this.#keeps) this.#keep({ kind, key, command }, true);
  }

  /** `changed`: more than what is remembered of requests. */
  add(command: EntryCommand<Command>, changed = true): void {
    this.#count++;
    if (this.#isLogged) return;
    hashCommand(this.#chain, command, this.#codec);
    if (this.#keeps) this.#keep(command, changed);
  }

  #keep(command: EntryCommand<Command>, changed: boolean): void {
    this.#kept.push(command);
    this.#changed.push(changed);
  }

  /** Which of the commands of {@link entry} changed something. */
  get changed(): readonly boolean[] {
    return this.#changed;
  }

  /** The entry's hash. Asked for once. */
  hash(): Bytes {
    return this.#hash ?? this.#chain.finish();
  }

  /** The entry, where commands are kept and it did not come from a log. */
  entry(): Entry<Command> | undefined {
    return this.#keeps && !this.#isLogged && this.#header ? { ...this.#header, commands: this.#kept } : undefined;
  }
}
