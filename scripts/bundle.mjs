// Makes a TypeScript program of this checkout that no build compiles (simulator, soaks, benches) runnable: one file, dependencies left outside.
import { mkdirSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { pathToFileURL } from 'node:url';
import { root } from './ready.mjs';

/**
 * Bundles `entry` into `outfile`, both from the root of the checkout; answers where it is. What a source looks for beside itself is looked for beside the
 * bundle, unless `isBesideEntry`: then beside `entry`, which all sources that look have to be as deep as.
 */
export async function bundle(entry, outfile, { isBesideEntry = false } = {}) {
  const [source, out] = [join(root, entry), join(root, outfile)];
  mkdirSync(dirname(out), { recursive: true });
  const { build } = await import('esbuild');
  await build({
    entryPoints: [source],
    outfile: out,
    bundle: true,
    packages: 'external',
    platform: 'node',
    format: 'esm',
    target: 'node20',
    define: isBesideEntry ? { 'import.meta.url': JSON.stringify(pathToFileURL(source).href) } : {},
  });
  return out;
}
