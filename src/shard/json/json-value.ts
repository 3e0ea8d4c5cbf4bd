import { KeyfleetError } from '../../base/errors.ts';

/** What JSON can say. Treated as immutable. */
export type Json = null | boolean | number | string | readonly Json[] | JsonObject;
export type JsonObject = { readonly [name: string]: Json };

export function isJsonObject(value: Json): value is JsonObject {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

/** Stops what JSON cannot say, and so would be another value on another replica: undefined, NaN, dates, … @throws KF_BAD_COMMAND. */
export function checkJson(value: unknown): void {
  if (value === null || typeof value === 'string' || typeof value === 'boolean' || Number.isFinite(value)) return;
  if (Array.isArray(value)) {
    for (const item of value) checkJson(item);
    return;
  }
  const prototype: unknown = typeof value === 'object' ? Object.getPrototypeOf(value) : undefined;
  if (prototype !== Object.prototype && prototype !== null) {
    throw new KeyfleetError(
      'KF_BAD_COMMAND',
      `a JSON document cannot hold ${typeof value === 'object' ? 'instances of classes' : String(value)}`,
    );
  }
  for (const member of Object.values(value as object)) checkJson(member);
}

/** Whether two documents say the same: the order of an object's members does not count. */
export function equalJson(a: Json, b: Json): boolean {
  if (a === b) return true;
  if (Array.isArray(a)) return Array.isArray(b) && a.length === b.length && a.every((item, i) => equalJson(item, b[i] as Json));
  if (!isJsonObject(a) || !isJsonObject(b)) return false;
  const names = Object.keys(a);
  return names.length === Object.keys(b).length && names.every((name) => Object.hasOwn(b, name) && equalJson(a[name]!, b[name]!));
}

/** `object` with one member more or another one. Defined, not assigned, so that `__proto__` is a name like any other. */
export function withMember(object: JsonObject, name: string, value: Json): JsonObject {
  const copy = { ...object };
  Object.defineProperty(copy, name, { value, enumerable: true, configurable: true, writable: true });
  return copy;
}

export function withoutMember(object: JsonObject, name: string): JsonObject {
  const copy: Record<string, Json> = { ...object };
  delete copy[name];
  return copy;
}

/** The steps of a JSON Pointer (RFC 6901). @throws KF_BAD_COMMAND. */
export function pointerSteps(pointer: unknown): string[] {
  if (typeof pointer !== 'string' || (pointer !== '' && !pointer.startsWith('/')) || /~([^01]|$)/.test(pointer)) {
    throw new KeyfleetError(
      'KF_BAD_COMMAND',
      `${JSON.stringify(pointer)} is no JSON Pointer: "" or /step/step, with ~1 for / and ~0 for ~`,
    );
  }
  return pointer === ''
    ? []
    : pointer
        .slice(1)
        .split('/')
        .map((step) => step.replaceAll('~1', '/').replaceAll('~0', '~'));
}

/** What the steps lead to; undefined: nothing is there. */
export function jsonAt(document: Json, steps: readonly string[]): Json | undefined {
  let at: Json | undefined = document;
  for (const step of steps) {
    if (Array.isArray(at)) at = isIndex(step) ? (at as readonly Json[])[Number(step)] : undefined;
    else if (at !== undefined && isJsonObject(at)) at = Object.hasOwn(at, step) ? at[step] : undefined;
    else return undefined;
  }
  return at;
}

/** Whether a step is an index of an array, as RFC 6901 writes it: without leading zeros. */
export function isIndex(step: string): boolean {
  return /^(0|[1-9]\d{0,14})$/.test(step);
}
