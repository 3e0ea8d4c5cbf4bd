import type { Command } from 'commander';
import { KeyfleetError } from '../../base/errors.ts';
import { HASH_NAMES, hashHex } from '../../partition/hash/all-hashers.ts';
import { columns, TextOutput } from '../terminal/text-output.ts';
import { usage } from '../terminal/usage.ts';
import { hasherOption } from './algorithms.ts';
import { KEY_FLAGS, type KeyFlags, keysOfArguments, readKeys } from './key-source.ts';

interface HashFlags extends KeyFlags {
  readonly algorithm: string;
  readonly seed?: string;
  readonly all?: boolean;
  readonly json?: boolean;
}

export function define(command: Command): void {
  command
    .argument('[keys...]', 'keys; without any they are read from --keys or standard input')
    .option('-a, --algorithm <name>', 'the hash', 'murmur3_x86_128')
    .option('--all', 'every hash there is')
    .option('--seed <number>', 'a seed, 0x… for hex', '0')
    .option(...KEY_FLAGS.keys)
    .option(...KEY_FLAGS.hex)
    .option('--json', 'one JSON object a key')
    .addHelpText(
      'after',
      `
Hashes: ${HASH_NAMES.join(', ')}

Examples:
  keyfleet hash user:1
  keyfleet hash --all user:1
  keyfleet hash -a xxh64 --seed 0x9e3779b1 --keys keys.txt`,
    )
    .action(runHash);
}

async function runHash(keys: readonly string[], flags: HashFlags): Promise<void> {
  const seed = seedOf(flags.seed ?? '0');
  const names = flags.all ? HASH_NAMES : [hasherOption(flags.algorithm, '--algorithm').name];
  const out = new TextOutput();
  if (keys.length > 0 && flags.keys !== undefined) throw usage('keys are given as arguments and with --keys; choose one');
  const batches = keys.length > 0 ? [keysOfArguments(keys, flags.hex === true)] : readKeys(flags.keys ?? '-', flags.hex === true);
  for await (const batch of batches) {
    for (const [i, key] of batch.keys.entries()) {
      const hashes = names.map((name) => [name, hexOf(name)] as const);
      const text = batch.texts[i]!;
      if (flags.json) out.write(`${JSON.stringify({ [flags.hex ? 'keyHex' : 'key']: text, ...Object.fromEntries(hashes) })}\n`);
      else if (flags.all) out.write(`${text}\n${columns([...hashes.map(([name, hex]) => ['', name, hex])])}`);
      else out.write(`${hashes[0]![1]}\t${text}\n`);

      function hexOf(name: string): string {
        try {
          return hashHex(name, key, { seed });
        } catch (error) {
          if (error instanceof KeyfleetError && error.code === 'KF_BAD_SEED') throw usage(`--seed: ${name}: ${error.message}`);
          throw error;
        }
      }
    }
    await out.settle(1 << 16);
  }
  await out.settle();
}

function seedOf(text: string): bigint {
  if (!/^(0x[0-9a-fA-F]+|\d+)$/.test(text)) throw usage(`--seed: ${JSON.stringify(text)} is not a whole number from 0`);
  return BigInt(text);
}
