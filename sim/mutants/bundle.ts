import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { build, type Plugin } from 'esbuild';
import type { Edit } from './mutants.ts';

/** Bundled itself, it is told where the project is. */
const root = process.env['KEYFLEET_ROOT'] ?? fileURLToPath(new URL('../..', import.meta.url));

export interface EditedBundle {
  /** For messages. */
  readonly name: string;
  readonly edits: readonly Edit[];
  /** From the root of the project. */
  readonly entry: string;
  readonly outfile: string;
}

/** Bundles a program with edits made to the source. @throws when an edit has not exactly one place. */
export async function bundleWithEdits({ name, edits, entry, outfile }: EditedBundle): Promise<void> {
  const edited = new Map<string, string>();
  for (const { file, find, replace } of edits) {
    const path = join(root, file);
    const text = edited.get(path) ?? readFileSync(path, 'utf8');
    const places = text.split(find).length - 1;
    if (places !== 1) throw new Error(`mutant "${name}": its text is in ${file} ${places} times`);
    edited.set(
      path,
      text.replace(find, () => replace),
    );
  }
  const plugin: Plugin = {
    name: 'mutant',
    setup(setup) {
      setup.onLoad({ filter: /\.ts$/ }, ({ path }) => {
        const contents = edited.get(path);
        return contents === undefined ? undefined : { contents, loader: 'ts' };
      });
    },
  };
  await build({
    entryPoints: [join(root, entry)],
    outfile,
    bundle: true,
    packages: 'external',
    platform: 'node',
    format: 'esm',
    target: 'node20',
    logLevel: 'error',
    plugins: [plugin],
  });
}
