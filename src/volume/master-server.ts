import type { IncomingMessage, ServerResponse } from 'node:http';
import { pipeline } from 'node:stream/promises';
import { setTimeout as sleep } from 'node:timers/promises';
import type { Bytes } from '../base/bytes.ts';
import { isKeyfleetError, KeyfleetError, messageOf } from '../base/errors.ts';
import { MIB } from '../base/units.ts';
import type { Storage } from '../storage/storage.ts';
import {
  bodyPieces,
  type Door,
  type DoorLimits,
  keyInPath,
  openDoor,
  type RequestTarget,
  readBody,
  sendJson,
  sendPieces,
} from './http-door.ts';
import { Master } from './master.ts';
import { MasterAdmin } from './master-admin.ts';
import { Metakeys } from './metakeys.ts';
import { type MoveLimits, Mover } from './mover.ts';
import type { VolumeAnswer } from './volume-client.ts';

const SMALL_BODY_BYTES = MIB;
const START_RETRY_MS = 200;
/** A move that has not ended so long after the end of the master was asked for is broken off. */
const MOVES_END_MS = 4_000;
/** What of a volume's answer the client sees. */
const PASSED_HEADERS = ['content-type', 'content-length', 'content-range', 'etag', 'accept-ranges'] as const;

export interface MasterServerOptions {
  /** The master's database, open; the server closes it. */
  readonly storage: Storage;
  readonly host?: string;
  /** 0: any free port. */
  readonly port: number;
  readonly volumes: readonly string[];
  readonly replicas?: number;
  readonly token?: string | undefined;
  readonly password?: string | undefined;
  readonly moves?: MoveLimits;
  readonly connectMs?: number;
  readonly answerMs?: number;
  /** The list of volumes has changed by administration: to be written to the configuration. */
  readonly onVolumesChanged?: (addresses: readonly string[]) => Promise<void>;
  /** So long new volumes that do not answer yet are waited for at the start; none when absent. */
  readonly startWaitMs?: number;
  readonly onWaiting?: (error: KeyfleetError) => void;
  readonly onError?: (error: unknown) => void;
  readonly limits?: DoorLimits;
}

export interface MasterServer {
  readonly host: string;
  readonly port: number;
  readonly master: Master;
  readonly mover: Mover;
  readonly admin: MasterAdmin;
  close(): Promise<void>;
}

/** A master without its door: opened, the roll called, ready to serve, move or be asked. */
export async function openMaster(
  options: Omit<MasterServerOptions, 'port' | 'host'>,
): Promise<{ master: Master; mover: Mover; admin: MasterAdmin; close(): Promise<void> }> {
  const master = await Master.open({
    metakeys: new Metakeys(options.storage),
    token: options.token,
    connectMs: options.connectMs,
    answerMs: options.answerMs,
  });
  const mover = new Mover(master, options.moves ?? { concurrency: 4, bytesPerSecond: undefined });
  const admin = new MasterAdmin(master, mover, { password: options.password, onVolumesChanged: options.onVolumesChanged });
  const close = async (): Promise<void> => {
    await mover.close();
    await master.close();
  };
  return { master, mover, admin, close };
}

/**
 * Serves keys over volumes: `GET|HEAD /get/<key>`, `PUT /set/<key>`, `DELETE /delete/<key>`, `GET /`, `/healthz`, `/readyz`, `/metrics`, and
 * the administration under `/admin/`. On start it compares the configured volumes with the recorded ones, takes in new ones and goes on
 * with what was moving.
 *
 * @throws what {@link MasterAdmin.takeIn} refuses; KF_LISTEN_FAILED
 */
export async function startMasterServer(options: MasterServerOptions): Promise<MasterServer> {
  const { master, mover, admin, close } = await openMaster(options);
  let door: Door;
  try {
    await takeInWhenUp(admin, options);
    const service = new MasterService(master, admin, options.limits);
    door = await openDoor({
      host: options.host ?? '127.0.0.1',
      port: options.port,
      limits: options.limits,
      isGuarded: options.password !== undefined,
      handler: (request, response, url) => service.handle(request, response, url),
      onError: (error) => options.onError?.(error),
    });
  } catch (error) {
    await close();
    throw error;
  }
  await mover.resume();
  return {
    host: door.host,
    port: door.port,
    master,
    mover,
    admin,
    close: async () => {
      await door.close();
      // A large value may be on its way for long: it is left, and its move begun again at the next start.
      const impatience = setTimeout(() => master.clients.disconnectAll(), MOVES_END_MS);
      await close();
      clearTimeout(impatience);
    },
  };
}

/** Volumes that are started at the same time may not listen yet. */
async function takeInWhenUp(admin: MasterAdmin, { volumes, replicas = 1, startWaitMs = 0, onWaiting }: MasterServerOptions): Promise<void> {
  const untilMs = performance.now() + startWaitMs;
  for (let tries = 0; ; tries++) {
    try {
      return await admin.takeIn(volumes, { replicas });
    } catch (error) {
      if (!isKeyfleetError(error) || error.code !== 'KF_VOLUME_UNAVAILABLE' || performance.now() > untilMs) throw error;
      if (tries === 0) onWaiting?.(error);
      await sleep(START_RETRY_MS);
    }
  }
}

class MasterService {
  readonly #master: Master;
  readonly #admin: MasterAdmin;
  readonly #limits: DoorLimits | undefined;

  constructor(master: Master, admin: MasterAdmin, limits: DoorLimits | undefined) {
    this.#master = master;
    this.#admin = admin;
    this.#limits = limits;
  }

  async handle(request: IncomingMessage, response: ServerResponse, url: RequestTarget): Promise<void> {
    const { path } = url;
    const method = request.method ?? 'GET';
    if (path.startsWith('/get/') && (method === 'GET' || method === 'HEAD'))
      return this.#get(request, response, keyInPath(path, '/get/'), method);
    if (path.startsWith('/set/') && (method === 'PUT' || method === 'POST')) return this.#set(request, response, keyInPath(path, '/set/'));
    if (path.startsWith('/delete/') && method === 'DELETE') return this.#delete(response, keyInPath(path, '/delete/'));
    if (path === '/keys' && method === 'GET') return this.#keys(response, url);
    if (path === '/healthz' || path === '/readyz') return sendJson(response, 200, { status: 'ok' });
    if (path === '/' && method === 'GET') return sendJson(response, 200, this.#admin.summary());
    if (path === '/metrics' && method === 'GET') {
      response.writeHead(200, { 'content-type': 'text/plain; version=0.0.4; charset=utf-8' });
      response.end(await this.#admin.metrics());
      return;
    }
    if (path.startsWith('/admin/')) return this.#admin.handle(request, response, url);
    throw new KeyfleetError(
      'KF_NOT_FOUND',
      `${method} ${path} is not something a master does: GET /get/<key>, PUT /set/<key>, DELETE /delete/<key>, GET /`,
    );
  }

  async #get(request: IncomingMessage, response: ServerResponse, key: Bytes, method: 'GET' | 'HEAD'): Promise<void> {
    const headers: Record<string, string> = {};
    for (const name of ['range', 'if-none-match', 'if-range'] as const) {
      const value = request.headers[name];
      if (typeof value === 'string') headers[name] = value;
    }
    const answer = await this.#master.get(key, method, headers);
    response.writeHead(answer.status, passedHeaders(answer));
    try {
      await pipeline(answer.body, response);
    } catch (error) {
      // Cut the connection: a value that ends early must not look whole.
      response.destroy();
      if (!request.socket.destroyed) throw new KeyfleetError('KF_VOLUME_UNAVAILABLE', messageOf(error), { cause: error });
    }
  }

  async #set(request: IncomingMessage, response: ServerResponse, key: Bytes): Promise<void> {
    const contentType = request.headers['content-type'] ?? 'application/octet-stream';
    const length = request.headers['content-length'];
    const sizeBytes = length === undefined ? undefined : Number(length);
    const small = sizeBytes !== undefined && sizeBytes <= SMALL_BODY_BYTES;
    const stored = small
      ? await this.#master.put(key, await readBody(request, { limitBytes: SMALL_BODY_BYTES, limits: this.#limits }), {
          contentType,
          sizeBytes,
        })
      : await this.#master.put(key, bodyPieces(request, this.#limits), { contentType, sizeBytes });
    sendJson(response, 200, { sizeBytes: stored.sizeBytes, sha256: stored.sha256 }, { etag: `"${stored.sha256}"` });
  }

  async #keys(response: ServerResponse, url: RequestTarget): Promise<void> {
    const prefix = Buffer.from(url.query.get('prefix') ?? '', 'utf8');
    const { metakeys } = this.#master;
    async function* lines(): AsyncGenerator<Buffer, void> {
      let after: Bytes | undefined;
      do {
        const page = metakeys.page(after, 1_000);
        const kept = page.metakeys.filter(({ key, deleting }) => !deleting && prefix.equals(key.subarray(0, prefix.length)));
        yield Buffer.from(kept.map(({ key, sizeBytes, sha256 }) => `${JSON.stringify({ ...nameKey(key), sizeBytes, sha256 })}\n`).join(''));
        after = page.next;
        // Pages without a key of the prefix give the sender no reason to wait; others are to be served in between.
        await new Promise((resolve) => setImmediate(resolve));
      } while (after !== undefined);
      yield Buffer.from(`${JSON.stringify({ end: true })}\n`);
    }
    response.writeHead(200, { 'content-type': 'application/x-ndjson' });
    await sendPieces(response, lines());
  }

  async #delete(response: ServerResponse, key: Bytes): Promise<void> {
    await this.#master.delete(key);
    sendJson(response, 200, { deleted: true });
  }
}

/** `key` when the bytes are UTF-8, else `key64`. */
function nameKey(key: Bytes): { readonly key: string } | { readonly key64: string } {
  const bytes = Buffer.from(key);
  const text = bytes.toString('utf8');
  return Buffer.from(text, 'utf8').equals(bytes) ? { key: text } : { key64: bytes.toString('base64') };
}

function passedHeaders(answer: VolumeAnswer): Record<string, string> {
  const passed: Record<string, string> = {};
  for (const name of PASSED_HEADERS) {
    const value = answer.headers[name];
    if (typeof value === 'string') passed[name] = value;
  }
  return passed;
}
