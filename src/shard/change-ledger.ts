import type { CountChange } from './shard-record.ts';
import type { ShardState } from './shard-state.ts';
import type { SlotCounts } from './slot-counts.ts';

/** What the running command has changed of the shard's counts, as a whole and by slot; taken over only when the command has gone well. */
export class ChangeLedger {
  /** For {@link ShardRecord.take} to add to. */
  readonly change: CountChange = { keys: 0, bytes: 0, expiring: 0 };
  /** What of it is in `#bySlot`: position, keys, bytes, expiring of each record that was changed. */
  readonly #noted: CountChange = { keys: 0, bytes: 0, expiring: 0 };
  readonly #bySlot: number[] = [];

  begin(): void {
    clear(this.change);
    clear(this.#noted);
    // Setting a length leaves JavaScript, and most commands change no count.
    if (this.#bySlot.length > 0) this.#bySlot.length = 0;
  }

  /** What has changed since the last call is of the record there. */
  note(position: number): void {
    const { keys, bytes, expiring } = this.change;
    const noted = this.#noted;
    if (keys === noted.keys && bytes === noted.bytes && expiring === noted.expiring) return;
    this.#bySlot.push(position, keys - noted.keys, bytes - noted.bytes, expiring - noted.expiring);
    noted.keys = keys;
    noted.bytes = bytes;
    noted.expiring = expiring;
  }

  takeOver(state: ShardState, counts: SlotCounts | undefined): void {
    const { change } = this;
    state.keyCount += change.keys;
    state.sizeBytes += change.bytes;
    state.expiringCount += change.expiring;
    if (!counts) return;
    const slots = this.#bySlot;
    for (let at = 0; at < slots.length; at += 4) counts.add(slots[at]!, slots[at + 1]!, slots[at + 2]!, slots[at + 3]!);
  }
}

function clear(change: CountChange): void {
  change.keys = 0;
  change.bytes = 0;
  change.expiring = 0;
}
