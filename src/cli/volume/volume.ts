import type { Command } from 'commander';
import { showBytes } from '../../base/units.ts';
import { readVolumeConfig } from '../../volume/volume-config.ts';
import { startVolumeServer } from '../../volume/volume-server.ts';
import { createLogger } from '../terminal/logger.ts';
import { nextSignal, serveUntilSignal } from '../terminal/serve-until-signal.ts';

export function define(command: Command): void {
  command
    .requiredOption('--config <file>', 'YAML file with port, path and, as you like, host and token (docs/volumes.md)')
    .option('--log-format <format>', 'text or json', 'text')
    .addHelpText('after', '\nExample:\n  printf "port: 3001\\npath: ./volume-1\\n" > volume-1.yml\n  keyfleet volume --config volume-1.yml')
    .action(async (flags: { readonly config: string; readonly logFormat: 'text' | 'json' }) => {
      const config = await readVolumeConfig(flags.config);
      const log = createLogger({ level: 'info', format: flags.logFormat });
      const server = await startVolumeServer({ ...config, onError: (error) => log.error({ err: error }, 'a fault of ours') });
      const signal = nextSignal();
      process.stdout.write(`volume ${server.id}\n  values in ${config.path}\n  http://${server.host}:${server.port}\n`);
      process.exitCode = await serveUntilSignal(log, signal, async () => {
        await server.close();
        const { puts, gets, deletes, bytesIn } = server.stats;
        log.info({ puts, gets, deletes, received: showBytes(bytesIn) }, 'ended');
      });
    });
}
