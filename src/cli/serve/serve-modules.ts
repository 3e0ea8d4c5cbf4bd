import { KeyfleetError } from '../../base/errors.ts';
import { type AnyModule, loadModule } from '../../node/load-module.ts';
import { counterModule } from '../../shard/counter.ts';
import { jsonModule } from '../../shard/json/json-module.ts';
import { plainBytes } from '../../shard/plain-bytes.ts';

/** Those that every server has: whoever makes a keyspace of them from elsewhere need not bring them along. */
export const READY_MODULES: readonly AnyModule[] = [plainBytes, counterModule, jsonModule].map((module) => module as unknown as AnyModule);

/**
 * The keyspaces of value modules, by name. Each of `specs` is a file or the name of a ready-made module, perhaps after `keyspace=`; without it the
 * keyspace has the module's name.
 * @throws KF_BAD_MODULE; KF_USAGE when two are for one keyspace.
 */
export async function loadModules(specs: readonly string[]): Promise<Map<string, { readonly module: AnyModule }>> {
  const keyspaces = new Map<string, { readonly module: AnyModule }>();
  for (const spec of specs) {
    const [, name, path = spec] = /^(?:([A-Za-z0-9._-]+)=)?(.*)$/s.exec(spec) ?? [];
    const module = READY_MODULES.find((ready) => ready.name === path) ?? (await loadModule(path));
    const keyspace = name ?? module.name;
    if (keyspace === 'default' || keyspaces.has(keyspace)) {
      throw new KeyfleetError('KF_USAGE', `--module ${spec}: there is a keyspace ${keyspace} already; name another: --module NAME=${path}`);
    }
    keyspaces.set(keyspace, { module });
  }
  return keyspaces;
}
