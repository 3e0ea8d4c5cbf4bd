import { fromUtf8, utf8 } from '../../base/bytes.ts';
import { KeyfleetError } from '../../base/errors.ts';
import { stateKey, systemKey } from '../../shard/key-layout.ts';
import { META_SHARD_ID } from '../../shard/meta/meta-records.ts';
import type { Storage } from '../../storage/storage.ts';

/** How the records lie in storage; a release reads its own and earlier ones. */
const FORMAT = 1;
const FORMAT_KEY = systemKey('f', new Uint8Array(0));

/** Whose data these are is written down with them, so that no node takes those of another for its own. @throws KF_OTHER_CLUSTER, KF_FORMAT_TOO_NEW. */
export async function checkFormat(storage: Storage, nodeId: string, cluster: string): Promise<void> {
  const stored = storage.get(FORMAT_KEY);
  if (stored) {
    const found = JSON.parse(fromUtf8(stored)) as { format: number; nodeId: string; cluster?: string };
    if (found.format > FORMAT) {
      throw new KeyfleetError(
        'KF_FORMAT_TOO_NEW',
        `the data are of format ${found.format}; this release of Keyfleet reads up to ${FORMAT}`,
      );
    }
    if (found.cluster === cluster && found.nodeId === nodeId) return;
    const whose = found.cluster === undefined ? 'a store on one machine' : `node ${found.nodeId} of cluster ${found.cluster}`;
    throw new KeyfleetError('KF_OTHER_CLUSTER', `the data are those of ${whose}, not of node ${nodeId} of cluster ${cluster}`);
  }
  if (storage.has(stateKey(META_SHARD_ID))) throw new KeyfleetError('KF_OTHER_CLUSTER', 'the data are those of a store on one machine');
  storage.put(FORMAT_KEY, utf8(JSON.stringify({ format: FORMAT, nodeId, cluster })));
  await storage.whenDurable(storage.commit());
}
