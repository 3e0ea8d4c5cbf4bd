import type { IncomingMessage, ServerResponse } from 'node:http';
import { KeyfleetError, messageOf } from '../base/errors.ts';
import { carriesSecret } from '../door/access.ts';
import { isFromHere } from './access.ts';
import { type RequestTarget, readBody, sendJson, sendPieces } from './http-door.ts';
import type { Master } from './master.ts';
import { metricsText } from './metrics-text.ts';
import { forecastMoves, type MoveForecast } from './move-forecast.ts';
import type { MoveProgress, Mover } from './mover.ts';
import { verify } from './verify.ts';
import { isHttpAddress } from './volume-config.ts';
import { callTheRoll, claim, ofAnother, requireEmpty } from './volume-roll-call.ts';
import { withBeat } from './with-beat.ts';

/** What `GET /admin/status` tells. */
export interface MasterStatus {
  readonly keyfleet: 'master';
  readonly keyCount: number;
  readonly replicas: number;
  readonly volumes: readonly {
    readonly number: number;
    readonly id: string;
    readonly address: string;
    readonly state: string;
    readonly keyCount: number;
    readonly sizeBytes: number;
    /** Undefined: it does not answer. */
    readonly freeBytes?: number;
  }[];
  readonly moves: MoveProgress;
}

/** Changes of the volumes, the moves that follow from them, and what there is to know about both. */
export class MasterAdmin {
  readonly #master: Master;
  readonly #mover: Mover;
  readonly #password: string | undefined;
  readonly #onVolumesChanged: ((addresses: readonly string[]) => Promise<void>) | undefined;

  constructor(
    master: Master,
    mover: Mover,
    options: {
      readonly password?: string | undefined;
      readonly onVolumesChanged?: ((addresses: readonly string[]) => Promise<void>) | undefined;
    },
  ) {
    this.#master = master;
    this.#mover = mover;
    this.#password = options.password;
    this.#onVolumesChanged = options.onVolumesChanged;
    mover.onSettled = () => this.#tellVolumes();
  }

  /**
   * Compares the configured volumes with the recorded ones and takes in what is new; the moves that follow begin with the mover.
   * With `full`, for a rebuild: new volumes may have values, and belong to the fleet of a master that is gone.
   * @throws KF_WRONG_VOLUMES, KF_OTHER_FLEET, KF_VOLUME_UNAVAILABLE, KF_NOT_A_VOLUME, KF_VOLUME_NOT_EMPTY: nothing was changed
   */
  async takeIn(configured: readonly string[], options: { readonly replicas: number; readonly full?: boolean }): Promise<void> {
    const { metakeys } = this.#master;
    if (metakeys.isRebuilding && !options.full) {
      throw new KeyfleetError(
        'KF_REBUILD_UNFINISHED',
        'a rebuild of these metakeys was interrupted, not all keys are known: start with --rebuild again',
      );
    }
    const takesOver = options.full === true && metakeys.isNew;
    const { added, moved, free, fleet, epoch } = await callTheRoll(this.#master, configured, { anyFleet: takesOver });
    if (!options.full) for (const volume of added) await requireEmpty(this.#master, volume);
    await metakeys.raiseEpoch(epoch);
    if (takesOver) metakeys.setRebuilding(true);
    if (takesOver && fleet !== undefined) metakeys.takeOverFleet(fleet);
    await metakeys.commit();
    await claim(this.#master, free);
    for (const { volume, address } of moved) metakeys.changeVolume(volume.number, { address });
    for (const volume of added) metakeys.addVolume(volume);
    const changed = added.length > 0 || options.replicas !== metakeys.replicas;
    if (options.replicas !== metakeys.replicas) metakeys.setReplicas(options.replicas);
    if (changed && this.#master.ledger.keyCount > 0) metakeys.setMoveState('moving');
    await metakeys.commit();
  }

  async add(given: string): Promise<void> {
    const address = given.replace(/\/$/, '');
    if (!isHttpAddress(address)) throw new KeyfleetError('KF_BAD_REQUEST', `${address} is not an address such as http://127.0.0.1:3001`);
    const { metakeys } = this.#master;
    const client = this.#master.clients.connect({ address });
    const { id, fleet, epoch } = await client.identity().finally(() => client.close());
    if (fleet !== undefined && fleet !== metakeys.fleet) throw ofAnother(address, fleet);
    const known = metakeys.volumes.find((volume) => volume.id === id);
    const other = metakeys.volumes.find((volume) => volume.id !== id && volume.address === address && volume.state !== 'lost');
    if (other !== undefined) {
      throw new KeyfleetError(
        'KF_WRONG_VOLUMES',
        `${address} is the address of volume ${other.number} (${other.id}), and another one (${id}) answers there; give it an address of its own, or say first that the old one is lost: keyfleet volumes remove --lost ${other.number}`,
      );
    }
    if (known === undefined) await requireEmpty(this.#master, { address, id });
    if (fleet === undefined) await claim(this.#master, [{ address, id }]);
    await metakeys.raiseEpoch(epoch);
    if (known !== undefined) {
      this.#master.clients.disconnect(known.number);
      // Taken back: a drained volume, perhaps at another address.
      metakeys.changeVolume(known.number, { address, state: 'active' });
    } else metakeys.addVolume({ id, address });
    await metakeys.commit();
    await this.#tellVolumes();
    await this.#mover.start();
  }

  /** @throws KF_UNKNOWN_VOLUME, KF_LAST_VOLUME */
  async leave(name: string, how: 'draining' | 'removing' | 'lost'): Promise<void> {
    const { metakeys } = this.#master;
    const volume = this.#master.volumeByName(name);
    if (volume.state === 'active' && metakeys.map.volumes.length <= Math.max(1, how === 'lost' ? 1 : metakeys.replicas)) {
      throw new KeyfleetError(
        'KF_LAST_VOLUME',
        `${volume.address} cannot go: ${metakeys.replicas} volume(s) are needed and there are only ${metakeys.map.volumes.length}; add one first`,
      );
    }
    metakeys.changeVolume(volume.number, { state: how });
    await metakeys.commit();
    if (how === 'lost') await this.#tellVolumes();
    await this.#mover.start();
  }

  /** What taking in `configured`, and then out of it the volume at `leave`, would move; changes nothing. */
  async forecastConfigured(configured: readonly string[], leave?: string): Promise<MoveForecast[]> {
    const { added, moved } = await callTheRoll(this.#master, configured);
    let { map } = this.#master.metakeys;
    for (const [index] of added.entries()) map = map.add(-index);
    if (leave !== undefined) {
      const isNew = added.findIndex(({ address }) => address === leave);
      const known = moved.find(({ address }) => address === leave)?.volume ?? (isNew < 0 ? this.#master.volumeByName(leave) : undefined);
      map = map.remove(known?.number ?? -isNew);
    }
    return forecastMoves(this.#master.metakeys, map);
  }

  /** What adding one volume more, or taking `name` out, would move. */
  async forecast(change: { readonly add: true } | { readonly leave: string } | { readonly nothing: true }): Promise<MoveForecast[]> {
    const { map } = this.#master.metakeys;
    if ('add' in change) return forecastMoves(this.#master.metakeys, map.add(0));
    if ('leave' in change) return forecastMoves(this.#master.metakeys, map.remove(this.#master.volumeByName(change.leave).number));
    return forecastMoves(this.#master.metakeys, map);
  }

  summary(): { readonly keyfleet: 'master'; readonly keyCount: number; readonly volumeCount: number; readonly moves: string } {
    return {
      keyfleet: 'master',
      keyCount: this.#master.ledger.keyCount,
      volumeCount: this.#master.metakeys.volumes.length,
      moves: this.#mover.progress.state,
    };
  }

  async status(): Promise<MasterStatus> {
    const volumes = await Promise.all(
      this.#master.metakeys.volumes.map(async (volume) => {
        const space =
          volume.state === 'lost'
            ? undefined
            : await this.#master.clients
                .of(volume.number)
                .identity()
                .catch(() => undefined);
        return { ...volume, ...this.#master.ledger.loadOf(volume.number), ...(space === undefined ? {} : { freeBytes: space.freeBytes }) };
      }),
    );
    return {
      keyfleet: 'master',
      keyCount: this.#master.ledger.keyCount,
      replicas: this.#master.metakeys.replicas,
      volumes,
      moves: this.#mover.progress,
    };
  }

  metrics(): Promise<string> {
    const { stats, metakeys } = this.#master;
    const { progress } = this.#mover;
    const one = (value: number) => [{ value }];
    const perVolume = (pick: (load: { keyCount: number; sizeBytes: number }) => number) =>
      metakeys.volumes.map(({ number, address }) => ({
        labels: { volume: String(number), address },
        value: pick(this.#master.ledger.loadOf(number)),
      }));
    return metricsText([
      { name: 'keyfleet_master_keys', help: 'Keys of the master.', samples: one(this.#master.ledger.keyCount) },
      {
        name: 'keyfleet_master_requests_total',
        help: 'Requests by kind since the start.',
        samples: (['gets', 'puts', 'deletes'] as const).map((kind) => ({ labels: { kind }, value: stats[kind] })),
      },
      {
        name: 'keyfleet_master_unavailable_total',
        help: 'Requests that failed because a volume did not answer.',
        samples: one(stats.unavailable),
      },
      { name: 'keyfleet_master_damaged_total', help: 'Reads that met a damaged or missing copy.', samples: one(stats.damaged) },
      { name: 'keyfleet_volume_keys', help: 'Keys per volume.', samples: perVolume(({ keyCount }) => keyCount) },
      { name: 'keyfleet_volume_bytes', help: 'Bytes of values per volume.', samples: perVolume(({ sizeBytes }) => sizeBytes) },
      { name: 'keyfleet_moves_running', help: '1 while values move.', samples: one(progress.state === 'moving' ? 1 : 0) },
      { name: 'keyfleet_moved_keys', help: 'Values moved by the running or last move.', samples: one(progress.keysMoved) },
      { name: 'keyfleet_moved_bytes', help: 'Bytes moved by the running or last move.', samples: one(progress.bytesMoved) },
      { name: 'keyfleet_move_failures', help: 'Values that the last pass could not move.', samples: one(progress.keysFailed) },
      { name: 'keyfleet_lost_keys', help: 'Keys without a copy left.', samples: one(progress.keysLost) },
    ]);
  }

  /** `/admin/…`: from this machine without, from others only with the password. */
  async handle(request: IncomingMessage, response: ServerResponse, { path, query }: RequestTarget): Promise<void> {
    this.#authorize(request);
    const method = request.method ?? 'GET';
    if (method === 'GET' && path === '/admin/status') return sendJson(response, 200, await this.status());
    if (method === 'GET' && path === '/admin/forecast') return sendJson(response, 200, { moves: await this.#forecastOf(query) });
    if (method === 'POST' && path === '/admin/verify') return this.#verify(response, query.get('repair') === '1');
    if (method !== 'POST') throw new KeyfleetError('KF_NOT_FOUND', `${method} ${path} is not something a master does`);
    const body = (await readBody(request, { limitBytes: 65_536 })).toString('utf8');
    const { volume = '', lost = false } = body === '' ? {} : parseBody(body);
    if (path === '/admin/volumes/add') await this.add(volume);
    else if (path === '/admin/volumes/drain') await this.leave(volume, 'draining');
    else if (path === '/admin/volumes/remove') await this.leave(volume, lost ? 'lost' : 'removing');
    else if (path === '/admin/moves/start') await this.#mover.start();
    else if (path === '/admin/moves/pause') await this.#mover.stop('paused');
    else if (path === '/admin/moves/cancel') await this.#mover.stop('cancelled');
    else throw new KeyfleetError('KF_NOT_FOUND', `${path} is not something a master does`);
    sendJson(response, 200, await this.status());
  }

  #forecastOf(query: URLSearchParams): Promise<MoveForecast[]> {
    const leave = query.get('leave');
    if (leave !== null) return this.forecast({ leave });
    return this.forecast(query.has('add') ? { add: true } : { nothing: true });
  }

  async #verify(response: ServerResponse, repair: boolean): Promise<void> {
    response.writeHead(200, { 'content-type': 'application/x-ndjson' });
    const events = verify(this.#master, { repair });
    async function* lines(): AsyncGenerator<Buffer, void> {
      for await (const event of events) {
        yield Buffer.from(
          `${JSON.stringify('key' in event ? { ...event, key: undefined, key64: Buffer.from(event.key).toString('base64') } : event)}\n`,
        );
      }
      yield Buffer.from(`${JSON.stringify({ kind: 'end' })}\n`);
    }
    await sendPieces(response, withBeat(lines(), Buffer.from('\n')));
  }

  #authorize(request: IncomingMessage): void {
    if (isFromHere(request) && this.#password === undefined) return;
    if (this.#password === undefined) {
      throw new KeyfleetError(
        'KF_UNAUTHORIZED',
        'administration from another machine needs a password: set one in the master’s configuration',
      );
    }
    if (!carriesSecret(request.headers, this.#password))
      throw new KeyfleetError('KF_UNAUTHORIZED', 'administration needs the password: Authorization: Bearer <password>');
  }

  async #tellVolumes(): Promise<void> {
    const there = this.#master.metakeys.volumes.filter(({ state }) => state !== 'lost');
    await this.#onVolumesChanged?.(there.map(({ address }) => address));
  }
}

function parseBody(body: string): { readonly volume?: string; readonly lost?: boolean } {
  try {
    const { volume = '', lost = false } = JSON.parse(body) as { volume?: unknown; lost?: unknown };
    if (typeof volume === 'string' && typeof lost === 'boolean') return { volume, lost };
    throw new Error('volume is a text, and lost is true or false');
  } catch (error) {
    throw new KeyfleetError('KF_BAD_REQUEST', `the body is not JSON such as {"volume":"http://127.0.0.1:3004"}: ${messageOf(error)}`);
  }
}
