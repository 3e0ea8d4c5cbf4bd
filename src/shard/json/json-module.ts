import { type Bytes, fromUtf8, utf8 } from '../../base/bytes.ts';
import { KeyfleetError } from '../../base/errors.ts';
import type { ValueCodec, ValueModule } from '../value-module.ts';
import { applyMergePatch } from './json-merge-patch.ts';
import { applyJsonPatch, type JsonPatchOperation } from './json-patch.ts';
import { checkJson, type Json, jsonAt, pointerSteps } from './json-value.ts';

export type JsonCommand =
  | { readonly kind: 'set'; readonly value: Json }
  /** RFC 7396. An absent document is an empty one. */
  | { readonly kind: 'merge'; readonly patch: Json }
  /** RFC 6902, all or nothing. */
  | { readonly kind: 'patch'; readonly patch: readonly JsonPatchOperation[] }
  | { readonly kind: 'remove' };

export interface JsonQuery {
  /** RFC 6901. Absent: the whole document. */
  readonly pointer?: string;
}

/** The commands and queries of {@link jsonModule}, written short: `users.command('anna', json.merge({ city: 'Berlin' }))`. */
export const json = {
  set: (value: Json): JsonCommand => ({ kind: 'set', value }),
  merge: (patch: Json): JsonCommand => ({ kind: 'merge', patch }),
  patch: (patch: readonly JsonPatchOperation[]): JsonCommand => ({ kind: 'patch', patch }),
  remove: (): JsonCommand => ({ kind: 'remove' }),
  get: (pointer?: string): JsonQuery => (pointer === undefined ? {} : { pointer }),
} as const;

/**
 * Values are JSON documents. A command answers the document after it, undefined when there is none; a query, what is at its pointer, undefined
 * when nothing is. Fails with KF_PATCH_FAILED when a patch does not fit (a `test` that does not hold, a place that is not there), and with
 * KF_BAD_COMMAND when it is none; the document then stays as it was.
 */
export const jsonModule: ValueModule<Json, JsonCommand, Json | undefined, JsonQuery, Json | undefined> = {
  name: 'json',
  codec: jsonText(),
  commandCodec: jsonText(),
  replyCodec: {
    encode: (value) => (value === undefined ? new Uint8Array(0) : utf8(JSON.stringify(value))),
    decode: (bytes) => (bytes.length === 0 ? undefined : (JSON.parse(fromUtf8(bytes)) as Json)),
  },
  command(_ctx, value, command) {
    const after = changed(value, command);
    return { reply: after, value: after };
  },
  query: (_ctx, value, query) => ({
    answer: value === undefined ? undefined : jsonAt(value, pointerSteps(query?.pointer ?? '')),
  }),
};

function changed(value: Json | undefined, command: JsonCommand): Json | undefined {
  switch (command.kind) {
    case 'set':
      checkJson(command.value);
      return command.value;
    case 'merge':
      checkJson(command.patch);
      return applyMergePatch(value, command.patch);
    case 'patch':
      checkJson(command.patch);
      return applyJsonPatch(value, command.patch);
    case 'remove':
      return undefined;
    default:
      throw new KeyfleetError('KF_BAD_COMMAND', `json has no command ${JSON.stringify((command as { kind: unknown }).kind)}`);
  }
}

function jsonText<T>(): ValueCodec<T> {
  return { encode: (value) => utf8(JSON.stringify(value)), decode: (bytes: Bytes) => JSON.parse(fromUtf8(bytes)) as T };
}
