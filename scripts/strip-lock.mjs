// Removes download addresses from package-lock.json, so that `npm ci` asks whichever registry the user's npm is set up with.
// npm's own switch for this (omit-lockfile-registry-resolved) loses the optional packages of other platforms, so we strip afterwards.
import { readFileSync, writeFileSync } from 'node:fs';

const path = new URL('../package-lock.json', import.meta.url);
const lock = JSON.parse(readFileSync(path, 'utf8'));
for (const entry of Object.values(lock.packages)) delete entry.resolved;
writeFileSync(path, `${JSON.stringify(lock, null, 2)}\n`);
