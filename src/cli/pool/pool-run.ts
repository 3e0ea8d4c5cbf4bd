import cluster, { type Worker } from 'node:cluster';
import { unlinkSync, writeFileSync } from 'node:fs';
import pino from 'pino';
import { KeyfleetError, messageOf } from '../../base/errors.ts';
import { type PoolConfig, whyNotFollowing } from '../../pool/pool-config.ts';
import { PoolMap } from '../../pool/pool-map.ts';
import { readPoolsFile } from '../../pool/pools-file.ts';
import { type PoolProxy, startProxy } from '../../pool/proxy/proxy.ts';
import { mergeSnapshots, type PoolSnapshot, poolSnapshot, STATS_HELP } from '../../pool/proxy/proxy-snapshot.ts';
import { type StatsServer, startStatsServer } from '../../pool/proxy/proxy-stats-server.ts';
import { EXIT } from '../terminal/exit-code.ts';
import { createLogger, type Logger, textLine } from '../terminal/logger.ts';
import { readPackageVersion } from '../terminal/package-version.ts';
import { FileServers } from './pool-file.ts';

export interface PoolFlags {
  readonly confFile: string;
  readonly statsPort: string;
  readonly statsAddr: string;
  readonly statsInterval: string;
  readonly output?: string;
  readonly verbosity: string;
  readonly mbufSize?: string;
  readonly pidFile?: string;
  readonly workers?: string;
  readonly owner?: string;
  readonly ownerPasswordFile?: string;
  readonly testConf?: boolean;
  readonly describeStats?: boolean;
}

const GRACE_MS = 5_000;

/** Serves the pools of a file until a signal ends it; resolves to the exit code. */
export async function runPool(flags: PoolFlags): Promise<number> {
  if (flags.describeStats) {
    process.stdout.write(STATS_HELP);
    return EXIT.ok;
  }
  const pools = readPools(flags);
  // What only building the rings shows is said by -t too.
  for (const pool of pools) PoolMap.of(pool);
  if (flags.testConf) {
    process.stdout.write(`keyfleet: configuration file '${flags.confFile}' syntax is ok\n`);
    return EXIT.ok;
  }
  const log = poolLogger(flags);
  const workers = Number(flags.workers ?? Math.max(...pools.map((pool) => pool.workers)));
  if (cluster.isPrimary && flags.pidFile !== undefined) writeFileSync(flags.pidFile, `${process.pid}\n`);
  try {
    if (workers > 1 && cluster.isPrimary) return await runPrimary(flags, workers, log);
    return await runProxy(flags, log);
  } finally {
    if (cluster.isPrimary && flags.pidFile !== undefined) {
      try {
        unlinkSync(flags.pidFile);
      } catch {
        // It was taken away already.
      }
    }
  }
}

/** The pools of the file; `--owner` goes before what it says. */
function readPools({ confFile, owner, ownerPasswordFile }: PoolFlags): readonly PoolConfig[] {
  const { pools } = readPoolsFile(confFile);
  if (owner === undefined) return pools;
  if (pools.length > 1)
    throw new KeyfleetError('KF_USAGE', '--owner is for a file of one pool; with several, say `owner:` in each of them');
  const control = { url: owner, ...(ownerPasswordFile === undefined ? {} : { passwordFile: ownerPasswordFile }) };
  return pools.map((pool) => {
    const following: PoolConfig = { ...pool, control };
    const unfit = whyNotFollowing(following);
    if (unfit !== undefined) throw new KeyfleetError('KF_CONFIG', `pool ${pool.name}: ${unfit}`);
    return following;
  });
}

function poolLogger(flags: PoolFlags): Logger {
  const verbosity = Number(flags.verbosity);
  const level = verbosity <= 1 ? 'error' : verbosity <= 4 ? 'warn' : verbosity <= 7 ? 'info' : 'debug';
  if (flags.output === undefined) return createLogger({ level, format: 'text' });
  const out = pino.destination({ dest: flags.output, append: true, sync: true });
  return pino(
    { level, base: null, timestamp: pino.stdTimeFunctions.isoTime, formatters: { level: (label: string) => ({ level: label }) } },
    { write: (line: string) => void out.write(`${textLine(line)}\n`) },
  );
}

/** This process serves: the only one, or one of the workers. */
async function runProxy(flags: PoolFlags, log: Logger): Promise<number> {
  const pools = readPools(flags);
  const servers = cluster.isWorker ? undefined : new FileServers(pools, log);
  const workerId = cluster.worker?.id ?? 0;
  const proxy = await startProxy({
    pools,
    events: (pool) => ({
      onServerUp: ({ name }) => log.info({ pool, server: name }, 'a server is connected'),
      onServerDown: ({ name }, why) => log.warn({ pool, server: name, why }, 'a connection to a server was lost'),
      onEjected: ({ name }, forMs) => log.warn({ pool, server: name, forMs }, 'a server is ejected: its keys are on the others now'),
      onOwnerLost: (why) => log.error({ pool, why }, 'the owner of the pool does not answer: requests wait when the lease is over'),
      onOwnerFound: (epoch) => log.info({ pool, epoch }, 'the owner of the pool is followed'),
      onReturned: ({ name }) => log.warn({ pool, server: name }, 'a server is back: it may hold old values'),
    }),
    firstClientId: 1 + workerId * 1_000_000_000,
    workerCount: Number(flags.workers ?? 1),
  });
  for (const [pool, { host, port }] of proxy.addresses) log.info({ pool, host, port }, 'serving');
  // Before anybody reads that we are up, and may signal us for it.
  process.on('SIGHUP', () => reload(proxy, servers, flags, log));
  const signalled = firstSignal();
  let stats: StatsServer | undefined;
  if (cluster.isWorker) answerPrimary(proxy);
  else {
    process.stdout.write(`keyfleet ${readPackageVersion()}: serving ${shownPools(proxy)}\n`);
    stats = await statsServer(flags, () => Promise.resolve(proxy.pools.map(poolSnapshot)), log);
  }
  const signal = await signalled;
  log.info({ signal }, 'ending: no new clients, answering what is under way');
  await stats?.close();
  await proxy.close({ graceMs: GRACE_MS });
  if (cluster.isWorker) process.disconnect();
  return EXIT.ok;
}

function shownPools(proxy: PoolProxy): string {
  return [...proxy.addresses].map(([name, { host, port }]) => `${name} on ${port === 0 ? host : `${host}:${port}`}`).join(', ');
}

async function statsServer(flags: PoolFlags, read: () => Promise<readonly PoolSnapshot[]>, log: Logger): Promise<StatsServer | undefined> {
  const port = Number(flags.statsPort);
  if (port === 0) return undefined;
  const server = await startStatsServer({
    host: flags.statsAddr,
    port,
    version: readPackageVersion(),
    read,
    intervalMs: Number(flags.statsInterval),
  });
  log.info({ host: server.host, port: server.port }, 'statistics');
  return server;
}

/** Takes the parts of a changed file that can change while it runs. A file that is wrong changes nothing. `servers` is the primary's business where there are workers. */
function reload(proxy: PoolProxy | undefined, servers: FileServers | undefined, flags: PoolFlags, log: Logger): void {
  try {
    const pools = readPools(flags);
    void servers?.reload(pools);
    for (const pool of proxy?.pools ?? []) {
      const config = pools.find(({ name }) => name === pool.map.pool);
      if (config === undefined) continue;
      pool.reconfigure(config);
      log.info({ pool: config.name }, 'reloaded');
    }
  } catch (error) {
    log.error({ why: messageOf(error) }, 'the changed file is not taken');
  }
}

function firstSignal(): Promise<string> {
  return new Promise((resolve) => {
    for (const name of ['SIGTERM', 'SIGINT'] as const) {
      process.once(name, () => {
        process.on('SIGINT', () => process.exit(EXIT.interrupted));
        resolve(name);
      });
    }
  });
}

// ── several workers ──

interface StatsAnswer {
  readonly stats: readonly PoolSnapshot[];
  readonly turn: number;
}

/** Starts the workers, which share the ports; replaces those that die; gathers their statistics. */
async function runPrimary(flags: PoolFlags, count: number, log: Logger): Promise<number> {
  let isEnding = false;
  const quickDeaths: number[] = [];
  const firstReady = new Promise<void>((resolve, reject) => {
    let waiting = count;
    cluster.on('listening', () => {
      if (--waiting === 0) resolve();
    });
    cluster.on('exit', (worker: Worker, code: number) => {
      if (isEnding) return;
      quickDeaths.push(Date.now());
      if (waiting > 0) {
        reject(new KeyfleetError('KF_LISTEN_FAILED', `worker ${worker.id} ended with code ${code} before it served; its message is above`));
        return;
      }
      log.error({ worker: worker.id, code }, 'a worker ended; another takes its place');
      // One that dies again and again is not started as fast as it dies.
      const recent = quickDeaths.filter((atMs) => Date.now() - atMs < 10_000).length;
      setTimeout(() => !isEnding && cluster.fork(), Math.min(10_000, 100 * 2 ** recent)).unref();
    });
  });
  for (let i = 0; i < count; i++) cluster.fork();
  await firstReady;
  const servers = new FileServers(readPools(flags), log);
  process.on('SIGHUP', () => {
    reload(undefined, servers, flags, log);
    for (const worker of Object.values(cluster.workers ?? {})) worker?.process.kill('SIGHUP');
  });
  const signalled = firstSignal();
  process.stdout.write(`keyfleet ${readPackageVersion()}: serving ${flags.confFile} with ${count} workers\n`);
  const stats = await statsServer(flags, askWorkers, log);
  const signal = await signalled;
  isEnding = true;
  log.info({ signal }, 'ending the workers');
  await stats?.close();
  const workers = Object.values(cluster.workers ?? {}).filter((one) => one !== undefined);
  await Promise.all(
    workers.map(
      (worker) =>
        new Promise<void>((resolve) => {
          const cut = setTimeout(() => worker.process.kill('SIGKILL'), GRACE_MS + 2_000);
          worker.once('exit', () => {
            clearTimeout(cut);
            resolve();
          });
          worker.process.kill('SIGTERM');
        }),
    ),
  );
  return EXIT.ok;
}

let turn = 0;

/** The statistics of all workers, added up; those who do not answer soon are left out. */
async function askWorkers(): Promise<readonly PoolSnapshot[]> {
  const mine = ++turn;
  const workers = Object.values(cluster.workers ?? {}).filter((one) => one !== undefined);
  const answers = await Promise.all(
    workers.map(
      (worker) =>
        new Promise<readonly PoolSnapshot[] | undefined>((resolve) => {
          const done = (answer: readonly PoolSnapshot[] | undefined): void => {
            clearTimeout(timer);
            worker.off('message', take);
            resolve(answer);
          };
          const take = (message: StatsAnswer): void => {
            if (message.turn === mine) done(message.stats);
          };
          const timer = setTimeout(() => done(undefined), 1_000);
          worker.on('message', take);
          worker.send({ turn: mine }, (error) => error && done(undefined));
        }),
    ),
  );
  return mergeSnapshots(answers.filter((one) => one !== undefined));
}

function answerPrimary(proxy: PoolProxy): void {
  process.on('message', (message: { readonly turn: number }) => {
    process.send?.({ turn: message.turn, stats: proxy.pools.map(poolSnapshot) } satisfies StatsAnswer);
  });
  process.on('disconnect', () => process.exit(EXIT.failed));
}
