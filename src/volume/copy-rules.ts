import { KeyfleetError } from '../base/errors.ts';
import type { Metakey, Suspicion } from './metakeys.ts';
import type { VolumeAnswer } from './volume-client.ts';

/** Whether an unfinished write may have replaced the copy referred to, or made one more of it. */
export function needsLook({ volume, version }: Suspicion, metakey: Metakey | undefined): boolean {
  if (metakey === undefined || metakey.deleting) return false;
  return metakey.volumes.includes(volume) ? version > metakey.version : version === metakey.version;
}

/** An older value than the metakey tells of: the volume was set back to a former state. */
export function isOutdated({ headers }: VolumeAnswer, { version, sha256 }: Metakey): boolean {
  return Number(headers['keyfleet-version']) < version && headers['etag'] !== `"${sha256}"`;
}

/** The error for such an answer, whose body is let go. */
export async function outdatedError({ body }: VolumeAnswer, address: string): Promise<KeyfleetError> {
  await body.dump();
  return new KeyfleetError('KF_VALUE_DAMAGED', `volume ${address} has an older value than it was given; was its directory set back?`);
}

/** The error for a delete that none of the volumes which hold the value has heard of. */
export function deleteUnfinished([first]: readonly KeyfleetError[]): KeyfleetError {
  return new KeyfleetError(
    'KF_VOLUME_UNAVAILABLE',
    `${first!.message}; the value cannot be read any more, and is removed when the volume is back`,
    {
      cause: first,
      retryable: true,
    },
  );
}
