import { KeyfleetError } from '../../base/errors.ts';
import { equalJson, isIndex, isJsonObject, type Json, jsonAt, pointerSteps, withMember, withoutMember } from './json-value.ts';

/** One operation of a JSON Patch (RFC 6902). */
export type JsonPatchOperation =
  | { readonly op: 'add' | 'replace' | 'test'; readonly path: string; readonly value: Json }
  | { readonly op: 'remove'; readonly path: string }
  | { readonly op: 'move' | 'copy'; readonly from: string; readonly path: string };

/**
 * The document that a JSON Patch (RFC 6902) makes of `document`, which stays as it is; undefined: the patch removed all of it, as it may
 * when nothing was there before.
 * @throws KF_PATCH_FAILED, when an operation cannot be carried out; KF_BAD_COMMAND, when it is none.
 */
export function applyJsonPatch(document: Json | undefined, patch: readonly JsonPatchOperation[]): Json | undefined {
  if (!Array.isArray(patch)) throw new KeyfleetError('KF_BAD_COMMAND', 'a JSON Patch is an array of operations');
  let result = document;
  patch.forEach((operation: JsonPatchOperation, index) => {
    const fail = (why: string): never => {
      throw new KeyfleetError('KF_PATCH_FAILED', `operation ${index} (${operation.op} ${operation.path}): ${why}; nothing was changed`);
    };
    result = applyOperation(result, operation, fail);
  });
  return result;
}

type Fail = (why: string) => never;

function applyOperation(document: Json | undefined, operation: JsonPatchOperation, fail: Fail): Json | undefined {
  const steps = pointerSteps(operation?.path);
  switch (operation.op) {
    case 'add':
      return put(document, steps, given(operation.value), 'insert', fail);
    case 'replace':
      return put(document, steps, given(operation.value), 'replace', fail);
    case 'remove':
      return removed(document, steps, fail);
    case 'test': {
      const found = lookUp(document, steps, fail);
      if (!equalJson(found, given(operation.value))) fail(`there is ${JSON.stringify(found)}`);
      return document;
    }
    case 'copy':
      return put(document, steps, lookUp(document, pointerSteps(operation.from), fail), 'insert', fail);
    case 'move': {
      const from = pointerSteps(operation.from);
      if (from.length < steps.length && from.every((step, i) => step === steps[i])) fail('a value cannot move into itself');
      return put(removed(document, from, fail), steps, lookUp(document, from, fail), 'insert', fail);
    }
    default:
      throw new KeyfleetError('KF_BAD_COMMAND', `a JSON Patch has no operation ${JSON.stringify((operation as { op: unknown }).op)}`);
  }
}

function given(value: Json | undefined): Json {
  if (value === undefined) throw new KeyfleetError('KF_BAD_COMMAND', 'an operation of a JSON Patch has no value');
  return value;
}

function lookUp(document: Json | undefined, steps: readonly string[], fail: Fail): Json {
  const found = document === undefined ? undefined : jsonAt(document, steps);
  return found === undefined ? fail('there is nothing at that place') : found;
}

function put(document: Json | undefined, steps: readonly string[], value: Json, how: 'insert' | 'replace', fail: Fail): Json {
  if (steps.length === 0) return how === 'replace' && document === undefined ? fail('there is no document') : value;
  return changedAt(document, steps, fail, (parent, step) => {
    if (isJsonObject(parent)) {
      if (how === 'replace' && !Object.hasOwn(parent, step)) fail('there is no such member');
      return withMember(parent, step, value);
    }
    const items = parent as readonly Json[];
    const index = step === '-' && how === 'insert' ? items.length : indexOf(step, fail);
    if (index > items.length - (how === 'insert' ? 0 : 1)) fail(`the array has ${items.length} items`);
    return items.toSpliced(index, how === 'insert' ? 0 : 1, value);
  });
}

function removed(document: Json | undefined, steps: readonly string[], fail: Fail): Json | undefined {
  if (steps.length === 0) return document === undefined ? fail('there is no document') : undefined;
  return changedAt(document, steps, fail, (parent, step) => {
    if (isJsonObject(parent)) return Object.hasOwn(parent, step) ? withoutMember(parent, step) : fail('there is no such member');
    const items = parent as readonly Json[];
    const index = indexOf(step, fail);
    if (index >= items.length) fail(`the array has ${items.length} items`);
    return items.toSpliced(index, 1);
  });
}

/** `document` with the array or object that the last step is in changed by `change`. Copies what is on the way, and nothing else. */
function changedAt(document: Json | undefined, steps: readonly string[], fail: Fail, change: (parent: Json, step: string) => Json): Json {
  if (typeof document !== 'object' || document === null) fail('what holds it is neither an object nor an array');
  const holder = document as Json;
  const [step, ...rest] = steps as [string, ...string[]];
  if (rest.length === 0) return change(holder, step);
  const child = jsonAt(holder, [step]);
  if (child === undefined) fail(`there is nothing at ${step}`);
  const changed = changedAt(child, rest, fail, change);
  return isJsonObject(holder) ? withMember(holder, step, changed) : (holder as readonly Json[]).with(Number(step), changed);
}

function indexOf(step: string, fail: Fail): number {
  return isIndex(step) ? Number(step) : fail(`${JSON.stringify(step)} is no index of an array`);
}
