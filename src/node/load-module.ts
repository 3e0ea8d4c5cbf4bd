import { resolve } from 'node:path';
import { pathToFileURL } from 'node:url';
import { KeyfleetError, messageOf } from '../base/errors.ts';
import { defineModule, type ModuleDefinition } from '../shard/define-module.ts';
import type { ValueModule } from '../shard/value-module.ts';

export type AnyModule = ValueModule<unknown, unknown, unknown, unknown, unknown>;

/**
 * The value module that a JavaScript file exports as its default; codecs may be left out. Its code runs with all the rights of this process.
 * @throws KF_BAD_MODULE.
 */
export async function loadModule(path: string): Promise<AnyModule> {
  let exported: { readonly default?: unknown };
  try {
    exported = (await import(pathToFileURL(resolve(path)).href)) as { readonly default?: unknown };
  } catch (error) {
    // Node does not say where in the file that is.
    const hint = error instanceof SyntaxError ? ` (node --check ${path} shows where)` : '';
    throw new KeyfleetError('KF_BAD_MODULE', `cannot load the value module ${path}: ${messageOf(error)}${hint}`, {
      cause: error,
    });
  }
  if (typeof exported.default !== 'object' || exported.default === null) {
    throw new KeyfleetError('KF_BAD_MODULE', `${path} exports no value module as its default (docs/modules.md)`);
  }
  return defineModule(exported.default as ModuleDefinition<unknown, unknown, unknown, unknown, unknown>);
}
