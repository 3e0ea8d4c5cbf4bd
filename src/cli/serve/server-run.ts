import { resolve } from 'node:path';
import { isKeyfleetError, KeyfleetError } from '../../base/errors.ts';
import { GIB, showDuration } from '../../base/units.ts';
import { isLoopbackAddress } from '../../door/access.ts';
import { nodeClusterAdmin } from '../../http/cluster-admin.ts';
import { NodeHttpStore } from '../../http/node-store.ts';
import { type HttpServer, startHttpServer } from '../../http/server.ts';
import { openCluster } from '../../node/open-cluster.ts';
import { openStore } from '../../node/open-store.ts';
import { NodeClusterSource } from '../../resp/node-cluster.ts';
import { type RespServer, startRespServer } from '../../resp/server.ts';
import type { NodeAddresses } from '../../shard/meta/node-record.ts';
import { createRedisModule } from '../../shard/redis/redis-module.ts';
import { makeDirs } from '../../storage/files.ts';
import { openStorage } from '../../storage/lmdb.ts';
import type { Durability, Storage } from '../../storage/storage.ts';
import { readPassword } from '../client/server-client.ts';
import { EXIT } from '../terminal/exit-code.ts';
import { createLogger, type Logger } from '../terminal/logger.ts';
import { readPackageVersion } from '../terminal/package-version.ts';
import { banner } from './banner.ts';
import { clusterAdvice, clusterOptions } from './serve-cluster.ts';
import { loadModules, READY_MODULES } from './serve-modules.ts';
import type { ServeSettings } from './serve-settings.ts';

/** How long answers under way may take once the server is asked to end. */
const GRACE_MS = 5_000;
/** When the shards of a new keyspace are split; `keyfleet policy set` says otherwise. */
const SPLIT_BEYOND = { maxKeysPerShard: 4_000_000, maxBytesPerShard: 4 * GIB };
/** After this it ends whatever is still open; what was acknowledged is on disk by then as ever. */
const SHUTDOWN_MS = 15_000;

/** Serves until a signal ends it; resolves to the exit code. @throws KF_… when it cannot begin. */
export async function runServer(settings: ServeSettings): Promise<number> {
  const startedMs = Date.now();
  const version = readPackageVersion();
  const password = settings.passwordFile === undefined ? '' : readPassword(settings.passwordFile);
  protect(settings, password);
  const log = createLogger({ level: settings.logLevel, format: settings.logFormat });
  const dir = resolve(settings.dir);

  const lookups = { hits: 0, misses: 0 };
  const modules = await loadModules(settings.modules);
  const cluster = clusterOptions(settings);
  const common = {
    keyspaces: {
      default: { module: createRedisModule({ lookups }), scheme: 'redis', shards: settings.shards, policy: SPLIT_BEYOND },
      ...Object.fromEntries([...modules].map(([name, one]) => [name, { ...one, shards: settings.shards, policy: SPLIT_BEYOND }])),
    },
    onBackgroundError: (error: Error) => {
      // What is tried again by itself is no news for anybody but those who look for it.
      if (isKeyfleetError(error) && error.retryable) log.warn({ code: error.code, why: error.message }, 'tried again');
      else log.error({ err: error }, 'work in the background failed');
    },
  } as const;
  const storage = await openData(dir, settings.durability);
  const store = cluster
    ? await openCluster({
        ...common,
        ...cluster,
        modules: READY_MODULES,
        storage,
        release: version,
        checkModules: settings.checkModules,
      }).catch((error: unknown) => {
        throw clusterAdvice(error, settings);
      })
    : await openStore({ ...common, storage, checkModules: settings.checkModules });
  // Such as a backup was restored into under another name, or a client of a cluster has made.
  for (const { name, module: moduleName, isServed, scheme } of store.listKeyspaces()) {
    if (isServed) continue;
    const module = READY_MODULES.find((ready) => ready.name === moduleName);
    if (moduleName === 'redis') await store.registerKeyspace(name, { module: createRedisModule({ lookups }), scheme });
    else if (module) await store.registerKeyspace(name, { module, scheme });
  }
  const host = 'risks' in store.node ? store.node : undefined;
  const doors: { resp?: RespServer; http?: HttpServer } = {};
  try {
    await openDoors();
    await host?.node.setAddresses(addressesOf(doors, settings));
  } catch (error) {
    await closeAll(doors, log);
    await store.close();
    throw withAdvice(error);
  }
  for (const risk of host?.risks ?? []) log.warn({ risk }, 'the NATS servers');
  for (const { name, module, isServed } of store.listKeyspaces()) {
    if (!isServed) log.warn({ keyspace: name, module }, 'not served: its value module was not given (--module)');
  }
  log.info({ dir, durability: settings.durability, startedInMs: Date.now() - startedMs }, 'serving');
  // Before anybody reads that we are up, and may end us for it.
  const signal = firstSignal(log);
  process.stdout.write(
    banner({
      ...{ version, dir, durability: settings.durability, resp: doors.resp?.address, http: doors.http, hasPassword: password !== '' },
      ...(host ? { cluster: { name: host.view().cluster, node: host.nodeId, nodes: host.view().nodes.map(({ id }) => id) } } : {}),
    }),
  );
  if (password === '' && !isLoopbackAddress(settings.host)) {
    log.warn({ host: settings.host }, 'everyone who can reach this address may read and write: no password is set');
  }
  return shutDown(await signal);

  async function openDoors(): Promise<void> {
    const { node } = store;
    const httpStore = new NodeHttpStore(node, host && nodeClusterAdmin(host));
    if (settings.respPort !== undefined) {
      const keyspace = httpStore.handle('default');
      doors.resp = await startRespServer({
        keyspace,
        host: settings.host,
        port: settings.respPort,
        settings: { maxclients: settings.maxClients, timeout: settings.idleTimeoutSeconds, requirepass: password },
        info: {
          version,
          directory: dir,
          storage: () => node.storage.stats(),
          shards: () => httpStore.keyspace('default')!.shards(),
          typeOf: (value) => (value instanceof Uint8Array ? 'string' : (value as { readonly kind: string }).kind),
          lookups,
          refusal: () => node.storage.refusal,
        },
        redirects: settings.redirects,
        ...(host ? { cluster: new NodeClusterSource(host.node, 'default') } : {}),
      });
    }
    if (settings.httpPort !== undefined) {
      doors.http = await startHttpServer({
        store: httpStore,
        host: settings.host,
        port: settings.httpPort,
        version,
        // CONFIG SET requirepass changes the password of both doors.
        password: () => doors.resp?.settings.requirepass ?? password,
        maxConnections: settings.httpMaxConnections,
        maxBodyBytes: settings.httpMaxBodyBytes,
        requestTimeoutMs: settings.httpRequestTimeoutMs,
        doors: () => (doors.resp ? { resp: respNumbers(doors.resp) } : {}),
        onFault: (error, request) => log.error({ err: error, ...request }, 'a fault of ours'),
      });
    }
  }

  async function shutDown(signal: string): Promise<number> {
    const endingMs = Date.now();
    log.info({ signal }, 'ending: no new connections, answering what is under way');
    setTimeout(() => {
      log.error('could not end in time; ending now');
      process.exit(EXIT.failed);
    }, SHUTDOWN_MS).unref();
    await closeAll(doors, log);
    await store.close();
    log.info({ took: showDuration(Date.now() - endingMs) }, 'ended; everything acknowledged is on disk');
    return EXIT.ok;
  }
}

/** @throws KF_UNPROTECTED when other machines could come in without a password, and nobody said that they may. */
function protect({ host, isProtected }: ServeSettings, password: string): void {
  if (!isProtected || password !== '' || isLoopbackAddress(host)) return;
  throw new KeyfleetError(
    'KF_UNPROTECTED',
    `${host} can be reached from other machines and no password is set; give --password-file FILE, or --no-protected if everyone may read and write`,
  );
}

/** Opens the data, for nobody else to read. @throws KF_STORAGE_… */
function openData(dir: string, durability: Durability): Promise<Storage> {
  try {
    makeDirs(dir, 0o700);
  } catch {
    // Opening it says what is wrong with it.
  }
  return openStorage({ dir, durability });
}

/** A port that is taken is the most common of all mistakes: what to do about it belongs in the message. */
function withAdvice(error: unknown): unknown {
  if (!isKeyfleetError(error) || (error.cause as { readonly code?: string } | undefined)?.code !== 'EADDRINUSE') return error;
  const advice = 'another process (perhaps another keyfleet) listens there; end it, or choose other ports with --resp PORT and --http PORT';
  return new KeyfleetError(error.code, `${error.message}; ${advice}`, { cause: error });
}

async function closeAll(doors: { readonly resp?: RespServer; readonly http?: HttpServer }, log: Logger): Promise<void> {
  const closed = await Promise.allSettled([doors.resp?.close({ graceMs: GRACE_MS }), doors.http?.close(GRACE_MS)]);
  for (const one of closed) if (one.status === 'rejected') log.error({ err: one.reason }, 'a door did not close well');
}

/** The first signal to end. From then on the next Ctrl-C ends the process at once. */
function firstSignal(log: Logger): Promise<string> {
  return new Promise((resolve) => {
    const first = (signal: string): void => {
      process.off('SIGINT', first).off('SIGTERM', first);
      process.on('SIGINT', () => {
        log.warn('ended at once by a second signal; what was acknowledged is on disk');
        process.exit(EXIT.interrupted);
      });
      // A second SIGTERM says nothing new.
      process.on('SIGTERM', () => {});
      resolve(signal);
    };
    process.on('SIGINT', first).on('SIGTERM', first);
  });
}

/** Where others find the doors. */
function addressesOf(doors: { readonly resp?: RespServer; readonly http?: HttpServer }, { advertise, host }: ServeSettings): NodeAddresses {
  const at = advertise ?? host;
  const shown = at.includes(':') ? `[${at}]` : at;
  return {
    ...(doors.resp ? { resp: `${shown}:${doors.resp.address.port}` } : {}),
    ...(doors.http ? { http: `${shown}:${doors.http.port}` } : {}),
  };
}

function respNumbers({ stats }: RespServer): Readonly<Record<string, number>> {
  return {
    connections: stats.connections,
    connectionsOpened: stats.connectionsOpened,
    connectionsRejected: stats.connectionsRejected,
    commands: stats.commands,
    commandsPerSecond: stats.opsPerSecond,
    inFlight: stats.inFlight,
    errors: stats.errorCount,
    bytesIn: stats.bytesIn,
    bytesOut: stats.bytesOut,
  };
}
