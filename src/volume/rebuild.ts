import { KeyfleetError } from '../base/errors.ts';
import type { Master } from './master.ts';

export interface RebuildReport {
  readonly files: number;
  readonly keys: number;
  /** Older copies, removed later. */
  readonly outdated: number;
  readonly damaged: readonly string[];
}

/**
 * Makes the metakeys anew from the volumes alone: every file says its key and version; the newest copy of a key is its value, copies with
 * the same bytes on other volumes are its replicas. Values whose delete was not answered may come back.
 *
 * One that was interrupted is begun anew; until it has ended, the master does not serve.
 *
 * @throws KF_BUSY when there are metakeys already
 */
export async function rebuild(master: Master, report: (progress: { readonly files: number }) => void): Promise<RebuildReport> {
  const { metakeys } = master;
  if (metakeys.isRebuilding) await removeAll(master);
  if (master.ledger.keyCount > 0) {
    throw new KeyfleetError(
      'KF_BUSY',
      `this master has ${master.ledger.keyCount} metakeys; a rebuild starts from none: name another path, or move the old directory away`,
    );
  }
  let files = 0;
  let outdated = 0;
  let newest = 0;
  const damaged: string[] = [];
  metakeys.setRebuilding(true);
  await metakeys.commit();
  for (const volume of metakeys.volumes) {
    for await (const listed of master.clients.of(volume.number).list()) {
      files++;
      if ('error' in listed) {
        damaged.push(`${volume.address} ${listed.name}: ${listed.message}`);
        continue;
      }
      const { key, version, sizeBytes, sha256 } = listed;
      newest = Math.max(newest, version);
      const known = metakeys.get(key);
      if (known !== undefined && known.sha256 === sha256) {
        master.ledger.refer(known, { ...known, version: Math.max(version, known.version), volumes: [...known.volumes, volume.number] });
      } else if (known !== undefined && known.version > version) {
        metakeys.suspect({ volume: volume.number, key, version });
        outdated++;
      } else {
        const suspect = (known?.volumes ?? []).map((older) => ({ volume: older, key, version: known!.version }));
        outdated += suspect.length;
        master.ledger.refer(known, { key, version, sizeBytes, sha256, volumes: [volume.number], deleting: false }, { suspect });
      }
      if (files % 1_000 !== 0) continue;
      await metakeys.commit();
      report({ files });
    }
  }
  metakeys.setRebuilding(false);
  await metakeys.reserveVersions(newest);
  return { files, keys: master.ledger.keyCount, outdated, damaged };
}

/** What an interrupted rebuild has found so far. */
async function removeAll(master: Master): Promise<void> {
  const { metakeys } = master;
  for (;;) {
    const { metakeys: page } = metakeys.page(undefined, 1_000);
    const { suspicions } = metakeys.suspicions(undefined, 1_000);
    if (page.length + suspicions.length === 0) return;
    for (const metakey of page) master.ledger.refer(metakey, undefined);
    for (const suspicion of suspicions) metakeys.acquit(suspicion);
    await metakeys.commit();
  }
}
