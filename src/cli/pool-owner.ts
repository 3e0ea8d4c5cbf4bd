import { KeyfleetError } from '../base/errors.ts';
import { startPoolAdmin } from '../pool/move-admin.ts';
import { readPoolsFile } from '../pool/pools-file.ts';
import { createLogger } from './logger.ts';
import { serveUntilSignal } from './serve-until-signal.ts';
import { readPassword } from './server-client.ts';

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
  const { pools } = readPoolsFile(flags.config);
  const config = flags.pool === undefined && pools.length === 1 ? pools[0] : pools.find(({ name }) => name === flags.pool);
  if (config === undefined) throw new KeyfleetError('KF_USAGE', `--pool: one of ${pools.map(({ name }) => name).join(', ')}`);
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
  process.stdout.write(`owner of pool ${config.name}\n  state in ${flags.dir}\n  ${admin.url}\n`);
  return serveUntilSignal(log, () => admin.close());
}
