import { isKeyfleetError, KeyfleetError, messageOf } from '../../base/errors.ts';
import { type PoolAdmin, startPoolAdmin } from '../../pool/moves/move-admin.ts';
import { readPassword } from '../client/server-client.ts';
import { createLogger, type Logger } from '../terminal/logger.ts';
import { nextSignal, serveUntilSignal } from '../terminal/serve-until-signal.ts';
import { readOnePool, shownMoves } from './pool-file.ts';

interface OwnerFlags {
  readonly config: string;
  readonly pool?: string;
  readonly dir: string;
  readonly host: string;
  readonly port: string;
  readonly lease: string;
  readonly passwordFile?: string;
}

/** Owns a pool until a signal; moves that are under way go on with the next start. */
export async function runPoolOwner(flags: OwnerFlags): Promise<number> {
  const config = readOnePool(flags.config, flags.pool);
  if (!/^\d{1,5}$/.test(flags.port) || Number(flags.port) > 65_535) throw new KeyfleetError('KF_USAGE', `--port: ${flags.port} is no port`);
  const leaseMs = Number(flags.lease);
  if (!/^\d{1,6}$/.test(flags.lease) || leaseMs < 100)
    throw new KeyfleetError('KF_USAGE', `--lease: milliseconds, from 100 on, not ${flags.lease}`);
  const log = createLogger({ level: 'info', format: 'text' });
  const admin = await startPoolAdmin({
    config,
    dir: flags.dir,
    host: flags.host,
    port: Number(flags.port),
    leaseMs,
    password: flags.passwordFile === undefined ? undefined : readPassword(flags.passwordFile),
    onError: (error) => log.error({ err: error }, 'a fault of ours'),
  });
  const signal = nextSignal();
  process.stdout.write(`owner of pool ${config.name}\n  state in ${flags.dir}\n  ${admin.url}\n`);
  process.on('SIGHUP', () => void reload(admin, flags, log));
  return serveUntilSignal(log, signal, () => admin.close());
}

/** Takes the file as it has become; other servers in it are a plan, and its moves begin. */
async function reload(admin: PoolAdmin, flags: OwnerFlags, log: Logger): Promise<void> {
  try {
    const { moves, isThere } = await admin.reload(readOnePool(flags.config, flags.pool));
    log.info(isThere ? 'reloaded; the pool has these servers already' : `reloaded; ${shownMoves(moves)}`);
  } catch (error) {
    log.error({ code: isKeyfleetError(error) ? error.code : 'KF_INTERNAL' }, `the changed file is not taken: ${messageOf(error)}`);
  }
}
