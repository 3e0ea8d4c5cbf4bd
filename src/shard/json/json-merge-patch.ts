import { isJsonObject, type Json, withMember, withoutMember } from './json-value.ts';

/** What a JSON Merge Patch (RFC 7396) makes of `target`: members of objects are merged, `null` removes one, all else replaces. */
export function applyMergePatch(target: Json | undefined, patch: Json): Json {
  if (!isJsonObject(patch)) return patch;
  let result = target !== undefined && isJsonObject(target) ? target : {};
  for (const [name, value] of Object.entries(patch)) {
    if (value === null) result = withoutMember(result, name);
    else result = withMember(result, name, applyMergePatch(Object.hasOwn(result, name) ? result[name] : undefined, value));
  }
  return result;
}
