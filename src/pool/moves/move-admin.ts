/**
 * The owner of a pool: its map, journal, mover and the leases of its routers, behind an HTTP API on loopback (or anywhere, with a password). Routers register and renew here,
 * people and `keyfleet pool …` ask for changes.
 */
import { mkdirSync } from 'node:fs';
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import { join } from 'node:path';
import { isKeyfleetError, KeyfleetError, messageOf } from '../../base/errors.ts';
import { carriesSecret, isLoopbackAddress, isLoopbackHost } from '../../door/access.ts';
import { type PoolConfig, type PoolServer, parseAddress, showAddress } from '../pool-config.ts';
import { PoolMap } from '../pool-map.ts';
import { readPoolMap, writePoolMap } from '../pool-map-file.ts';
import { type AskedChange, askedByFile, parseNewServer, serverNamed, wantedBy } from './asked-change.ts';
import { asksForOthers, checkPlacement, isThere } from './file-changes.ts';
import type { MoveForecast } from './move-checks.ts';
import { MoveCoordinator } from './move-coordinator.ts';
import { MoveEngine } from './move-engine.ts';
import { type AskedLimits, limitsOf, readLimits, setLimits, writeLimits } from './move-limits.ts';
import { moverAddress, type ServerAddress } from './move-link.ts';
import type { PaceLimits } from './move-pace.ts';
import { planChange } from './move-plan.ts';
import type { PlannedMove } from './move-records.ts';
import type { WalkLimits } from './move-walk.ts';
import { VerifyJob } from './verify-job.ts';
import { WholeServers } from './whole-servers.ts';

export interface PoolAdminOptions {
  readonly config: PoolConfig;
  /** Where the map and the journal are kept. */
  readonly dir: string;
  readonly host?: string;
  readonly port?: number;
  /** Asked of everyone as `Authorization: Bearer …`; needed off loopback. */
  readonly password?: string | undefined;
  readonly leaseMs?: number;
  readonly limits?: Partial<WalkLimits>;
  readonly pace?: PaceLimits;
  readonly onError?: (error: unknown) => void;
}

/** What a change comes to. */
export interface ChangeAnswer {
  readonly moves: readonly (PlannedMove & Partial<MoveForecast> & { readonly seconds?: number })[];
  /** The pool is as asked already, or on its way there by `moves`. */
  readonly isThere?: boolean;
}

export interface PoolAdmin {
  readonly url: string;
  readonly engine: MoveEngine;
  readonly coordinator: MoveCoordinator;
  readonly whole: WholeServers;
  /**
   * Takes the pool's file as it has become: how servers are reached at once, and what has changed among the servers, or ranges, as a plan whose moves begin.
   *
   * @throws KF_POOL_PLAN and whatever else stands in the way of the plan: it is asked for again with the next call.
   */
  reload(config: PoolConfig): Promise<ChangeAnswer>;
  close(): Promise<void>;
}

interface Asked extends AskedLimits, AskedChange {
  readonly id?: string;
  readonly epoch?: number;
  readonly foregroundP99Ms?: number;
  readonly waitMs?: number;
  readonly move?: string;
  readonly keys?: readonly string[];
  readonly address?: string;
  readonly addresses?: readonly string[];
  readonly sample?: number;
  readonly dryRun?: boolean;
  readonly dropStrays?: boolean;
}

const MOST_WAIT_MS = 60_000;
const MOST_BODY_BYTES = 16 * 1024 * 1024;

/** @throws KF_LISTEN_FAILED; KF_UNAUTHORIZED when it is to be reachable from elsewhere without a password; KF_POOL_MAP, KF_JOURNAL_DAMAGED. */
export async function startPoolAdmin(options: PoolAdminOptions): Promise<PoolAdmin> {
  const { config, dir, host = '127.0.0.1', port = 0, password } = options;
  /** The file as it was last read, and as far as its servers were taken. */
  let file = config;
  if (!isLoopbackAddress(host) && password === undefined)
    throw new KeyfleetError('KF_UNAUTHORIZED', `without a password the owner of a pool listens on loopback only, not on ${host}`);
  mkdirSync(dir, { recursive: true });
  const mapPath = join(dir, `${config.name}.map.json`);
  const kept = readPoolMap(mapPath, config);
  const map = kept ?? PoolMap.of(config);
  const addressOf = (server: PoolServer): ServerAddress => moverAddress(file, server);
  const coordinator = new MoveCoordinator(
    map,
    { addressOf, ...(options.leaseMs === undefined ? {} : { leaseMs: options.leaseMs }) },
    kept !== undefined,
  );
  const engine = await MoveEngine.open({
    config,
    map,
    routers: coordinator,
    journalPath: join(dir, `${config.name}.moves`),
    saveMap: (newer) => writePoolMap(mapPath, newer),
    addressOf,
    ...(options.limits === undefined ? {} : { limits: options.limits }),
    ...(options.pace === undefined ? {} : { pace: options.pace }),
  });
  if (kept === undefined) writePoolMap(mapPath, map);
  const limitsPath = join(dir, `${config.name}.limits.json`);
  readLimits(limitsPath, engine);
  const whole = await WholeServers.open({ engine, addressOf, journalPath: join(dir, `${config.name}.whole`) });

  const verification = new VerifyJob();
  const routes: Readonly<Record<string, (asked: Asked) => Promise<unknown>>> = {
    'POST /v1/routers/renew': async ({ id = '', epoch = 0, foregroundP99Ms, waitMs = 0 }) => {
      coordinator.renew(id, epoch, foregroundP99Ms);
      await coordinator.newer(epoch, Math.min(waitMs, coordinator.leaseMs / 4));
      const { leaseMs, map: newer } = coordinator.renew(id, epoch, foregroundP99Ms);
      return { leaseMs, map: newer?.toJson() };
    },
    'POST /v1/routers/leave': async ({ id = '' }) => coordinator.leave(id),
    'POST /v1/pull': ({ move = '', keys = [] }) =>
      engine.pull(
        move,
        keys.map((key) => Buffer.from(key, 'base64')),
      ),
    'GET /v1/status': async () => ({
      pool: config.name,
      ...engine.status(),
      servers: engine.map.servers.map((server, index) => ({
        name: server.name,
        address: showAddress(server.address),
        weight: server.weight,
        slots: engine.map.slotsOf(index).length,
      })),
      slotCount: engine.map.slotCount,
      whole: whole.status,
      limits: limitsOf(engine),
      routers: coordinator.routers,
    }),
    'POST /v1/change': change,
    'POST /v1/moves/pause': () => engine.pause(),
    'POST /v1/moves/resume': () => engine.resume(),
    'POST /v1/moves/cancel': async () => (whole.status?.isRunning ? whole.cancel() : engine.cancel()),
    'POST /v1/verify': ({ server, address, sample, waitMs = 0 }) => {
      if (sample !== undefined && !(Number.isSafeInteger(sample) && sample > 0))
        throw new KeyfleetError('KF_BAD_REQUEST', 'a sample is a whole number of keys');
      verification.begin({ map: () => engine.map, addressOf, sample, against: copyOf(server, address) });
      return verification.settled(Math.min(waitMs, MOST_WAIT_MS));
    },
    'GET /v1/verify': async () => verification.status,
    'POST /v1/limits': async (asked) => {
      setLimits(engine, asked);
      writeLimits(limitsPath, engine);
      return limitsOf(engine);
    },
    'POST /v1/servers/move': async ({ server = '', address = '', dryRun }) => {
      const to = parseAddress(address);
      if (to === undefined) throw new KeyfleetError('KF_POOL_PLAN', `${address} is neither host:port nor a path`);
      const before = serverNamed(engine.map.servers, server);
      return whole.begin({ what: 'move', server, targets: [{ ...before, address: to }] }, dryRun === true);
    },
    'POST /v1/servers/split': async ({ server = '', addresses = [], dryRun }) => {
      const { weight } = serverNamed(engine.map.servers, server);
      return whole.begin({ what: 'split', server, targets: addresses.map((text) => parseNewServer(text, weight)) }, dryRun === true);
    },
  };

  async function change(asked: Asked): Promise<ChangeAnswer> {
    const { goal } = engine;
    const wanted = wantedBy(goal.servers, config, asked);
    // A file that several processes read is asked for by each of them.
    if (asked.action === 'file' && isThere(goal, config, wanted)) return { moves: [...engine.planned], isThere: true };
    const plan = planChange(engine.map, config, wanted.servers, wanted.title, wanted.ranges);
    if (asked.dryRun) return { moves: await engine.forecast(plan) };
    await engine.start(plan, { dropStrays: asked.dropStrays === true });
    return { moves: plan.moves };
  }

  /** A server of the pool and an address with a copy of it. */
  function copyOf(name: string | undefined, text: string | undefined): { server: string; copy: ServerAddress } | undefined {
    if (name === undefined && text === undefined) return undefined;
    const address = parseAddress(text ?? '');
    if (address === undefined) throw new KeyfleetError('KF_POOL_PLAN', `${text} is neither host:port nor a path`);
    return { server: name ?? '', copy: addressOf({ ...serverNamed(engine.map.servers, name ?? ''), address }) };
  }

  const server = createServer({ requestTimeout: 30_000 }, (request, response) => {
    void answer(request, response);
  });
  async function answer(request: IncomingMessage, response: ServerResponse): Promise<void> {
    try {
      if (password !== undefined && !carriesSecret(request.headers, password))
        throw new KeyfleetError('KF_UNAUTHORIZED', 'the owner of this pool wants a password');
      if (password === undefined && !isLoopbackHost(request.headers.host))
        throw new KeyfleetError('KF_UNAUTHORIZED', 'without a password only names of this machine itself are answered');
      const route = routes[`${request.method} ${(request.url ?? '/').split('?')[0]}`];
      if (route === undefined) throw new KeyfleetError('KF_NOT_FOUND', 'there is no such request');
      send(response, 200, (await route(await bodyOf(request))) ?? {});
    } catch (error) {
      if (!isKeyfleetError(error)) options.onError?.(error);
      const code = isKeyfleetError(error) ? error.code : 'KF_INTERNAL';
      send(response, STATUS[code] ?? 409, {
        error: { code, message: messageOf(error), retryable: isKeyfleetError(error) && error.retryable },
      });
    }
  }
  await new Promise<void>((resolve, reject) => {
    server.once('error', (error) =>
      reject(new KeyfleetError('KF_LISTEN_FAILED', `cannot listen on ${host}:${port}: ${error.message}`, { cause: error })),
    );
    server.listen(port, host, resolve);
  });
  return {
    url: `http://${host.includes(':') ? `[${host}]` : host}:${(server.address() as AddressInfo).port}`,
    engine,
    coordinator,
    whole,
    reload: async (after) => {
      checkPlacement(config, after);
      const { servers, ranges } = file;
      file = { ...after, servers, ...(ranges === undefined ? {} : { ranges }) };
      if (!asksForOthers(file, after)) return { moves: [] };
      const answer = await change(askedByFile(after, file));
      file = after;
      return answer;
    },
    close: async () => {
      const ended = whole.close();
      server.closeAllConnections();
      await new Promise((resolve) => server.close(resolve));
      await ended;
      await verification.close();
      await engine.close();
    },
  };
}

const STATUS: Readonly<Record<string, number>> = {
  KF_UNAUTHORIZED: 401,
  KF_NOT_FOUND: 404,
  KF_BAD_REQUEST: 400,
  KF_POOL_MOVING: 503,
  KF_INTERNAL: 500,
};

async function bodyOf(request: IncomingMessage): Promise<Asked> {
  const pieces: Buffer[] = [];
  let length = 0;
  for await (const piece of request) {
    length += (piece as Buffer).length;
    if (length > MOST_BODY_BYTES) throw new KeyfleetError('KF_BAD_REQUEST', 'the body is too large');
    pieces.push(piece as Buffer);
  }
  if (length === 0) return {};
  try {
    return JSON.parse(Buffer.concat(pieces).toString('utf8')) as Asked;
  } catch (error) {
    throw new KeyfleetError('KF_BAD_REQUEST', `the body is no JSON: ${messageOf(error)}`);
  }
}

function send(response: ServerResponse, status: number, body: unknown): void {
  const text = Buffer.from(JSON.stringify(body));
  response.writeHead(status, { 'content-type': 'application/json', 'content-length': text.length });
  response.end(text);
}
