import { setTimeout as sleep } from 'node:timers/promises';
import { isKeyfleetError } from '../../base/errors.ts';

/** So long a process that was there is waited for: somebody starts it again. */
const PATIENCE_MS = 60_000;
const PAUSE_MS = 500;

/**
 * Asks a process that has work under way, and that goes on with it when it is started again. While nobody answers it is asked again, which is said once on standard error.
 * @throws what `ask` throws; KF_UNREACHABLE after a minute.
 */
export async function askPatiently<T>(ask: () => Promise<T>, patienceMs = PATIENCE_MS): Promise<T> {
  const startedMs = Date.now();
  let isTold = false;
  for (;;) {
    try {
      return await ask();
    } catch (error) {
      if (!isKeyfleetError(error) || error.code !== 'KF_UNREACHABLE' || Date.now() - startedMs > patienceMs) throw error;
      if (!isTold) process.stderr.write(`\n${error.message}; what has begun goes on when it is back, which is waited for\n`);
      isTold = true;
      await sleep(PAUSE_MS);
    }
  }
}
