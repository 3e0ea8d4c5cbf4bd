import { readFileSync } from 'node:fs';

/** The version of the package that this file is part of. */
export function readPackageVersion(): string {
  const { version } = JSON.parse(readFileSync(new URL('../../../package.json', import.meta.url), 'utf8')) as { readonly version: string };
  return version;
}
