import { KeyfleetError } from '../base/errors.ts';
import type { VolumeNumber } from './bucket-map.ts';
import type { Metakeys } from './metakeys.ts';
import { VolumeClient } from './volume-client.ts';

export interface VolumeClientsOptions {
  /** Shared token of the volumes. */
  readonly token?: string | undefined;
  readonly connectMs?: number | undefined;
  readonly answerMs?: number | undefined;
}

/** The connections of a master to its volumes, one client each, made when it is first asked for. */
export class VolumeClients {
  readonly #metakeys: Metakeys;
  readonly #options: VolumeClientsOptions;
  readonly #clients = new Map<VolumeNumber, VolumeClient>();

  constructor(metakeys: Metakeys, options: VolumeClientsOptions) {
    this.#metakeys = metakeys;
    this.#options = options;
  }

  /** @throws KF_UNKNOWN_VOLUME */
  of(number: VolumeNumber): VolumeClient {
    const volume = this.#metakeys.volume(number);
    if (volume === undefined) throw new KeyfleetError('KF_UNKNOWN_VOLUME', `volume ${number} is not one of this master's`);
    let client = this.#clients.get(number);
    if (client === undefined || client.address !== volume.address) {
      void client?.close();
      client = this.connect(volume);
      this.#clients.set(number, client);
    }
    return client;
  }

  /** A client for a volume that may not be one of ours yet; closing it is the caller's. */
  connect(volume: { readonly address: string; readonly id?: string }): VolumeClient {
    const { token, connectMs, answerMs } = this.#options;
    return new VolumeClient(volume.address, {
      token,
      expectId: volume.id,
      epoch: this.#metakeys.epoch,
      fleet: this.#metakeys.fleet,
      ...(connectMs === undefined ? {} : { connectMs }),
      ...(answerMs === undefined ? {} : { answerMs }),
    });
  }

  /** Ends the connections to a volume; the next request makes new ones. */
  disconnect(number: VolumeNumber): void {
    void this.#clients.get(number)?.close();
    this.#clients.delete(number);
  }

  disconnectAll(): void {
    for (const number of [...this.#clients.keys()]) this.disconnect(number);
  }

  async close(): Promise<void> {
    for (const client of this.#clients.values()) await client.close();
  }
}
