// Puts the real servers that the tests talk to on this machine (Debian, as root), or says which are missing.
import { spawnSync } from 'node:child_process';
import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';

/** Debian package by the binary we look for. */
const WANTED = {
  'redis-server': 'redis-server',
  'redis-cli': 'redis-tools',
  'redis-benchmark': 'redis-tools',
  nutcracker: 'nutcracker',
  chromium: 'chromium',
  'nats-server': 'nats-server',
};

/** Debian 12's nats-server is an old one; a recent one comes beside it, for the tests alone. test/nats/nats-servers.ts looks for both. */
const RECENT_NATS = 'nats-server 2.15';
const scripts = fileURLToPath(new URL('.', import.meta.url));
const recentNatsDir = join(scripts, '..', '.cache', 'nats-server');

/** Debian keeps daemons where a user's path does not lead. */
const onPath = (binary) => [...(process.env.PATH ?? '').split(':'), '/usr/sbin'].some((dir) => existsSync(`${dir}/${binary}`));

/** Installs what can be installed; returns the names of the binaries that are still missing. */
export function setUpServers() {
  const missing = () => [
    ...Object.keys(WANTED).filter((binary) => !onPath(binary)),
    ...(existsSync(join(recentNatsDir, 'nats-server')) ? [] : [RECENT_NATS]),
  ];
  const canInstall = process.getuid?.() === 0 && existsSync('/etc/debian_version') && onPath('apt-get');
  if (!canInstall) return missing();
  installPackages(missing().filter((binary) => binary in WANTED));
  if (missing().includes(RECENT_NATS)) {
    console.error(`keyfleet: fetching for the tests: ${RECENT_NATS}`);
    spawnSync('bash', [join(scripts, 'fetch-nats-server.sh'), recentNatsDir], { stdio: ['ignore', 'ignore', 'inherit'] });
  }
  return missing();
}

function installPackages(binaries) {
  if (binaries.length === 0) return;
  const packages = [...new Set(binaries.map((binary) => WANTED[binary]))];
  console.error(`keyfleet: installing for the tests: ${packages.join(' ')}`);
  const apt = (...args) =>
    spawnSync('apt-get', ['-q', '-y', '-o', 'Dpkg::Use-Pty=0', ...args], {
      stdio: ['ignore', 'ignore', 'inherit'],
      env: { ...process.env, DEBIAN_FRONTEND: 'noninteractive', RUNLEVEL: '1' },
    });
  apt('update');
  apt('install', '--no-install-recommends', ...packages);
}
