import { readFileSync } from 'node:fs';
import { isMap, isScalar, isSeq, LineCounter, type Node, parseDocument } from 'yaml';
import { KeyfleetError, messageOf } from '../../base/errors.ts';
import { compareAsTwemproxy, defaultServerName, parseServer, showAddress } from '../../pool/pool-config.ts';
import { type FleetNode, parseNode } from './fleet.ts';

/** What a file of nodes says; flags override it. */
export interface FleetFile {
  readonly nodes: readonly FleetNode[];
  readonly algorithm?: string;
  readonly replicas?: number;
  readonly hash?: string;
  readonly hashTag?: string;
  readonly virtualNodes?: number;
  readonly slots?: number;
  readonly splits?: readonly string[];
}

/** Reads a file of nodes. @throws KF_CONFIG, `path:line:column: what is wrong`. */
export function readFleetFile(path: string, pool?: string): FleetFile {
  let text: string;
  try {
    text = readFileSync(path, 'utf8');
  } catch (error) {
    throw new KeyfleetError('KF_CONFIG', `cannot read ${path}: ${messageOf(error)}`, { cause: error });
  }
  return parseFleetFile(text, path, pool);
}

/**
 * Three forms, in YAML or JSON: a list of nodes; `{ nodes, algorithm, replicas, hash, hashTag, virtualNodes, slots, splits }`; and a configuration of
 * twemproxy as it is, where `pool` says which pool when there are several.
 */
export function parseFleetFile(text: string, path: string, pool?: string): FleetFile {
  return new Reader(text, path).read(pool);
}

/** How twemproxy's `distribution` is called here. */
const DISTRIBUTIONS: Readonly<Record<string, string>> = { ketama: 'ketama', modula: 'modula' };

/** Which decides under modula. */
function byTwemproxyOrder(a: FleetNode, b: FleetNode): number {
  return compareAsTwemproxy({ name: a.id.replace(/:11211$/, '') }, { name: b.id.replace(/:11211$/, '') });
}

class Reader {
  readonly #path: string;
  readonly #lines = new LineCounter();
  readonly #root: Node | null;

  constructor(text: string, path: string) {
    this.#path = path;
    const document = parseDocument(text, { lineCounter: this.#lines, prettyErrors: false, uniqueKeys: true });
    const [problem] = [...document.errors, ...document.warnings];
    if (problem) this.#failAt(problem.pos[0], problem.message);
    this.#root = document.contents;
  }

  read(pool: string | undefined): FleetFile {
    const root = this.#root;
    if (isSeq(root)) return { nodes: this.#nodes(root) };
    if (!isMap(root)) return this.#fail(root, 'a file of nodes is a list of nodes, a map with "nodes", or a twemproxy configuration');
    const pools = root.items.filter(({ value }) => isMap(value) && value.has('servers'));
    if (pools.length === 0) return this.#own(this.#fields(root));
    const names = pools.map(({ key }) => String(key));
    const wanted = pool ?? names[0]!;
    if (pool === undefined && pools.length > 1) this.#fail(root, `there are several pools (${names.join(', ')}); choose one with --pool`);
    const chosen = pools[names.indexOf(wanted)];
    if (!chosen) return this.#fail(root, `there is no pool ${JSON.stringify(wanted)}; there are ${names.join(', ')}`);
    return this.#twemproxy(this.#fields(chosen.value as Node));
  }

  #own(fields: Map<string, Node | null>): FleetFile {
    const known = ['nodes', 'algorithm', 'replicas', 'hash', 'hashTag', 'virtualNodes', 'slots', 'splits'];
    for (const [name, value] of fields)
      if (!known.includes(name)) this.#fail(value, `unknown setting ${name}; there are ${known.join(', ')}`);
    return {
      nodes: this.#nodes(fields.get('nodes') ?? null),
      ...this.#texts(fields, { algorithm: 'algorithm', hash: 'hash', hashTag: 'hashTag' }),
      ...this.#count(fields, 'replicas'),
      ...this.#count(fields, 'virtualNodes'),
      ...this.#count(fields, 'slots'),
      ...this.#splits(fields.get('splits')),
    };
  }

  #twemproxy(fields: Map<string, Node | null>): FleetFile {
    const distribution = this.#text(fields.get('distribution') ?? null) ?? 'ketama';
    const algorithm = DISTRIBUTIONS[distribution];
    if (algorithm === undefined)
      this.#fail(fields.get('distribution') ?? null, `distribution ${distribution} has no owner for a key; ketama and modula have`);
    const servers = fields.get('servers') ?? null;
    if (!isSeq(servers)) return this.#fail(servers, 'servers is a list of "host:port:weight name"');
    const nodes = this.#distinct(servers.items as Node[], (item) => this.#server(item)).sort(byTwemproxyOrder);
    const hash = this.#text(fields.get('hash') ?? null);
    return {
      nodes,
      algorithm: algorithm!,
      replicas: 1,
      ...(hash === undefined ? {} : { hash }),
      ...this.#texts(fields, { hash_tag: 'hashTag' }),
    };
  }

  /** `host:port:weight` or `host:port:weight name`; the weight is always there. */
  #server(item: Node): FleetNode {
    const text = this.#text(item);
    const server = parseServer(text ?? '');
    if (!server) return this.#fail(item, `a server is "host:port:weight" or "host:port:weight name", not ${JSON.stringify(text)}`);
    const address = showAddress(server.address);
    const named = server.name !== defaultServerName(server.address);
    return { id: named ? server.name : address, weight: server.weight, ...(named ? { alias: server.name } : {}) };
  }

  #nodes(list: Node | null): FleetNode[] {
    if (!isSeq(list)) return this.#fail(list, 'nodes is a list of ids, or of { id, weight, zone, rack }');
    return this.#distinct(list.items as Node[], (item) => this.#node(item));
  }

  #distinct(items: readonly Node[], read: (item: Node) => FleetNode): FleetNode[] {
    const seen = new Set<string>();
    return items.map((item) => {
      const node = read(item);
      if (seen.has(node.id)) this.#fail(item, `node ${JSON.stringify(node.id)} is there already; ids are distinct`);
      seen.add(node.id);
      return node;
    });
  }

  #node(item: Node): FleetNode {
    if (isScalar(item)) {
      try {
        return parseNode(String(item.value));
      } catch (error) {
        return this.#fail(item, messageOf(error));
      }
    }
    if (!isMap(item)) return this.#fail(item, 'a node is an id, or { id, weight, zone, rack }');
    const fields = this.#fields(item);
    const id = this.#text(fields.get('id') ?? null);
    if (!id) return this.#fail(item, 'a node has an id');
    for (const [name, value] of fields)
      if (!['id', 'weight', 'zone', 'rack'].includes(name))
        this.#fail(value, `unknown field ${name}; a node has id, weight, zone and rack`);
    const weightNode = fields.get('weight') ?? null;
    const weight = weightNode === null ? 1 : isScalar(weightNode) ? weightNode.value : undefined;
    if (typeof weight !== 'number' || !(weight > 0) || !Number.isFinite(weight))
      return this.#fail(weightNode, `node ${id}: a weight is a number above 0`);
    return { id, weight, ...this.#texts(fields, { zone: 'zone', rack: 'rack' }) };
  }

  #fields(map: Node): Map<string, Node | null> {
    if (!isMap(map)) return this.#fail(map, 'this is not a map');
    return new Map(map.items.map(({ key, value }) => [String(key), value as Node | null]));
  }

  #text(node: Node | null): string | undefined {
    return isScalar(node) && node.value !== null ? String(node.value) : undefined;
  }

  #texts<Name extends string>(fields: Map<string, Node | null>, names: Readonly<Record<string, Name>>): { [name in Name]?: string } {
    const texts: { [name in Name]?: string } = {};
    for (const [name, as] of Object.entries(names)) {
      const text = this.#text(fields.get(name) ?? null);
      if (text !== undefined) texts[as] = text;
    }
    return texts;
  }

  #count<Name extends string>(fields: Map<string, Node | null>, name: Name): { [name in Name]?: number } {
    const node = fields.get(name);
    if (node === undefined) return {};
    const value = isScalar(node) ? node.value : undefined;
    if (typeof value !== 'number' || !Number.isInteger(value) || value < 1) return this.#fail(node, `${name} is a whole number from 1`);
    return { [name]: value } as { [name in Name]?: number };
  }

  #splits(list: Node | null | undefined): { splits?: string[] } {
    if (list === undefined) return {};
    if (!isSeq(list)) return this.#fail(list, 'splits is a list of keys');
    return {
      splits: list.items.map((item) => this.#text(item as Node) ?? this.#fail(item as Node, 'a split is a key, as text')),
    };
  }

  #fail(node: Node | null, what: string): never {
    return this.#failAt(node?.range?.[0] ?? 0, what);
  }

  #failAt(offset: number, what: string): never {
    const { line, col } = this.#lines.linePos(offset);
    throw new KeyfleetError('KF_CONFIG', `${this.#path}:${Math.max(1, line)}:${Math.max(1, col)}: ${what}`);
  }
}
