import { EXIT } from './exit-code.ts';
import type { Logger } from './logger.ts';

const SHUTDOWN_MS = 15_000;

/** Waits for SIGTERM or SIGINT, then ends by `close`; a second SIGINT ends at once. Resolves to the exit code. */
export async function serveUntilSignal(log: Logger, close: () => Promise<void>): Promise<number> {
  const signal = await new Promise<string>((resolve) => {
    for (const name of ['SIGTERM', 'SIGINT'] as const) process.once(name, () => resolve(name));
  });
  process.on('SIGINT', () => process.exit(EXIT.interrupted));
  log.info({ signal }, 'ending: no new connections, answering what is under way');
  setTimeout(() => process.exit(EXIT.failed), SHUTDOWN_MS).unref();
  await close();
  return EXIT.ok;
}
