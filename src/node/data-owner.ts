import { fromUtf8, utf8 } from '../base/bytes.ts';
import { KeyfleetError } from '../base/errors.ts';
import { systemKey } from '../shard/key-layout.ts';
import type { Storage } from '../storage/storage.ts';

/** How the records lie in storage; a release reads its own and earlier ones. */
const FORMAT = 1;
const FORMAT_KEY = systemKey('f', new Uint8Array(0));

/** Whose data a storage holds: written down with them, so that no node takes those of another for its own. */
export interface DataOwner {
  readonly nodeId: string;
  /** Undefined: of a store on one machine. */
  readonly cluster?: string;
}

/** Undefined: the storage is new. @throws KF_FORMAT_TOO_NEW when a later release wrote it. */
export function readDataOwner(storage: Storage): DataOwner | undefined {
  const stored = storage.get(FORMAT_KEY);
  if (!stored) return undefined;
  const { format, ...owner } = JSON.parse(fromUtf8(stored)) as DataOwner & { readonly format: number };
  if (format > FORMAT) {
    throw new KeyfleetError('KF_FORMAT_TOO_NEW', `the data are of format ${format}; this release of Keyfleet reads up to ${FORMAT}`);
  }
  return owner;
}

/** Resolves when durable. */
export async function writeDataOwner(storage: Storage, owner: DataOwner): Promise<void> {
  storage.put(FORMAT_KEY, utf8(JSON.stringify({ format: FORMAT, ...owner })));
  await storage.whenDurable(storage.commit());
}
