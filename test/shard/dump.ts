import { toHex } from '../../src/base/bytes.ts';
import type { StorageReader } from '../../src/storage/storage.ts';

/** All that a storage has, a record a line. */
export function dump(storage: StorageReader): string[] {
  return [...storage.scan({ from: Uint8Array.of(0) })].map(({ key, value }) => `${toHex(key)} ${toHex(value)}`);
}
