import { type Command, Option } from 'commander';
import { KeyfleetError } from '../../base/errors.ts';
import { readConfigFile } from './config-file.ts';
import { parseFlag, SETTINGS, settle } from './serve-settings.ts';

export function define(command: Command): void {
  for (const setting of SETTINGS) {
    if (setting.flag === undefined) continue;
    const shown =
      setting.fallback === undefined || typeof setting.fallback === 'boolean' || setting.isList ? '' : ` (${String(setting.fallback)})`;
    command.addOption(new Option(setting.flag, setting.help + shown));
  }
  command
    .option('--config <file>', 'YAML file with settings; flags win over it (docs/cli.md)')
    .addHelpText(
      'after',
      `
Examples:
  keyfleet serve
  keyfleet serve --dir /var/lib/keyfleet --host 0.0.0.0 --password-file /etc/keyfleet/password
  keyfleet serve --module ./cart-module.js
  keyfleet serve --config keyfleet.yml`,
    )
    .allowExcessArguments(false)
    .action(async (_, self: Command) => {
      const given = self.opts<Readonly<Record<string, string | boolean | readonly string[]>>>();
      const flags = new Map<string, unknown>();
      for (const setting of SETTINGS) {
        const attribute = setting.flag === undefined ? undefined : new Option(setting.flag).attributeName();
        if (attribute === undefined || self.getOptionValueSource(attribute) !== 'cli') continue;
        flags.set(setting.name, parseFlag(setting, given[attribute]!));
      }
      const { config } = given as { readonly config?: string };
      const settings = settle(flags, config === undefined ? new Map() : readConfigFile(config));
      if (settings.respPort === undefined && settings.httpPort === undefined) {
        throw new KeyfleetError('KF_USAGE', 'both --resp and --http are off: there would be nothing to serve');
      }
      // What serving needs is loaded only now, so that help and mistakes in flags are quick.
      const { runServer } = await import('./server-run.ts');
      process.exitCode = await runServer(settings);
    });
}
