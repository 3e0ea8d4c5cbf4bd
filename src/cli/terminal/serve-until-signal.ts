import { EXIT } from './exit-code.ts';
import type { Logger } from './logger.ts';

const SHUTDOWN_MS = 15_000;

/** The first SIGTERM or SIGINT from now on. To be called before anybody is told that we are up, and may end us for it. */
export function nextSignal(): Promise<string> {
  return new Promise<string>((resolve) => {
    for (const name of ['SIGTERM', 'SIGINT'] as const) process.once(name, () => resolve(name));
  });
}

/** Waits for the signal, then ends by `close`; a second SIGINT ends at once. Resolves to the exit code. */
export async function serveUntilSignal(log: Logger, coming: Promise<string>, close: () => Promise<void>): Promise<number> {
  const signal = await coming;
  process.on('SIGINT', () => process.exit(EXIT.interrupted));
  log.info({ signal }, 'ending: no new connections, answering what is under way');
  setTimeout(() => process.exit(EXIT.failed), SHUTDOWN_MS).unref();
  await close();
  return EXIT.ok;
}
