import { KeyfleetError } from '../base/errors.ts';
import { type AnyModule, loadModule } from '../node/load-module.ts';

/**
 * The keyspaces of users' value modules, by name. Each of `specs` is a file, or `keyspace=file`; without it the keyspace has the module's name.
 * @throws KF_BAD_MODULE; KF_USAGE when two are for one keyspace.
 */
export async function loadModules(specs: readonly string[]): Promise<Map<string, { readonly module: AnyModule }>> {
  const keyspaces = new Map<string, { readonly module: AnyModule }>();
  for (const spec of specs) {
    const [, name, path = spec] = /^(?:([A-Za-z0-9._-]+)=)?(.*)$/s.exec(spec) ?? [];
    const module = await loadModule(path);
    const keyspace = name ?? module.name;
    if (keyspace === 'default' || keyspaces.has(keyspace)) {
      throw new KeyfleetError('KF_USAGE', `--module ${spec}: there is a keyspace ${keyspace} already; name another: --module NAME=${path}`);
    }
    keyspaces.set(keyspace, { module });
  }
  return keyspaces;
}
