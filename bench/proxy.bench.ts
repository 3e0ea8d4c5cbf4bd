// What does a proxy cost? redis-benchmark, 50 connections, GET and SET of 32 bytes with random keys, -P 1, 16 and 64: one redis-server directly,
// four of them through nutcracker (when it is installed), and through `keyfleet pool` with one and with two workers, same file.
//
// Several short rounds, targets taking turns; the best round of each counts, since other work on the machine only ever slows one down.
import { type ChildProcess, execFile, spawn } from 'node:child_process';
import { existsSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { connect, createServer } from 'node:net';
import { availableParallelism, cpus, loadavg, tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';

const run = promisify(execFile);
const isLarge = process.argv.includes('--large');
const rounds = isLarge ? 4 : 2;
const dir = mkdtempSync(join(tmpdir(), 'keyfleet-bench-'));
const children: ChildProcess[] = [];

function freePort(): Promise<number> {
  return new Promise((resolve) => {
    const probe = createServer();
    probe.listen(0, '127.0.0.1', () => {
      const { port } = probe.address() as { port: number };
      probe.close(() => resolve(port));
    });
  });
}

async function start(command: string, args: readonly string[], port: number): Promise<number> {
  children.push(spawn(command, args, { stdio: 'ignore' }));
  for (let i = 0; i < 400; i++) {
    const isUp = await new Promise<boolean>((resolve) => {
      const socket = connect(port, '127.0.0.1', () => {
        socket.destroy();
        resolve(true);
      });
      socket.on('error', () => resolve(false));
    });
    if (isUp) return port;
    await new Promise((resolve) => setTimeout(resolve, 25));
  }
  throw new Error(`${command} did not come up`);
}

async function pool(name: string, servers: readonly number[]): Promise<{ file: string; port: number }> {
  const port = await freePort();
  const file = join(dir, `${name}.yml`);
  const lines = servers.map((one) => `   - 127.0.0.1:${one}:1`).join('\n');
  writeFileSync(
    file,
    `alpha:\n  listen: 127.0.0.1:${port}\n  hash: fnv1a_64\n  distribution: ketama\n  redis: true\n  servers:\n${lines}\n`,
  );
  return { file, port };
}

async function measure(port: number, command: string, depth: number): Promise<number> {
  const requests = (depth === 1 ? 20_000 : 150_000) * (isLarge ? 5 : 1);
  const { stdout } = await run(
    'redis-benchmark',
    ['-p', String(port), '-c', '50', '-P', String(depth), '-n', String(requests), '-d', '32', '-r', '100000', '-t', command, '--csv'],
    { timeout: 120_000 },
  );
  return Number(/^"(?:GET|SET)","([\d.]+)"/im.exec(stdout)![1]);
}

try {
  const servers: number[] = [];
  for (let i = 0; i < 4; i++) {
    const port = await freePort();
    servers.push(await start('redis-server', ['--port', String(port), '--bind', '127.0.0.1', '--save', '', '--dir', dir], port));
  }
  const targets = new Map<string, number>([['direct', servers[0]!]]);
  if ((process.env['PATH'] ?? '').split(':').some((one) => existsSync(join(one, 'nutcracker')))) {
    const { file, port } = await pool('nutcracker', servers);
    targets.set('nutcracker', await start('nutcracker', ['-c', file, '-s', String(await freePort()), '-o', join(dir, 'n.log')], port));
  }
  for (const workers of [1, 2]) {
    const { file, port } = await pool(`ours${workers}`, servers);
    const main = join(process.cwd(), 'dist', 'cli', 'main.js');
    const profile = process.env['KEYFLEET_CPU_PROF'] === String(workers) ? ['--cpu-prof', `--cpu-prof-dir=${tmpdir()}`] : [];
    await start(process.execPath, [...profile, main, 'pool', '-c', file, '-s', '0', '-v', '1', '--workers', String(workers)], port);
    targets.set(`keyfleet, ${workers} worker${workers > 1 ? 's' : ''}`, port);
  }
  console.log(`${cpus()[0]!.model}, ${availableParallelism()} cores, load ${loadavg()[0]!.toFixed(1)}, Node ${process.versions.node}`);
  const best = new Map<string, number>();
  const cells = [1, 16, 64].flatMap((depth) => ['set', 'get'].map((command) => ({ depth, command })));
  for (let round = 0; round < rounds; round++) {
    for (const { depth, command } of cells) {
      for (const [name, port] of targets) {
        const key = `${name} ${command} ${depth}`;
        best.set(key, Math.max(best.get(key) ?? 0, await measure(port, command, depth)));
      }
    }
  }
  for (const { depth, command } of cells) {
    const peer = best.get(`nutcracker ${command} ${depth}`) ?? best.get(`direct ${command} ${depth}`)!;
    const shown = [...targets.keys()].map((name) => {
      const rate = best.get(`${name} ${command} ${depth}`)!;
      return `${name} ${Math.round(rate / 1_000)} k/s (${(rate / peer).toFixed(2)})`;
    });
    console.log(`-P ${String(depth).padEnd(2)} ${command}  ${shown.join('   ')}`);
  }
  // The same keys by the same names whichever way they went: each proxy sees all that any other has written.
  const sizes = await Promise.all(servers.map(async (port) => Number((await run('redis-cli', ['-p', String(port), 'DBSIZE'])).stdout)));
  console.log(`checksum: keys by server ${sizes.join(' ')}; ratios are to ${targets.has('nutcracker') ? 'nutcracker' : 'direct'}`);
} finally {
  for (const child of children) child.kill('SIGTERM');
  rmSync(dir, { recursive: true, force: true });
}
