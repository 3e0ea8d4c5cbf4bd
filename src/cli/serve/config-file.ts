import { readFileSync } from 'node:fs';
import { dirname, resolve } from 'node:path';
import { isMap, isScalar, isSeq, LineCounter, type Node, parseDocument, type Scalar, type YAMLMap } from 'yaml';
import { KeyfleetError, messageOf } from '../../base/errors.ts';
import { closest } from '../terminal/closest.ts';
import { SETTINGS, type Setting } from './serve-settings.ts';

/** Reads a configuration file. @throws KF_CONFIG naming the file, and the line and column of what is wrong. */
export function readConfigFile(path: string): ReadonlyMap<string, unknown> {
  let text: string;
  try {
    text = readFileSync(path, 'utf8');
  } catch (error) {
    throw new KeyfleetError('KF_CONFIG', `cannot read the configuration file ${path}: ${messageOf(error)}`, { cause: error });
  }
  const values = parseConfig(text, path);
  for (const setting of SETTINGS) {
    const value = values.get(setting.name);
    if (!setting.isPath) continue;
    if (typeof value === 'string') values.set(setting.name, resolve(dirname(path), value));
    if (Array.isArray(value))
      values.set(
        setting.name,
        (value as readonly string[]).map((one) => resolveNamed(dirname(path), one)),
      );
  }
  return values;
}

/** The settings that `text` names, by setting name. @throws KF_CONFIG, `path:line:column: what is wrong`. */
export function parseConfig(text: string, path: string): Map<string, unknown> {
  const lines = new LineCounter();
  const document = parseDocument(text, { lineCounter: lines, prettyErrors: false, uniqueKeys: true });
  const fail = (offset: number, what: string): never => {
    const { line, col } = lines.linePos(offset);
    throw new KeyfleetError('KF_CONFIG', `${path}:${line}:${col}: ${what}`);
  };
  const [problem] = [...document.errors, ...document.warnings];
  if (problem) fail(problem.pos[0], problem.message);

  const values = new Map<string, unknown>();
  const root = document.contents;
  if (root === null || (isScalar(root) && root.value === null)) return values;
  if (!isMap(root)) return fail(offsetOf(root), 'a configuration file is a map of settings');
  readSection(root, '');
  return values;

  function readSection(section: YAMLMap, prefix: string): void {
    for (const { key, value } of section.items) {
      const name = isScalar(key) ? String(key.value) : '';
      const at = offsetOf(key as Node);
      const here = prefix + name;
      const setting = SETTINGS.find((one) => one.key === here);
      if (setting) readValue(setting, value as Node | null, at);
      else if (SETTINGS.some((one) => one.key.startsWith(`${here}.`))) {
        if (!isMap(value)) fail(value ? offsetOf(value as Node) : at, `${here} is a section: its settings stand indented below it`);
        else readSection(value, `${here}.`);
      } else {
        const meant = closest(here, knownKeys());
        fail(at, `unknown setting ${JSON.stringify(here)}${meant ? ` (did you mean ${meant}?)` : ''}`);
      }
    }
  }

  function readValue(setting: Setting, value: Node | null, keyOffset: number): void {
    const items = setting.isList && isSeq(value) ? value.items : [value];
    for (const item of items) {
      const raw = isScalar(item) ? item.value : undefined;
      if (typeof raw === 'string' || typeof raw === 'number' || typeof raw === 'boolean') continue;
      const what = setting.isList ? 'a single value or a list of them' : 'a single value';
      fail(item ? offsetOf(item as Node) : keyOffset, `${setting.key} needs ${what}`);
    }
    const raws = items.map((item) => (item as Scalar<string | number | boolean>).value);
    try {
      values.set(setting.name, setting.parse(setting.isList ? raws : raws[0]!));
    } catch (error) {
      fail(offsetOf(value), `${setting.key} ${messageOf(error)}`);
    }
  }
}

function knownKeys(): string[] {
  return [...new Set(SETTINGS.flatMap(({ key }) => [key, key.split('.')[0]!]))];
}

/** A path, perhaps after `name=`. */
function resolveNamed(dir: string, path: string): string {
  const [, name = '', rest = path] = /^([A-Za-z0-9._-]+=)?(.*)$/s.exec(path) ?? [];
  return name + resolve(dir, rest);
}

function offsetOf(node: Node | null): number {
  return node?.range?.[0] ?? 0;
}
