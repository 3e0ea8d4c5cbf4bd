import { execFile } from 'node:child_process';
import { mkdtempSync, rmSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';
import { bundleWithEdits } from './bundle.ts';
import { CLUSTER_MUTANTS, MUTANTS, type MutantHunt, optionsOf } from './mutants.ts';

// npm run sim -- --mutants [--first SEED] [--seeds N] [--only TEXT]: how many seeds it takes to find each seeded bug.

const { values: flags } = parseArgs({
  options: {
    mutants: { type: 'boolean' },
    first: { type: 'string', default: '1' },
    seeds: { type: 'string', default: '200' },
    hunt: { type: 'string' },
    only: { type: 'string', default: '' },
  },
});

interface Report {
  readonly seeds: number;
  readonly wallMs: number;
  readonly failed?: { readonly seed: number; readonly failure: string };
}

/** What the simulator says of the bundle. It fails when it finds something, and says so all the same. */
function run(bundle: string, hunt: MutantHunt): Promise<Report> {
  const { first, seeds } = flags;
  const options = ['--json', '--first', first, '--seeds', seeds, ...optionsOf({ hunt })];
  return new Promise((resolve) => {
    execFile(process.execPath, [bundle, ...options], (_error, stdout, stderr) => {
      const last = /^seed (\d+) at commit .* FAILED:? (.*)$/m.exec(stderr);
      if (stdout !== '') resolve(JSON.parse(stdout) as Report);
      else
        resolve({
          seeds: Number(last?.[1]) - Number(first) + 1,
          wallMs: 0,
          failed: { seed: Number(last?.[1]), failure: last?.[2] ?? stderr },
        });
    });
  });
}

const scratch = mkdtempSync(join(dirname(fileURLToPath(import.meta.url)), 'mutants-'));
let missed = 0;
try {
  for (const [index, mutant] of [...MUTANTS, ...CLUSTER_MUTANTS].entries()) {
    if (!mutant.name.includes(flags.only)) continue;
    const bundle = join(scratch, `${index}.mjs`);
    await bundleWithEdits({ ...mutant, entry: 'sim/main.ts', outfile: bundle });
    const { seeds, failed } = await run(bundle, (flags.hunt as MutantHunt | undefined) ?? mutant.hunt);
    if (!failed) missed++;
    const [firstLine] = (failed?.failure ?? '').split('\n');
    console.log(
      `${mutant.name.padEnd(52)} ${failed ? `found at seed ${failed.seed}, the ${seeds}.` : `not found in ${seeds}`}   ${firstLine}`,
    );
  }
} finally {
  rmSync(scratch, { recursive: true, force: true });
}
process.exitCode = missed > 0 ? 1 : 0;
