import { performance } from 'node:perf_hooks';
import { setTimeout as sleep } from 'node:timers/promises';

// How a backup is written where others need the disk too. What is written without being synced gathers in memory, and when the system writes it out, at
// once, the journals and logs on the same disk wait for all of it. So little is ever unsynced, and after each sync the disk is left to the others for longer
// than that took: on a disk that is quick, or idle, it is soon the backup's turn again.

/** A file is synced when so much has been written to it. */
export const SYNC_BYTES = 1024 * 1024;
/** The disk rests from a backup this many times as long as it worked for it, and no longer than {@link LONGEST_REST_MS}. */
const RESTS = 2;
const LONGEST_REST_MS = 1_000;

export class DiskPace {
  #last: Promise<void> = Promise.resolve();

  /** Does `sync`, one at a time, with a rest behind each. @throws what it throws. */
  sync(sync: () => Promise<void>): Promise<void> {
    const done = this.#last.then(async () => {
      const beganMs = performance.now();
      await sync();
      await sleep(Math.min(LONGEST_REST_MS, RESTS * (performance.now() - beganMs)));
    });
    this.#last = done.catch(() => {});
    return done;
  }
}
