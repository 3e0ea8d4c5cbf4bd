import { open, readFile, realpath, rename, stat } from 'node:fs/promises';
import { dirname, resolve } from 'node:path';
import { type Document, isMap, isScalar, isSeq, LineCounter, type Node, parseDocument } from 'yaml';
import { KeyfleetError, messageOf } from '../base/errors.ts';

/** `keyfleet volume --config volume.yml`. */
export interface VolumeConfig {
  readonly port: number;
  readonly host: string;
  /** Directory of the values. */
  readonly path: string;
  readonly token: string | undefined;
}

/** `keyfleet master --config master.yml`. */
export interface MasterConfig {
  readonly port: number;
  readonly host: string;
  /** Addresses of the volumes. */
  readonly volumes: readonly string[];
  /** Directory of the metakeys. */
  readonly path: string;
  readonly replicas: number;
  /** Shared with the volumes. */
  readonly token: string | undefined;
  /** For administration from other machines. */
  readonly password: string | undefined;
  readonly moveConcurrency: number;
  readonly moveBytesPerSecond: number | undefined;
}

export function readVolumeConfig(file: string): Promise<VolumeConfig> {
  return withConfig(file, ['port', 'host', 'path', 'token'], (config) => ({
    port: config.port(3001),
    host: config.text('host') ?? '127.0.0.1',
    path: config.path('path') ?? config.missing('path', 'the directory of the values'),
    token: config.text('token'),
  }));
}

export function readMasterConfig(file: string): Promise<MasterConfig> {
  const keys = ['port', 'host', 'volumes', 'path', 'replicas', 'token', 'password', 'moveConcurrency', 'moveBytesPerSecond'];
  return withConfig(file, keys, (config) => ({
    port: config.port(3000),
    host: config.text('host') ?? '127.0.0.1',
    volumes: config.addresses('volumes'),
    path: config.path('path') ?? resolve(dirname(file), 'keyfleet-master'),
    replicas: config.count('replicas', { least: 1, most: 8 }) ?? 1,
    token: config.text('token'),
    password: config.text('password'),
    moveConcurrency: config.count('moveConcurrency', { least: 1, most: 64 }) ?? 4,
    moveBytesPerSecond: config.count('moveBytesPerSecond', { least: 1, most: Number.MAX_SAFE_INTEGER }),
  }));
}

/** Takes volumes out of the list in a master's configuration and adds new ones at its end; the rest of the file, comments included, stays. */
export async function writeVolumeList(file: string, volumes: readonly string[]): Promise<void> {
  const path = await realpath(file);
  const document = parseDocument(await readFile(path, 'utf8'));
  const list = document.get('volumes', true);
  const addressOf = (item: unknown): string => (isScalar(item) ? String(item.value).replace(/\/$/, '') : '');
  const listed = isSeq(list) ? list.items.map(addressOf) : [];
  const isSame = listed.length === volumes.length && listed.every((address) => volumes.includes(address));
  if (isSame) return;
  if (isSeq(list)) {
    list.items = list.items.filter((item) => volumes.includes(addressOf(item)));
    for (const address of volumes) if (!listed.includes(address)) list.add(document.createNode(address));
  } else document.set('volumes', document.createNode([...volumes]));
  // The file may hold secrets: who could not read it before still cannot.
  const { mode } = await stat(path);
  const handle = await open(`${path}.new`, 'w', mode & 0o777);
  try {
    await handle.chmod(mode & 0o777);
    await handle.writeFile(String(document));
    await handle.sync();
  } finally {
    await handle.close();
  }
  await rename(`${path}.new`, path);
}

async function withConfig<T>(file: string, known: readonly string[], read: (config: ConfigReader) => T): Promise<T> {
  let text: string;
  try {
    text = await readFile(file, 'utf8');
  } catch (error) {
    throw new KeyfleetError('KF_CONFIG', `cannot read ${file}: ${messageOf(error)}`, { cause: error });
  }
  const lines = new LineCounter();
  const document = parseDocument(text, { lineCounter: lines });
  const config = new ConfigReader(file, document, lines);
  config.requireKnown(known);
  return read(config);
}

/** Reads one YAML file; every complaint names file, line and key. */
class ConfigReader {
  readonly #file: string;
  readonly #document: Document;
  readonly #lines: LineCounter;

  constructor(file: string, document: Document.Parsed, lines: LineCounter) {
    this.#file = file;
    this.#document = document;
    this.#lines = lines;
    const [error] = document.errors;
    if (error !== undefined)
      throw new KeyfleetError('KF_CONFIG', `${file}:${lines.linePos(error.pos[0]).line}: ${error.message.split('\n')[0]}`);
    if (!isMap(document.contents)) throw new KeyfleetError('KF_CONFIG', `${file}:1: should be a list of key: value lines`);
  }

  requireKnown(known: readonly string[]): void {
    if (!isMap(this.#document.contents)) return;
    for (const { key } of this.#document.contents.items) {
      if (isScalar(key) && known.includes(String(key.value))) continue;
      this.#refuse(key as Node, `does not know the key ${String(key)}; the keys are ${known.join(', ')}`);
    }
  }

  text(key: string): string | undefined {
    const node = this.#node(key);
    if (node === undefined) return undefined;
    const value = isScalar(node) ? node.value : undefined;
    if (typeof value !== 'string' && typeof value !== 'number') return this.#refuse(node, `${key} should be a text`);
    return String(value);
  }

  path(key: string): string | undefined {
    const text = this.text(key);
    return text === undefined ? undefined : resolve(dirname(this.#file), text);
  }

  count(key: string, { least, most }: { readonly least: number; readonly most: number }): number | undefined {
    const node = this.#node(key);
    if (node === undefined) return undefined;
    const value = isScalar(node) ? node.value : undefined;
    if (typeof value !== 'number' || !Number.isInteger(value) || value < least || value > most)
      return this.#refuse(node, `${key} should be a whole number from ${least} to ${most}`);
    return value;
  }

  port(otherwise: number): number {
    return this.count('port', { least: 0, most: 65_535 }) ?? otherwise;
  }

  addresses(key: string): string[] {
    const node = this.#node(key);
    if (node === undefined) return this.missing(key, 'a list of addresses such as http://127.0.0.1:3001');
    if (!isSeq(node)) return this.#refuse(node, `${key} should be a list of addresses`);
    const found: string[] = [];
    for (const item of node.items as Node[]) {
      const text = isScalar(item) ? String(item.value) : '';
      if (!isHttpAddress(text)) this.#refuse(item, `${key}: ${text || 'this'} is not an address such as http://127.0.0.1:3001`);
      const address = text.replace(/\/$/, '');
      if (found.includes(address)) this.#refuse(item, `${key}: ${address} is there twice`);
      found.push(address);
    }
    if (found.length === 0) this.#refuse(node, `${key} is empty; a master needs at least one volume`);
    return found;
  }

  missing(key: string, what: string): never {
    throw new KeyfleetError('KF_CONFIG', `${this.#file}: ${key} is missing: ${what}`);
  }

  #node(key: string): Node | undefined {
    const node = this.#document.get(key, true) as Node | undefined | null;
    return node === null || node === undefined || (isScalar(node) && node.value === null) ? undefined : node;
  }

  #refuse(node: Node, what: string): never {
    const at = node.range?.[0];
    throw new KeyfleetError('KF_CONFIG', `${this.#file}:${at === undefined ? 1 : this.#lines.linePos(at).line}: ${what}`);
  }
}

export function isHttpAddress(text: string): boolean {
  try {
    const { protocol, hostname } = new URL(text);
    return (protocol === 'http:' || protocol === 'https:') && hostname !== '';
  } catch {
    return false;
  }
}
