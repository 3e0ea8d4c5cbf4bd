// What does a proxy cost? redis-benchmark, 50 connections, GET and SET of 32 bytes with random keys, -P 1, 16 and 64: one redis-server directly,
// four of them through nutcracker (when it is installed), and through `keyfleet pool` with one and with two workers, same file; and through a bare relay, which only moves
// requests and answers between sockets, with one and with two workers: what is left to gain in Node. Beside each rate stands the processor time of the proxy, all its processes, a request.
//
// Several short rounds, targets taking turns; the best round of each counts, since other work on the machine only ever slows one down.
import { type ChildProcess, execFile, spawn } from 'node:child_process';
import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { connect, createServer } from 'node:net';
import { availableParallelism, cpus, loadavg, tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { serveBareRelay } from './peers/bare-relay.ts';

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

interface Target {
  readonly port: number;
  readonly pid: number;
}

async function start(command: string, args: readonly string[], port: number): Promise<Target> {
  const child = spawn(command, args, { stdio: 'ignore' });
  children.push(child);
  for (let i = 0; i < 400; i++) {
    const isUp = await new Promise<boolean>((resolve) => {
      const socket = connect(port, '127.0.0.1', () => {
        socket.destroy();
        resolve(true);
      });
      socket.on('error', () => resolve(false));
    });
    if (isUp) return { port, pid: child.pid! };
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

/** User and system time of a process and its children so far, in µs; NaN where there is no /proc. */
function cpuMicros(pid: number): number {
  try {
    const fields = readFileSync(`/proc/${pid}/stat`, 'utf8').split(') ')[1]!.split(' ');
    const children = readFileSync(`/proc/${pid}/task/${pid}/children`, 'utf8').split(' ').filter(Boolean);
    return (Number(fields[11]) + Number(fields[12])) * 1e4 + children.reduce((sum, child) => sum + cpuMicros(Number(child)), 0);
  } catch {
    return Number.NaN;
  }
}

interface Cell {
  readonly rate: number;
  /** Processor time a request. */
  readonly micros: number;
}

async function measure({ port, pid }: Target, command: string, depth: number): Promise<Cell> {
  const requests = (depth === 1 ? 20_000 : 150_000) * (isLarge ? 5 : 1);
  const before = cpuMicros(pid);
  const { stdout } = await run(
    'redis-benchmark',
    ['-p', String(port), '-c', '50', '-P', String(depth), '-n', String(requests), '-d', '32', '-r', '100000', '-t', command, '--csv'],
    { timeout: 120_000 },
  );
  return { rate: Number(/^"(?:GET|SET)","([\d.]+)"/im.exec(stdout)![1]), micros: (cpuMicros(pid) - before) / requests };
}

if (process.argv[2] === 'relay') {
  const [port, workers, ...servers] = process.argv.slice(3).map(Number);
  serveBareRelay({ port: port!, workers: workers!, servers });
} else await bench();

async function bench(): Promise<void> {
  try {
    const servers: Target[] = [];
    for (let i = 0; i < 4; i++) {
      const port = await freePort();
      servers.push(await start('redis-server', ['--port', String(port), '--bind', '127.0.0.1', '--save', '', '--dir', dir], port));
    }
    const serverPorts = servers.map(({ port }) => port);
    const targets = new Map<string, Target>([['direct', servers[0]!]]);
    if ((process.env['PATH'] ?? '').split(':').some((one) => existsSync(join(one, 'nutcracker')))) {
      const { file, port } = await pool('nutcracker', serverPorts);
      targets.set('nutcracker', await start('nutcracker', ['-c', file, '-s', String(await freePort()), '-o', join(dir, 'n.log')], port));
    }
    for (const workers of [1, 2]) {
      const { file, port } = await pool(`ours${workers}`, serverPorts);
      const main = join(process.cwd(), 'dist', 'cli', 'main.js');
      const profile = process.env['KEYFLEET_CPU_PROF'] === String(workers) ? ['--cpu-prof', `--cpu-prof-dir=${tmpdir()}`] : [];
      const args = [...profile, main, 'pool', '-c', file, '-s', '0', '-v', '1', '--workers', String(workers)];
      targets.set(`keyfleet, ${workers} worker${workers > 1 ? 's' : ''}`, await start(process.execPath, args, port));
    }
    for (const workers of [1, 2]) {
      const port = await freePort();
      const args = [process.argv[1]!, 'relay', String(port), String(workers), ...serverPorts.map(String)];
      targets.set(`bare relay, ${workers} worker${workers > 1 ? 's' : ''}`, await start(process.execPath, args, port));
    }
    console.log(`${cpus()[0]!.model}, ${availableParallelism()} cores, load ${loadavg()[0]!.toFixed(1)}, Node ${process.versions.node}`);
    const best = new Map<string, Cell>();
    const cells = [1, 16, 64].flatMap((depth) => ['set', 'get'].map((command) => ({ depth, command })));
    for (let round = 0; round < rounds; round++) {
      for (const { depth, command } of cells) {
        for (const [name, target] of targets) {
          const key = `${name} ${command} ${depth}`;
          const one = await measure(target, command, depth);
          const before = best.get(key) ?? one;
          best.set(key, { rate: Math.max(before.rate, one.rate), micros: Math.min(before.micros, one.micros) });
        }
      }
    }
    for (const { depth, command } of cells) {
      const { rate: peer } = best.get(`nutcracker ${command} ${depth}`) ?? best.get(`direct ${command} ${depth}`)!;
      console.log(`-P ${depth} ${command}`);
      for (const name of targets.keys()) {
        const { rate, micros } = best.get(`${name} ${command} ${depth}`)!;
        const cells = [
          `${Math.round(rate / 1_000)} k/s`.padStart(10),
          (rate / peer).toFixed(2).padStart(6),
          `${micros.toFixed(2)} µs`.padStart(10),
        ];
        console.log(`  ${name.padEnd(22)}${cells.join('')}`);
      }
    }
    // The same keys by the same names whichever way they went: each proxy sees all that any other has written.
    const sizes = await Promise.all(
      serverPorts.map(async (port) => Number((await run('redis-cli', ['-p', String(port), 'DBSIZE'])).stdout)),
    );
    console.log(`checksum: keys by server ${sizes.join(' ')}; ratios are to ${targets.has('nutcracker') ? 'nutcracker' : 'direct'}`);
  } finally {
    for (const child of children) child.kill('SIGTERM');
    rmSync(dir, { recursive: true, force: true });
  }
}
