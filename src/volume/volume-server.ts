import type { IncomingMessage, ServerResponse } from 'node:http';
import type { Bytes } from '../base/bytes.ts';
import { isKeyfleetError, KeyfleetError } from '../base/errors.ts';
import { MIB } from '../base/units.ts';
import { type DeleteRequest, decode, type PullRequest, type PullResult, packResults } from './batch-wire.ts';
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
import { metricsText } from './metrics-text.ts';
import { sendValue } from './value-answer.ts';
import type { BatchValue } from './value-batches.ts';
import { type OpenValue, otherFleet, ValueDirectory } from './value-directory.ts';
import { ValueDamagedError, type ValueInfo } from './value-file.ts';
import { fileName } from './value-paths.ts';
import { VolumeClient } from './volume-client.ts';
import { isHttpAddress } from './volume-config.ts';
import { withBeat } from './with-beat.ts';

/** A body of known length up to this is taken in whole: one write instead of several. */
const SMALL_BODY_BYTES = MIB;
/** An empty line, which JSON and lists of it allow: a sign of life. */
const BEAT = Buffer.from('\n');
/** Stands for a value that has come, until it is known what became of it. */
const NOT_PLACED: PullResult = { code: 'KF_VOLUME_IO', message: 'the value was not stored' };
/** Damaged values that are remembered. */
const MAX_DAMAGED = 10_000;

export interface VolumeServerOptions {
  /** The directory of the values. */
  readonly path: string;
  readonly host?: string;
  /** 0: any free port. */
  readonly port: number;
  readonly token?: string | undefined;
  readonly onError?: (error: unknown) => void;
  readonly limits?: DoorLimits;
}

export interface VolumeServer {
  readonly id: string;
  readonly host: string;
  readonly port: number;
  readonly stats: VolumeStats;
  /** Ends; running requests may take `graceMs` (5 s). */
  close(graceMs?: number): Promise<void>;
}

/** What a volume server has done since it started. */
export interface VolumeStats {
  gets: number;
  puts: number;
  deletes: number;
  bytesIn: number;
  bytesOut: number;
  damaged: number;
}

/**
 * Serves one directory of values: `GET|HEAD /get/<key>`, `PUT /set/<key>`, `DELETE /delete/<key>`, `GET /` (identity and space),
 * `GET /values` (all keys, NDJSON), `GET /healthz`, and the batch requests by which a master moves values between volumes.
 * @throws KF_VOLUME_UNUSABLE, KF_LISTEN_FAILED
 */
export async function startVolumeServer(options: VolumeServerOptions): Promise<VolumeServer> {
  const directory = await ValueDirectory.open(options.path);
  const service = new VolumeService(directory, options);
  let door: Door;
  try {
    door = await openDoor({
      host: options.host ?? '127.0.0.1',
      port: options.port,
      token: options.token,
      limits: options.limits,
      handler: (request, response, url) => service.handle(request, response, url),
      onError: (error) => options.onError?.(error),
    });
  } catch (error) {
    await directory.close();
    throw error;
  }
  return {
    id: directory.id,
    host: door.host,
    port: door.port,
    stats: service.stats,
    close: async (graceMs?: number) => {
      await door.close(graceMs);
      await service.close();
      await directory.close();
    },
  };
}

class VolumeService {
  readonly stats: VolumeStats = { gets: 0, puts: 0, deletes: 0, bytesIn: 0, bytesOut: 0, damaged: 0 };
  readonly #directory: ValueDirectory;
  readonly #token: string | undefined;
  readonly #limits: DoorLimits | undefined;
  readonly #peers = new Map<string, VolumeClient>();
  /** Name and version of values in which damage was found while they were sent. */
  readonly #damaged = new Map<string, number>();
  /** The newest master's that has asked; what an older one had begun must not take effect any more. */
  #epoch = 0;

  constructor(directory: ValueDirectory, { token, limits }: Pick<VolumeServerOptions, 'token' | 'limits'>) {
    this.#directory = directory;
    this.#token = token;
    this.#limits = limits;
  }

  async handle(request: IncomingMessage, response: ServerResponse, url: RequestTarget): Promise<void> {
    const { path } = url;
    const method = request.method ?? 'GET';
    const fleet = header(request, 'keyfleet-fleet');
    const isStranger = fleet !== undefined && this.#directory.fleet !== undefined && fleet !== this.#directory.fleet;
    // A master of another fleet may ask who this is, and no more: its epochs say nothing here.
    if (isStranger && path !== '/') throw otherFleet(this.#directory.fleet);
    if (!isStranger) this.#epoch = Math.max(this.#epoch, epochOf(request) ?? 0);
    const expected = header(request, 'keyfleet-volume');
    if (expected !== undefined && expected !== this.#directory.id) {
      throw new KeyfleetError(
        'KF_WRONG_VOLUME',
        `this address is now that of volume ${this.#directory.id}, not of ${expected}; tell the master where that one is`,
      );
    }
    if (path.startsWith('/get/') && (method === 'GET' || method === 'HEAD'))
      return this.#get(request, response, keyInPath(path, '/get/'), method === 'HEAD');
    if (path.startsWith('/set/') && (method === 'PUT' || method === 'POST')) return this.#set(request, response, keyInPath(path, '/set/'));
    if (path.startsWith('/delete/') && method === 'DELETE') return this.#delete(request, response, keyInPath(path, '/delete/'));
    if (path === '/metrics' && method === 'GET') return this.#metrics(response);
    if (path === '/healthz' || path === '/readyz') return sendJson(response, 200, { status: 'ok' });
    if (path === '/' && method === 'GET')
      return sendJson(response, 200, {
        keyfleet: 'volume',
        id: this.#directory.id,
        fleet: this.#directory.fleet,
        epoch: this.#epoch,
        ...(await this.#directory.space()),
        stats: this.stats,
      });
    if (path === '/values' && method === 'GET') return this.#list(response, url);
    if (path === '/batch/read' && method === 'POST') return this.#batchRead(request, response);
    if (path === '/batch/pull' && method === 'POST') return this.#batchPull(request, response);
    if (path === '/batch/delete' && method === 'POST') return this.#batchDelete(request, response);
    if (path.startsWith('/pull/') && method === 'POST') return this.#pull(request, response, keyInPath(path, '/pull/'));
    if ((path === '/claim' || path === '/release') && method === 'POST') return this.#changeOwner(response, path, fleet);
    throw new KeyfleetError(
      'KF_NOT_FOUND',
      `${method} ${path} is not something a volume does: GET /get/<key>, PUT /set/<key>, DELETE /delete/<key>, GET /`,
    );
  }

  async #changeOwner(response: ServerResponse, path: '/claim' | '/release', fleet: string | undefined): Promise<void> {
    if (fleet === undefined || fleet === '') throw new KeyfleetError('KF_BAD_REQUEST', `${path} wants the header Keyfleet-Fleet`);
    await (path === '/claim' ? this.#directory.claim(fleet) : this.#directory.release(fleet));
    sendJson(response, 200, { id: this.#directory.id, fleet: this.#directory.fleet });
  }

  async #metrics(response: ServerResponse): Promise<void> {
    const { gets, puts, deletes, bytesIn, bytesOut, damaged } = this.stats;
    const { freeBytes, totalBytes } = await this.#directory.space();
    const one = (name: string, help: string, value: number) => ({ name: `keyfleet_volume_server_${name}`, help, samples: [{ value }] });
    const requests = Object.entries({ gets, puts, deletes }).map(([kind, value]) => ({ labels: { kind }, value }));
    const text = await metricsText([
      { name: 'keyfleet_volume_server_requests_total', help: 'Values asked for, stored and removed since the start.', samples: requests },
      one('bytes_in_total', 'Bytes of values stored since the start.', bytesIn),
      one('bytes_out_total', 'Bytes of values sent since the start.', bytesOut),
      one('damaged_total', 'Damaged values met since the start.', damaged),
      one('free_bytes', 'Free space where the values are.', freeBytes),
      one('total_bytes', 'All space where the values are.', totalBytes),
    ]);
    response.writeHead(200, { 'content-type': 'text/plain; version=0.0.4; charset=utf-8' });
    response.end(text);
  }

  async close(): Promise<void> {
    for (const peer of this.#peers.values()) await peer.close();
  }

  async #get(request: IncomingMessage, response: ServerResponse, key: Bytes, headOnly: boolean): Promise<void> {
    this.stats.gets++;
    const value = await this.#open(key);
    if (value === undefined) throw new KeyfleetError('KF_NOT_FOUND', 'there is no value under this key');
    try {
      const { version } = value.reader.info;
      // What was found damaged behind its beginning is refused from its beginning on, so that another copy can be asked for; parts can be had.
      if (request.headers.range === undefined && this.#damaged.get(fileName(key)) === version)
        throw new ValueDamagedError(`the value ${fileName(key)}`, 'damage was found when it was read before');
      this.stats.bytesOut += await sendValue(request, response, value, headOnly);
    } catch (error) {
      this.#noteDamage(error);
      if (response.headersSent && error instanceof ValueDamagedError) {
        if (this.#damaged.size >= MAX_DAMAGED) this.#damaged.clear();
        this.#damaged.set(fileName(key), value.reader.info.version);
      }
      throw error;
    } finally {
      await value.close();
    }
  }

  async #set(request: IncomingMessage, response: ServerResponse, key: Bytes): Promise<void> {
    this.stats.puts++;
    const options = {
      contentType: request.headers['content-type'] ?? 'application/octet-stream',
      version: versionHeader(request),
      sha256: header(request, 'keyfleet-sha256'),
      guard: this.#fence(request),
    };
    const length = request.headers['content-length'];
    const small = length !== undefined && Number(length) <= SMALL_BODY_BYTES;
    const info = small
      ? await this.#directory.put(key, await readBody(request, { limitBytes: SMALL_BODY_BYTES, limits: this.#limits }), options)
      : await this.#directory.putStream(key, bodyPieces(request, this.#limits), options);
    this.stats.bytesIn += info.sizeBytes;
    sendJson(response, 200, stored(info), { etag: `"${info.sha256}"` });
  }

  async #delete(request: IncomingMessage, response: ServerResponse, key: Bytes): Promise<void> {
    this.stats.deletes++;
    this.#fence(request)();
    const removed = await this.#directory.delete(key, { upToVersion: versionHeader(request) });
    if (!removed) throw new KeyfleetError('KF_NOT_FOUND', 'there is no value under this key (or only a newer one)');
    sendJson(response, 200, { deleted: true });
  }

  async #list(response: ServerResponse, url: RequestTarget): Promise<void> {
    const after = url.query.get('after') ?? '';
    const verify = url.query.get('verify') === '1';
    response.writeHead(200, { 'content-type': 'application/x-ndjson' });
    await sendPieces(response, withBeat(this.#listLines(after, verify), BEAT));
  }

  async *#listLines(after: string, verify: boolean): AsyncGenerator<Buffer, void> {
    let lines = '';
    let toldAtMs = performance.now();
    for await (const { name, found } of this.#directory.list({ after, verify })) {
      lines += `${JSON.stringify(isKeyfleetError(found) ? { name, error: found.code, message: found.message } : { name, ...stored(found), key64: Buffer.from(found.key).toString('base64') })}\n`;
      // Reading large values takes long: what is known is told at least once a second.
      if (lines.length < 32_768 && performance.now() - toldAtMs < 1_000) continue;
      yield Buffer.from(lines);
      lines = '';
      toldAtMs = performance.now();
    }
    // The last line says that the list is whole.
    yield Buffer.from(`${lines}${JSON.stringify({ end: true })}\n`);
  }

  async #batchRead(request: IncomingMessage, response: ServerResponse): Promise<void> {
    const { keys } = decode<{ keys: readonly Bytes[] }>(await readBody(request, { limits: this.#limits }));
    response.writeHead(200, { 'content-type': 'application/octet-stream' });
    await sendPieces(response, this.#directory.batches.read(keys));
  }

  async #batchPull(request: IncomingMessage, response: ServerResponse): Promise<void> {
    const { from, keys, versions } = decode<PullRequest>(await readBody(request, { limits: this.#limits }));
    const results: PullResult[] = [];
    const found: BatchValue[] = [];
    const places: number[] = [];
    for await (const values of this.#peer(from).batchRead(keys))
      for (const value of values) {
        const place = results.length;
        if (place >= keys.length) break;
        if (Buffer.isBuffer(value)) {
          results.push(NOT_PLACED);
          places.push(place);
          found.push({ file: value, from, key: keys[place]!, version: versions[place]! });
        } else results.push(value ?? { code: 'absent', message: 'the source has no such value' });
      }
    const placed = await this.#directory.batches.put(found, this.#fence(request));
    for (const [index, result] of placed.entries()) {
      if (isKeyfleetError(result)) results[places[index]!] = { code: result.code, message: result.message };
      else {
        results[places[index]!] = { sha256: result.sha256 };
        this.stats.bytesIn += result.sizeBytes;
        this.stats.puts++;
      }
    }
    while (results.length < keys.length) results.push({ code: 'KF_VOLUME_UNAVAILABLE', message: `${from} ended its answer early` });
    const body = packResults(results);
    response.writeHead(200, { 'content-type': 'application/vnd.msgpack', 'content-length': body.length });
    response.end(body);
  }

  /** Fetches one value, of any size, from another volume. That may take long: the answer begins at once, its end says how it went. */
  async #pull(request: IncomingMessage, response: ServerResponse, key: Bytes): Promise<void> {
    const wanted = decode<{ from: string; version: number }>(await readBody(request, { limits: this.#limits }));
    const outcome = async (): Promise<object> => {
      try {
        return stored(await this.#pullOne(request, key, wanted));
      } catch (error) {
        if (!isKeyfleetError(error)) throw error;
        return { error: { code: error.code, message: error.message } };
      }
    };
    async function* answer(): AsyncGenerator<Buffer, void> {
      yield BEAT;
      yield Buffer.from(`${JSON.stringify(await outcome())}\n`);
    }
    response.writeHead(200, { 'content-type': 'application/json; charset=utf-8' });
    await sendPieces(response, withBeat(answer(), BEAT));
  }

  async #pullOne(
    request: IncomingMessage,
    key: Bytes,
    { from, version }: { readonly from: string; readonly version: number },
  ): Promise<ValueInfo> {
    const source = await this.#peer(from).get(key, {});
    if (source === undefined) throw new KeyfleetError('KF_NOT_FOUND', 'the source has no such value');
    const info = await this.#directory.putStream(key, source.body, {
      contentType: source.contentType,
      version,
      sha256: source.sha256,
      guard: this.#fence(request),
    });
    this.stats.puts++;
    this.stats.bytesIn += info.sizeBytes;
    return info;
  }

  async #batchDelete(request: IncomingMessage, response: ServerResponse): Promise<void> {
    const { keys, versions } = decode<DeleteRequest>(await readBody(request, { limits: this.#limits }));
    this.#fence(request)();
    const deleted = await this.#directory.batches.delete(keys.map((key, index) => ({ key, upToVersion: versions[index]! })));
    this.stats.deletes += deleted;
    sendJson(response, 200, { deleted });
  }

  /** Refuses, at the last moment, what a master asked for that has a successor by now. */
  #fence(request: IncomingMessage): () => void {
    const epoch = epochOf(request);
    return () => {
      // Whoever asked has given up, and may have looked already whether it happened.
      if (request.socket.destroyed) throw new KeyfleetError('KF_REQUEST_INCOMPLETE', 'the one who asked is gone; nothing was stored');
      if (epoch !== undefined && epoch < this.#epoch) {
        throw new KeyfleetError(
          'KF_FENCED',
          `a newer master (epoch ${this.#epoch}) has taken over from the one that asked for this (epoch ${epoch})`,
        );
      }
    };
  }

  #peer(address: string): VolumeClient {
    if (!isHttpAddress(address)) throw new KeyfleetError('KF_BAD_REQUEST', 'from should be the address of a volume');
    let peer = this.#peers.get(address);
    if (peer === undefined) {
      peer = new VolumeClient(address, { token: this.#token });
      this.#peers.set(address, peer);
    }
    return peer;
  }

  async #open(key: Bytes): Promise<OpenValue | undefined> {
    try {
      return await this.#directory.open(key);
    } catch (error) {
      this.#noteDamage(error);
      throw error;
    }
  }

  #noteDamage(error: unknown): void {
    if (isKeyfleetError(error) && error.code === 'KF_VALUE_DAMAGED') this.stats.damaged++;
  }
}

function stored(info: ValueInfo): { sizeBytes: number; version: number; sha256: string; contentType: string } {
  return { sizeBytes: info.sizeBytes, version: info.version, sha256: info.sha256, contentType: info.contentType };
}

function header(request: IncomingMessage, name: string): string | undefined {
  const value = request.headers[name];
  return Array.isArray(value) ? value[0] : value;
}

function epochOf(request: IncomingMessage): number | undefined {
  const epoch = Number(header(request, 'keyfleet-epoch'));
  return Number.isSafeInteger(epoch) && epoch > 0 ? epoch : undefined;
}

function versionHeader(request: IncomingMessage): number | undefined {
  const text = header(request, 'keyfleet-version');
  if (text === undefined) return undefined;
  const version = Number(text);
  if (!Number.isSafeInteger(version) || version < 0)
    throw new KeyfleetError('KF_BAD_REQUEST', `Keyfleet-Version: ${text} is not a whole number`);
  return version;
}
