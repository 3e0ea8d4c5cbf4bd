import { type Bytes, utf8 } from '../../base/bytes.ts';
import { KeyfleetError } from '../../base/errors.ts';
import type { KeyInput } from '../hasher.ts';

const SCRATCH_BYTES = 3 * 1024;
/** Below this many characters a loop is quicker than a call to the encoder. */
const LOOP_CHARS = 48;

const scratch = new Uint8Array(SCRATCH_BYTES);
const encoder = new TextEncoder();

/**
 * The bytes of the key that {@link loadKey} saw last, valid up to the length it returned and until its next call.
 * A shared buffer instead of a result object, so that hashing a short string allocates nothing.
 */
export let loaded: Bytes = scratch;

/**
 * Makes `loaded` hold the bytes of `key` (UTF-8 for a string; a lone surrogate becomes U+FFFD, as `TextEncoder` has it) and returns how many.
 *
 * @throws KF_BAD_KEY when `key` is neither a string nor bytes.
 */
export function loadKey(key: KeyInput): number {
  if (typeof key === 'string') return loadText(key);
  checkBytes(key);
  loaded = key;
  return key.length;
}

export function loadText(text: string): number {
  const length = text.length;
  loaded = scratch;
  if (length <= LOOP_CHARS) {
    let seen = 0;
    for (let i = 0; i < length; i++) {
      const unit = text.charCodeAt(i);
      seen |= unit;
      scratch[i] = unit;
    }
    if (seen < 0x80) return length;
  }
  if (length * 3 <= SCRATCH_BYTES) return encoder.encodeInto(text, scratch).written;
  loaded = utf8(text);
  return loaded.length;
}

/** A key that is not bytes (a number, an object, a `Uint16Array`) would hash to nonsense without a word. */
export function checkBytes(key: Bytes): void {
  if ((key as Bytes | null | undefined)?.BYTES_PER_ELEMENT !== 1)
    throw new KeyfleetError('KF_BAD_KEY', `a key is a string or a Uint8Array, not ${key === null ? 'null' : typeof key}`);
}
