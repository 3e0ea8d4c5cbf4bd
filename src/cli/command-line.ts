import { Command, CommanderError } from 'commander';
import { isKeyfleetError, messageOf } from '../base/errors.ts';
import { COMMANDS } from './command-table.ts';
import { EXIT, exitCodeOf } from './terminal/exit-code.ts';
import { readPackageVersion } from './terminal/package-version.ts';

/** Runs one command line over the streams of the process; resolves to the exit code. `-config=FILE`, as Go programs take it, is understood too. */
export async function runCommandLine(line: readonly string[]): Promise<number> {
  const args = line.map((arg) => arg.replace(/^-config(?=$|=)/, '--config'));
  const program = new Command('keyfleet')
    .description('A partitioned, durable key-value store, and placement for anything you shard.')
    .version(readPackageVersion())
    .showSuggestionAfterError()
    .exitOverride()
    // So that the options of `pool owner` are its own, not those of `pool`.
    .enablePositionalOptions()
    .addHelpText('after', '\nExample:\n  keyfleet serve --dir ./data\n\nkeyfleet COMMAND --help says more about one command.');
  const wanted = args.find((arg) => !arg.startsWith('-'));
  for (const { name, summary, load } of COMMANDS) {
    const command = program.command(name).description(summary).showSuggestionAfterError().exitOverride();
    if (name === wanted || (wanted === 'help' && args.includes(name))) (await load()).define(command);
  }
  try {
    await program.parseAsync(args, { from: 'user' });
    return typeof process.exitCode === 'number' ? process.exitCode : EXIT.ok;
  } catch (error) {
    // Commander has already printed what was wrong with the line, or the help that was asked for.
    if (error instanceof CommanderError) return error.exitCode === 0 ? EXIT.ok : EXIT.usage;
    process.stderr.write(`keyfleet: ${isKeyfleetError(error) ? `${error.code}: ${error.message}` : `unexpected: ${stackOf(error)}`}\n`);
    return exitCodeOf(error);
  }
}

function stackOf(error: unknown): string {
  return error instanceof Error && error.stack ? error.stack : messageOf(error);
}
