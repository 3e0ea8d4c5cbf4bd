import type { Command } from 'commander';
import { KeyfleetError } from '../../base/errors.ts';
import { definePoolMoves } from './pool-moves.ts';
import type { PoolFlags } from './pool-run.ts';

export function define(command: Command): void {
  definePoolMoves(command);
  command
    .option('-c, --conf-file <file>', 'the file of pools, as for nutcracker (docs/pool-proxy.md)', 'conf/nutcracker.yml')
    .option('-s, --stats-port <port>', 'where to answer with statistics; 0: nowhere', '22222')
    .option('-a, --stats-addr <address>', 'address of the statistics', '127.0.0.1')
    .option('-i, --stats-interval <ms>', 'how often the statistics are gathered: what is shown is at most that old; 0: always anew', '1000')
    .option('-o, --output <file>', 'log to this file instead of standard error')
    .option('-v, --verbosity <level>', 'from 0, errors only, to 11, everything', '5')
    .option('-m, --mbuf-size <bytes>', 'taken for the sake of nutcracker scripts; buffers grow as they must')
    .option('-p, --pid-file <file>', 'write the process id there')
    .option('--workers <count>', 'processes that share the ports; more than one uses more cores')
    .option('--owner <url>', "the pool's owner, so that servers can come and go (docs/pool-rebalancing.md)")
    .option('--owner-password-file <file>', "file whose first line is the owner's password")
    .option('-t, --test-conf', 'say whether the file is right, and end')
    .option('-D, --describe-stats', 'say what the statistics mean, and end')
    .addHelpText(
      'after',
      `
Examples:
  keyfleet pool -c pools.yml
  keyfleet pool -t -c pools.yml
  keyfleet pool -c pools.yml -s 22222 -o pool.log --workers 2
  keyfleet pool -c pools.yml --owner http://127.0.0.1:22223`,
    )
    .allowExcessArguments(false)
    .action(async (_: unknown, self: Command) => {
      const flags = self.opts<PoolFlags>();
      for (const name of ['statsPort', 'statsInterval', 'verbosity', 'workers', 'mbufSize'] as const) {
        const value = flags[name];
        if (value !== undefined && !/^\d{1,9}$/.test(value)) throw new KeyfleetError('KF_USAGE', `${value} is not a whole number`);
      }
      if (flags.workers !== undefined && (Number(flags.workers) < 1 || Number(flags.workers) > 256))
        throw new KeyfleetError('KF_USAGE', '--workers is from 1 to 256');
      if (flags.owner !== undefined && !/^https?:\/\/./.test(flags.owner))
        throw new KeyfleetError('KF_USAGE', `--owner is a URL such as http://127.0.0.1:22223, not ${flags.owner}`);
      if (Number(flags.statsPort) > 65_535) throw new KeyfleetError('KF_USAGE', `${flags.statsPort} is no port`);
      const { runPool } = await import('./pool-run.ts');
      process.exitCode = await runPool(flags);
    });
}
