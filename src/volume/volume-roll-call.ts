import { KeyfleetError } from '../base/errors.ts';
import type { Master } from './master.ts';
import type { VolumeRecord } from './metakeys.ts';
import type { VolumeClient } from './volume-client.ts';

/** What a master's configuration means for the volumes that it has recorded; nothing is changed by working it out. */
export interface RollCall {
  /** Configured and not recorded: to be added. */
  readonly added: readonly { readonly id: string; readonly address: string }[];
  /** Volumes that belong to no fleet yet. */
  readonly free: readonly { readonly id: string; readonly address: string }[];
  /** The fleet to which the others belong; undefined when all are free. */
  readonly fleet: string | undefined;
  /** Recorded volumes that have another address now. */
  readonly moved: readonly { readonly volume: VolumeRecord; readonly address: string }[];
  /** Recorded volumes that do not answer; taken to be themselves at their recorded address. */
  readonly silent: readonly VolumeRecord[];
  /** The newest epoch that any of them has seen. */
  readonly epoch: number;
}

/**
 * Asks every configured address who it is and compares with what is recorded. The identity in a volume's directory decides, so order and
 * addresses may change; a recorded volume that is nowhere, or a stranger in its place, is refused before anything moves.
 *
 * With `anyFleet`, they may belong to another fleet than this master's, if all to the same.
 *
 * @throws KF_WRONG_VOLUMES, KF_OTHER_FLEET, KF_VOLUME_UNAVAILABLE (an unknown address does not answer), KF_NOT_A_VOLUME
 */
export async function callTheRoll(
  master: Master,
  configured: readonly string[],
  options: { readonly anyFleet?: boolean } = {},
): Promise<RollCall> {
  const recorded = master.metakeys.volumes;
  const answers = await Promise.all(
    configured.map((address) =>
      askIdentity(
        master,
        address,
        recorded.some((volume) => volume.address === address),
      ),
    ),
  );
  for (const { address, id } of answers) {
    const other = answers.find((answer) => answer.id !== undefined && answer.id === id && answer.address !== address);
    if (other !== undefined) throw wrong(`${address} and ${other.address} are one and the same volume (${id})`);
  }
  const owned = answers.filter(({ fleet }) => fleet !== undefined);
  const fleet = options.anyFleet ? owned[0]?.fleet : master.metakeys.fleet;
  for (const volume of owned) if (volume.fleet !== fleet) throw ofAnother(volume.address, volume.fleet!);
  const moved: { volume: VolumeRecord; address: string }[] = [];
  const silent: VolumeRecord[] = [];
  for (const volume of recorded) {
    const found = answers.find(({ id }) => id === volume.id);
    const there = answers.find(({ address }) => address === volume.address);
    if (found !== undefined) {
      if (found.address !== volume.address) moved.push({ volume, address: found.address });
    } else if (there !== undefined && there.id === undefined) {
      silent.push(volume);
    } else if (volume.state !== 'lost') {
      throw wrong(
        there === undefined
          ? `volume ${volume.number} (${volume.address}, ${volume.id}) is recorded and not in the configuration; put it back, or take it out with keyfleet volumes remove or keyfleet master --delete`
          : `${volume.address} should be volume ${volume.id} and says it is ${there.id}; was its directory replaced?`,
      );
    }
  }
  const known = new Set(recorded.map(({ id }) => id));
  const added = answers.flatMap(({ address, id }) => (id === undefined || known.has(id) ? [] : [{ address, id }]));
  const free = answers.flatMap(({ address, id, fleet: owner }) => (id === undefined || owner !== undefined ? [] : [{ address, id }]));
  return { added, free, fleet: owned[0]?.fleet, moved, silent, epoch: Math.max(0, ...answers.map(({ epoch }) => epoch)) };
}

/** Who answers at `address`; no id when nobody does and the address is one that we know. */
async function askIdentity(
  master: Master,
  address: string,
  isRecorded: boolean,
): Promise<{ readonly address: string; readonly id?: string; readonly fleet?: string | undefined; readonly epoch: number }> {
  const client = master.clients.connect({ address });
  try {
    const { id, fleet, epoch } = await client.identity();
    return { address, id, fleet, epoch };
  } catch (error) {
    // A volume that refuses our token is not away: that is for the configuration to mend.
    if (error instanceof KeyfleetError && error.cause instanceof KeyfleetError && error.cause.code === 'KF_UNAUTHORIZED')
      throw new KeyfleetError('KF_UNAUTHORIZED', `volume ${address} refuses the token of this master: ${error.cause.message}`, {
        cause: error,
      });
    if (!isRecorded || !(error instanceof KeyfleetError) || error.code !== 'KF_VOLUME_UNAVAILABLE') throw error;
    return { address, epoch: 0 };
  } finally {
    await client.close();
  }
}

/** The error for a volume at `address` that belongs to another master. */
export function ofAnother(address: string, fleet: string): KeyfleetError {
  return new KeyfleetError(
    'KF_OTHER_FLEET',
    `volume ${address} belongs to the fleet ${fleet} of another master; nothing was changed. Give this master volumes of its own, or take the volume out of that fleet first (keyfleet volumes remove); if that master's metakeys were lost, start with --rebuild`,
  );
}

/**
 * Takes volumes for the fleet of this master; all or, as far as they can be reached, none.
 * @throws KF_OTHER_FLEET, KF_VOLUME_UNAVAILABLE
 */
export async function claim(master: Master, volumes: readonly { readonly id: string; readonly address: string }[]): Promise<void> {
  const claimed: VolumeClient[] = [];
  const clients = volumes.map((volume) => master.clients.connect(volume));
  try {
    for (const client of clients) {
      await client.claim();
      claimed.push(client);
    }
  } catch (error) {
    for (const client of claimed) await client.release().catch(() => {});
    throw error;
  } finally {
    for (const client of clients) await client.close();
  }
}

/**
 * A new volume must be empty: what lies on it belongs to some master, or to a metakeys directory that is gone.
 * @throws KF_VOLUME_NOT_EMPTY
 */
export async function requireEmpty(master: Master, volume: { readonly id: string; readonly address: string }): Promise<void> {
  const client = master.clients.connect(volume);
  try {
    const first = await client.list().next();
    if (first.done) return;
    throw new KeyfleetError(
      'KF_VOLUME_NOT_EMPTY',
      `${volume.address} is new to this master and has values already; if the metakeys were lost, start with --rebuild, else give the volume an empty directory`,
    );
  } finally {
    await client.close();
  }
}

function wrong(what: string): KeyfleetError {
  return new KeyfleetError('KF_WRONG_VOLUMES', `${what}; nothing was changed`);
}
