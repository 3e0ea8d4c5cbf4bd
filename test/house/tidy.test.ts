import { basename } from 'node:path';
import { describe, expect, test } from 'vitest';
import { projectFiles, read } from './tree.ts';

const files = projectFiles();
const isText = (path: string): boolean => /\.(ts|mjs|js|json|md|yml|yaml|html|css|txt|svg)$|\/run$|LICENSE$/.test(path);
const isData = (path: string): boolean => path.startsWith('test/vectors/') || path.includes('/testdata/') || path === 'package-lock.json';
const code = files.filter((path) => /\.(ts|mjs|js|html|css)$/.test(path) && !isData(path));

/** Lines a file may have; a longer one is two things. The listed ones were longer when the rule came: they may only shrink. */
const LINE_LIMIT = 500;
const LONGER: Readonly<Record<string, number>> = {};

describe('a tidy house', () => {
  test('has no leftover markers', () => {
    const marker = new RegExp(`\\b(${['TO' + 'DO', 'FIX' + 'ME', 'X'.repeat(3), 'HA' + 'CK'].join('|')})\\b`);
    expect(code.filter((path) => marker.test(read(path)))).toEqual([]);
  });

  test('has no test switched off or narrowed', () => {
    const narrowed = new RegExp(`\\b(describe|it|test)\\.(${['on' + 'ly', 'sk' + 'ip', 'to' + 'do'].join('|')})\\(`);
    expect(code.filter((path) => narrowed.test(read(path)))).toEqual([]);
  });

  test('names no path of a machine', () => {
    const machine = new RegExp(
      `(^|[^A-Za-z0-9_./-])/(${['wo' + 'rk', 'ho' + 'me', 'ro' + 'ot', 'Us' + 'ers', 'fa' + 'rm'].join('|')})/[a-z.]`,
      'm',
    );
    expect(files.filter((path) => isText(path) && !isData(path) && machine.test(read(path)))).toEqual([]);
  });

  test('names files for the one thing they hold, in kebab-case', () => {
    const wrong = code.filter(
      (path) => !/^[a-z0-9]+(-[a-z0-9]+)*(\.(test|conformance|bench|config|d))*\.(ts|mjs|js|html|css)$/.test(basename(path)),
    );
    const vague = code.filter((path) => /^(utils?|helpers?|misc|common|shared|stuff)\.(ts|mjs|js)$/.test(basename(path)));
    expect([...wrong, ...vague]).toEqual([]);
  });

  test(`keeps files below ${LINE_LIMIT} lines`, () => {
    const long = code
      .map((path) => [path, read(path).split('\n').length] as const)
      .filter(([path, lines]) => lines > (LONGER[path] ?? LINE_LIMIT));
    expect(long).toEqual([]);
  });

  test('has the documents that its readers are promised', () => {
    const promised = [
      'README.md',
      'CHANGELOG.md',
      'CONTRIBUTING.md',
      'LICENSE',
      'docs/architecture.md',
      'docs/glossary.md',
      'docs/errors.md',
    ];
    expect(promised.filter((path) => !files.includes(path))).toEqual([]);
  });

  test('has no link in its documents that leads nowhere', () => {
    const broken: string[] = [];
    for (const path of files.filter((file) => file.endsWith('.md'))) {
      for (const match of read(path).matchAll(/\]\((?!https?:|#|mailto:)([^)#\s]+)(#[^)]*)?\)/g)) {
        const target = new URL(match[1]!, `file:///${path}`).pathname.slice(1);
        if (!files.includes(target) && !files.some((file) => file.startsWith(target.endsWith('/') ? target : `${target}/`)))
          broken.push(`${path} -> ${match[1]}`);
      }
    }
    expect(broken).toEqual([]);
  });
});

describe('error codes', () => {
  const inCode = new Set(
    files
      .filter((path) => path.startsWith('src/') && path.endsWith('.ts') && !path.endsWith('.test.ts'))
      .flatMap((path) => [...read(path).matchAll(/['"](KF_[A-Z0-9_]+)['"]/g)].map((match) => match[1]!)),
  );
  const inDocs = new Set([...read('docs/errors.md').matchAll(/^\| `(KF_[A-Z0-9_]+)` \|/gm)].map((match) => match[1]!));

  test('are the same in the code and in docs/errors.md', () => {
    expect({
      undocumented: [...inCode].filter((one) => !inDocs.has(one)).sort(),
      gone: [...inDocs].filter((one) => !inCode.has(one)).sort(),
    }).toEqual({ undocumented: [], gone: [] });
  });
});
