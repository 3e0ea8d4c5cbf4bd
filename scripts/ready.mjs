// Makes a checkout ready to run, on Node built-ins alone: installs when the lock file changed, builds when a source changed.
// Quick when nothing did: it compares one fingerprint per step, kept in node_modules/.keyfleet-*.
import { spawnSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import { existsSync, readdirSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { join, relative } from 'node:path';
import { fileURLToPath } from 'node:url';

export const root = fileURLToPath(new URL('..', import.meta.url));

/** Runs a command in the checkout, its output on our own; ends this process with its exit code when it fails. */
export function run(command, args, env = {}) {
  const result = spawnSync(command, args, { cwd: root, stdio: 'inherit', env: { ...process.env, ...env } });
  if (result.error) {
    console.error(`keyfleet: cannot run ${command}: ${result.error.message}`);
    process.exit(1);
  }
  if (result.status !== 0) process.exit(result.status ?? 1);
}

export const bin = (name) => join(root, 'node_modules', '.bin', name);

function requireNode() {
  const [major, minor] = process.versions.node.split('.').map(Number);
  if (major > 20 || (major === 20 && minor >= 19)) return;
  console.error(`keyfleet needs Node 20.19 or newer; this is ${process.versions.node}`);
  process.exit(1);
}

function filesBelow(dir, keep) {
  return readdirSync(dir, { withFileTypes: true }).flatMap((entry) => {
    const path = join(dir, entry.name);
    return entry.isDirectory() ? filesBelow(path, keep) : keep(entry.name) ? [path] : [];
  });
}

function fingerprint(paths) {
  const hash = createHash('sha256');
  for (const path of paths) hash.update(relative(root, path)).update('\0').update(readFileSync(path)).update('\0');
  return hash.digest('hex');
}

/** Does `work` unless `stamp` says it was done for these very files. */
function once({ stamp, paths, wanted, says, work }) {
  const stampPath = join(root, 'node_modules', `.keyfleet-${stamp}`);
  const print = fingerprint(paths);
  if (wanted() && existsSync(stampPath) && readFileSync(stampPath, 'utf8') === print) return;
  console.error(`keyfleet: ${says}`);
  const startedMs = Date.now();
  work();
  writeFileSync(stampPath, print);
  console.error(`keyfleet: done in ${((Date.now() - startedMs) / 1000).toFixed(1)} s`);
}

export function ensureInstalled() {
  requireNode();
  once({
    stamp: 'installed',
    paths: [join(root, 'package.json'), join(root, 'package-lock.json')],
    wanted: () => existsSync(join(root, 'node_modules', 'typescript')),
    says: 'installing dependencies (npm ci)',
    work: () => run('npm', ['ci', '--no-audit', '--no-fund', '--loglevel=error']),
  });
}

export function ensureBuilt() {
  ensureInstalled();
  const src = join(root, 'src');
  const sources = filesBelow(src, (name) => !/\.(test|conformance)\.ts$/.test(name));
  once({
    stamp: 'built',
    paths: [join(root, 'tsconfig.json'), join(root, 'tsconfig.build.json'), join(root, 'scripts', 'build.mjs'), ...sources.sort()],
    wanted: () => existsSync(join(root, 'dist')) && statSync(join(root, 'dist')).isDirectory(),
    says: 'building (tsc)',
    work: () => {
      rmSync(join(root, 'dist'), { recursive: true, force: true });
      run(process.execPath, [join(root, 'node_modules', 'typescript', 'bin', 'tsc'), '-p', 'tsconfig.build.json']);
    },
  });
}
