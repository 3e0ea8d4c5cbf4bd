import type { Command } from 'commander';
import { KeyfleetError } from '../../base/errors.ts';
import { showBytes, showCount } from '../../base/units.ts';
import { makeDirs } from '../../storage/files.ts';
import type { Storage } from '../../storage/storage.ts';
import { type MasterServerOptions, openMaster, startMasterServer } from '../../volume/master-server.ts';
import { rebuild } from '../../volume/rebuild.ts';
import { type MasterConfig, readMasterConfig, writeVolumeList } from '../../volume/volume-config.ts';
import { createLogger, type Logger } from '../terminal/logger.ts';
import { nextSignal, serveUntilSignal } from '../terminal/serve-until-signal.ts';
import { forecastText, watchMoves } from './move-report.ts';

/** Volumes that were started together with the master may need so long until they listen. */
const START_WAIT_MS = 10_000;

interface Flags {
  readonly config: string;
  readonly delete?: string;
  readonly rebuild?: boolean;
  readonly dryRun?: boolean;
  readonly logFormat: 'text' | 'json';
}

export function define(command: Command): void {
  command
    .requiredOption('--config <file>', 'YAML file with port, volumes and, as you like, more (docs/volumes.md)')
    .option('--delete <index>', 'move everything off the volume with this place in the list (from 0), take it out of the list, and exit')
    .option('--rebuild', 'make the metakeys anew from the volumes alone, then serve')
    .option('--dry-run', 'say what would move, and exit')
    .option('--log-format <format>', 'text or json', 'text')
    .addHelpText(
      'after',
      '\nExamples:\n  keyfleet master --config master.yml\n  keyfleet master --config master.yml --delete 2 --dry-run\n  keyfleet master --config master.yml --rebuild',
    )
    .action(async (flags: Flags) => {
      const config = await readMasterConfig(flags.config);
      const log = createLogger({ level: 'info', format: flags.logFormat });
      const options = async (): Promise<MasterServerOptions> => masterOptions(config, flags.config, log);
      if (flags.delete !== undefined) return deleteVolume(await options(), config, flags.delete, flags.dryRun === true);
      if (flags.dryRun) return dryRun(await options(), config);
      if (flags.rebuild) await rebuildFrom(await options(), config);
      await serve(await options(), config, log);
    });
}

async function openMetakeys(config: MasterConfig): Promise<Storage> {
  try {
    makeDirs(config.path, 0o700);
  } catch {
    // Opening it says what is wrong with it.
  }
  const { openStorage } = await import('../../storage/lmdb.ts');
  return openStorage({ dir: config.path });
}

async function masterOptions(config: MasterConfig, file: string, log: Logger): Promise<MasterServerOptions> {
  let lastWrite = Promise.resolve();
  return {
    storage: await openMetakeys(config),
    host: config.host,
    port: config.port,
    volumes: config.volumes,
    replicas: config.replicas,
    token: config.token,
    password: config.password,
    moves: { concurrency: config.moveConcurrency, bytesPerSecond: config.moveBytesPerSecond },
    onVolumesChanged: async (addresses) => {
      lastWrite = lastWrite.then(() =>
        writeVolumeList(file, addresses).catch((error: unknown) =>
          log.error({ err: error }, `${file} could not be rewritten; its volumes should be ${addresses.join(', ')}`),
        ),
      );
      await lastWrite;
    },
    onError: (error) => log.error({ err: error }, 'a fault of ours'),
  };
}

async function serve(options: MasterServerOptions, config: MasterConfig, log: Logger): Promise<void> {
  const server = await startMasterServer({
    ...options,
    startWaitMs: START_WAIT_MS,
    onWaiting: ({ message }) => log.warn(`${message}; waiting for it`),
  });
  const { volumes, moveState } = server.master.metakeys;
  const url = `http://${server.host}:${server.port}`;
  const signal = nextSignal();
  process.stdout.write(
    `master of ${volumes.length} volume(s), ${showCount(server.master.ledger.keyCount)} keys\n  metakeys in ${config.path}\n  ${url}\n` +
      `\nTry:\n  curl -T README.md ${url}/set/hello\n  curl ${url}/get/hello\n`,
  );
  void watchMoves(server.mover, moveState === 'moving');
  process.exitCode = await serveUntilSignal(log, signal, () => server.close());
}

/** The volume with a place in the configured list. */
function volumeAt(config: MasterConfig, index: string): string {
  const address = /^\d+$/.test(index) ? config.volumes[Number(index)] : undefined;
  if (address === undefined) {
    throw new KeyfleetError(
      'KF_USAGE',
      `--delete ${index}: there is no such place; the list has the places 0 to ${config.volumes.length - 1}`,
    );
  }
  return address;
}

async function deleteVolume(options: MasterServerOptions, config: MasterConfig, index: string, onlySay: boolean): Promise<void> {
  const { master, mover, admin, close } = await openMaster(options);
  try {
    const address = volumeAt(config, index);
    process.stdout.write(forecastText(await admin.forecastConfigured(config.volumes, address), master.metakeys.volumes));
    if (onlySay) return;
    await admin.takeIn(config.volumes, { replicas: config.replicas });
    await admin.leave(address, 'removing');
    await watchMoves(mover, true);
    if (master.metakeys.volumes.some((volume) => volume.address === address))
      throw new KeyfleetError('KF_BUSY', `${address} still has values; do the same again`);
    process.stdout.write(`${address} is empty and out of the list; its server may be stopped\n`);
  } finally {
    await close();
  }
}

async function dryRun(options: MasterServerOptions, config: MasterConfig): Promise<void> {
  const { master, admin, close } = await openMaster(options);
  try {
    process.stdout.write(forecastText(await admin.forecastConfigured(config.volumes), master.metakeys.volumes));
  } finally {
    await close();
  }
}

async function rebuildFrom(options: MasterServerOptions, config: MasterConfig): Promise<void> {
  const { master, admin, close } = await openMaster(options);
  try {
    await admin.takeIn(config.volumes, { replicas: config.replicas, full: true });
    const report = await rebuild(master, ({ files }) => process.stderr.write(`${showCount(files)} files read\n`));
    const bytes = master.metakeys.volumes.reduce((sum, { number }) => sum + master.ledger.loadOf(number).sizeBytes, 0);
    process.stdout.write(
      `rebuilt ${showCount(report.keys)} keys from ${showCount(report.files)} files (${showBytes(bytes)} of values), ` +
        `${showCount(report.outdated)} older copies, ${report.damaged.length} damaged\n`,
    );
    for (const line of report.damaged) process.stdout.write(`  damaged: ${line}\n`);
    master.metakeys.setMoveState('moving');
    await master.metakeys.commit();
  } finally {
    await close();
  }
}
