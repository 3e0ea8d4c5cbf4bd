// Puts the real servers that the tests talk to on this machine (Debian, as root), or says which are missing.
import { spawnSync } from 'node:child_process';
import { existsSync } from 'node:fs';

/** Debian package by the binary we look for. */
const WANTED = {
  'redis-server': 'redis-server',
  'redis-cli': 'redis-tools',
  'redis-benchmark': 'redis-tools',
  nutcracker: 'nutcracker',
  chromium: 'chromium',
};

/** Debian keeps daemons where a user's path does not lead. */
const onPath = (binary) => [...(process.env.PATH ?? '').split(':'), '/usr/sbin'].some((dir) => existsSync(`${dir}/${binary}`));

/** Installs what can be installed; returns the names of the binaries that are still missing. */
export function setUpServers() {
  const missing = () => Object.keys(WANTED).filter((binary) => !onPath(binary));
  const wanted = missing();
  if (wanted.length === 0) return [];
  const canInstall = process.getuid?.() === 0 && existsSync('/etc/debian_version') && onPath('apt-get');
  if (!canInstall) return wanted;
  const packages = [...new Set(wanted.map((binary) => WANTED[binary]))];
  console.error(`keyfleet: installing for the tests: ${packages.join(' ')}`);
  const apt = (...args) =>
    spawnSync('apt-get', ['-q', '-y', '-o', 'Dpkg::Use-Pty=0', ...args], {
      stdio: ['ignore', 'ignore', 'inherit'],
      env: { ...process.env, DEBIAN_FRONTEND: 'noninteractive', RUNLEVEL: '1' },
    });
  apt('update');
  apt('install', '--no-install-recommends', ...packages);
  return missing();
}
