import { KeyfleetError } from '../../base/errors.ts';
import { stateKey } from '../../shard/key-layout.ts';
import { META_SHARD_ID } from '../../shard/meta/meta-records.ts';
import type { Storage } from '../../storage/storage.ts';
import { readDataOwner, writeDataOwner } from '../data-owner.ts';

/** A new storage is the node's from now on, one that is not new must be. @throws KF_OTHER_CLUSTER, KF_FORMAT_TOO_NEW. */
export async function claimData(storage: Storage, nodeId: string, cluster: string): Promise<void> {
  const found = readDataOwner(storage);
  if (found) {
    if (found.cluster === cluster && found.nodeId === nodeId) return;
    const whose = found.cluster === undefined ? 'a store on one machine' : `node ${found.nodeId} of cluster ${found.cluster}`;
    throw new KeyfleetError('KF_OTHER_CLUSTER', `the data are those of ${whose}, not of node ${nodeId} of cluster ${cluster}`);
  }
  if (storage.has(stateKey(META_SHARD_ID))) throw new KeyfleetError('KF_OTHER_CLUSTER', 'the data are those of a store on one machine');
  await writeDataOwner(storage, { nodeId, cluster });
}
