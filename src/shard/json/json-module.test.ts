import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { utf8 } from '../../base/bytes.ts';
import type { CommandContext } from '../value-module.ts';
import { applyMergePatch } from './json-merge-patch.ts';
import { json, jsonModule } from './json-module.ts';
import { applyJsonPatch, type JsonPatchOperation } from './json-patch.ts';
import { equalJson, type Json, jsonAt, pointerSteps } from './json-value.ts';

const ctx = { key: utf8('k'), nowMs: 0, expireAtMs: undefined, sizeBytes: 0 } as unknown as CommandContext;
const parse = (text: string) => JSON.parse(text) as Json;
const code = (expected: string) => expect.objectContaining({ code: expected });

describe('a merge patch', () => {
  // RFC 7396, Appendix A: original, patch, result.
  test.each([
    ['{"a":"b"}', '{"a":"c"}', '{"a":"c"}'],
    ['{"a":"b"}', '{"b":"c"}', '{"a":"b","b":"c"}'],
    ['{"a":"b"}', '{"a":null}', '{}'],
    ['{"a":"b","b":"c"}', '{"a":null}', '{"b":"c"}'],
    ['{"a":["b"]}', '{"a":"c"}', '{"a":"c"}'],
    ['{"a":"c"}', '{"a":["b"]}', '{"a":["b"]}'],
    ['{"a":{"b":"c"}}', '{"a":{"b":"d","c":null}}', '{"a":{"b":"d"}}'],
    ['{"a":[{"b":"c"}]}', '{"a":[1]}', '{"a":[1]}'],
    ['["a","b"]', '["c","d"]', '["c","d"]'],
    ['{"a":"b"}', '["c"]', '["c"]'],
    ['{"a":"foo"}', 'null', 'null'],
    ['{"a":"foo"}', '"bar"', '"bar"'],
    ['{"e":null}', '{"a":1}', '{"e":null,"a":1}'],
    ['[1,2]', '{"a":"b","c":null}', '{"a":"b"}'],
    ['{}', '{"a":{"bb":{"ccc":null}}}', '{"a":{"bb":{}}}'],
    ['{}', '{"__proto__":{"x":1}}', '{"__proto__":{"x":1}}'],
  ])('of %s with %s is %s', (original, patch, result) => {
    const target = parse(original);
    expect(JSON.stringify(applyMergePatch(target, parse(patch)))).toBe(result);
    expect(JSON.stringify(target)).toBe(original);
  });
});

describe('a patch', () => {
  // RFC 6902, Appendix A, and the corners around it: document, patch, result.
  test.each([
    ['{"foo":"bar"}', '[{"op":"add","path":"/baz","value":"qux"}]', '{"foo":"bar","baz":"qux"}'],
    ['{"foo":["bar","baz"]}', '[{"op":"add","path":"/foo/1","value":"qux"}]', '{"foo":["bar","qux","baz"]}'],
    ['{"baz":"qux","foo":"bar"}', '[{"op":"remove","path":"/baz"}]', '{"foo":"bar"}'],
    ['{"foo":["bar","qux","baz"]}', '[{"op":"remove","path":"/foo/1"}]', '{"foo":["bar","baz"]}'],
    ['{"baz":"qux","foo":"bar"}', '[{"op":"replace","path":"/baz","value":"boo"}]', '{"baz":"boo","foo":"bar"}'],
    [
      '{"foo":{"bar":"baz","waldo":"fred"},"qux":{"corge":"grault"}}',
      '[{"op":"move","from":"/foo/waldo","path":"/qux/thud"}]',
      '{"foo":{"bar":"baz"},"qux":{"corge":"grault","thud":"fred"}}',
    ],
    ['{"foo":["all","grass","cows","eat"]}', '[{"op":"move","from":"/foo/1","path":"/foo/3"}]', '{"foo":["all","cows","eat","grass"]}'],
    ['{"baz":"qux"}', '[{"op":"test","path":"/baz","value":"qux"}]', '{"baz":"qux"}'],
    ['{"foo":"bar"}', '[{"op":"add","path":"/child","value":{"grandchild":{}}}]', '{"foo":"bar","child":{"grandchild":{}}}'],
    ['{"foo":"bar"}', '[{"op":"add","path":"/baz","value":"qux","xyz":123}]', '{"foo":"bar","baz":"qux"}'],
    ['{"/":9,"~1":10}', '[{"op":"test","path":"/~01","value":10}]', '{"/":9,"~1":10}'],
    ['{"foo":["bar"]}', '[{"op":"add","path":"/foo/-","value":["abc","def"]}]', '{"foo":["bar",["abc","def"]]}'],
    ['{"a":{"b":1}}', '[{"op":"copy","from":"/a","path":"/c"}]', '{"a":{"b":1},"c":{"b":1}}'],
    ['{"a":1}', '[{"op":"add","path":"","value":[1]}]', '[1]'],
    ['{"a":1}', '[{"op":"test","path":"","value":{"a":1}},{"op":"replace","path":"/a","value":null}]', '{"a":null}'],
    ['{"":{"":1}}', '[{"op":"replace","path":"//","value":2}]', '{"":{"":2}}'],
    ['{"a":1}', '[{"op":"move","from":"/a","path":"/a"}]', '{"a":1}'],
    ['{}', '[{"op":"add","path":"/__proto__","value":{"x":1}}]', '{"__proto__":{"x":1}}'],
  ])('of %s by %s is %s', (document, patch, result) => {
    const before = parse(document);
    expect(JSON.stringify(applyJsonPatch(before, parse(patch) as never))).toBe(result);
    expect(JSON.stringify(before)).toBe(document);
  });

  test.each([
    ['{"baz":"qux"}', '[{"op":"test","path":"/baz","value":"bar"}]'],
    ['{"foo":"bar"}', '[{"op":"add","path":"/baz/bat","value":"qux"}]'],
    ['{"/":9,"~1":10}', '[{"op":"test","path":"/~01","value":"10"}]'],
    ['{"a":1}', '[{"op":"remove","path":"/b"}]'],
    ['{"a":1}', '[{"op":"replace","path":"/b","value":1}]'],
    ['{"a":[1]}', '[{"op":"add","path":"/a/2","value":1}]'],
    ['{"a":[1]}', '[{"op":"remove","path":"/a/-"}]'],
    ['{"a":[1]}', '[{"op":"replace","path":"/a/01","value":1}]'],
    ['{"a":[1]}', '[{"op":"test","path":"/a/1e0","value":1}]'],
    ['{"a":{}}', '[{"op":"move","from":"/a","path":"/a/b"}]'],
    ['{"a":1}', '[{"op":"copy","from":"/b","path":"/c"}]'],
    ['{"a":1}', '[{"op":"test","path":"/toString","value":1}]'],
    ['{"a":1}', '[{"op":"remove","path":""},{"op":"replace","path":"","value":1}]'],
  ])('that does not fit %s fails, whole: %s', (document, patch) => {
    const steps = [{ op: 'add', path: '/first', value: 1 }, ...(parse(patch) as unknown as JsonPatchOperation[])];
    expect(() => applyJsonPatch(parse(document), parse(patch) as never)).toThrow(code('KF_PATCH_FAILED'));
    expect(() => applyJsonPatch(parse(document), steps as never)).toThrow(code('KF_PATCH_FAILED'));
  });

  test.each([
    '[{"op":"spam","path":""}]',
    '[{"op":"add","path":"/a"}]',
    '[{"op":"add","path":"a","value":1}]',
    '[{"op":"test"}]',
    '{}',
    '[null]',
    '[{"op":"add","path":"/~2","value":1}]',
  ])('that is none is refused: %s', (patch) => {
    expect(() => applyJsonPatch(parse('{"a":1}'), parse(patch) as never)).toThrow(code('KF_BAD_COMMAND'));
  });

  test('puts a value where its pointer then finds it, in any document', () => {
    fc.assert(
      fc.property(fc.jsonValue(), fc.jsonValue(), fc.nat(), (any, value, chance) => {
        const document = parse(JSON.stringify(any));
        const paths: string[] = [''];
        const walk = (at: Json, path: string): void => {
          if (typeof at !== 'object' || at === null) return;
          for (const [name, child] of Object.entries(at)) {
            const here = `${path}/${name.replaceAll('~', '~0').replaceAll('/', '~1')}`;
            paths.push(here);
            walk(child as Json, here);
          }
        };
        walk(document, '');
        const path = paths[chance % paths.length]!;
        const wanted = parse(JSON.stringify(value));
        const after = applyJsonPatch(document, [{ op: 'replace', path, value: wanted }]);
        expect(equalJson(jsonAt(after!, pointerSteps(path))!, wanted)).toBe(true);
        expect(equalJson(applyJsonPatch(after, [{ op: 'replace', path, value: jsonAt(document, pointerSteps(path))! }])!, document)).toBe(
          true,
        );
      }),
    );
  });
});

describe('the json module', () => {
  test('sets, merges, patches, removes and reads documents', () => {
    const run = (value: Json | undefined, command: Parameters<typeof jsonModule.command>[2]) =>
      jsonModule.command(ctx, value, command).value;
    const anna = run(undefined, json.merge({ name: 'Anna', gone: null }));
    expect(anna).toEqual({ name: 'Anna' });
    const later = run(anna, json.patch([{ op: 'add', path: '/tags', value: ['new'] }]));
    expect(jsonModule.query(ctx, later, json.get('/tags/0')).answer).toBe('new');
    expect(jsonModule.query(ctx, later, json.get('/none')).answer).toBe(undefined);
    expect(jsonModule.query(ctx, undefined, json.get()).answer).toBe(undefined);
    expect(run(run(later, json.set(null)), json.remove())).toBe(undefined);
    const { encode, decode } = jsonModule.replyCodec!;
    for (const reply of [undefined, null, '', { a: [1] }]) expect(decode(encode(reply))).toEqual(reply);
  });

  test('refuses what JSON cannot say, which another replica would read as something else: KF_BAD_COMMAND', () => {
    const circular = [Number.NaN, Number.POSITIVE_INFINITY, undefined, new Date(0), () => 1, 1n, { a: undefined }, [Number.NaN]];
    for (const value of circular) {
      expect(() => jsonModule.command(ctx, 1, json.set(value as never))).toThrow(code('KF_BAD_COMMAND'));
      expect(() => jsonModule.command(ctx, 1, json.merge({ a: value } as never))).toThrow(code('KF_BAD_COMMAND'));
      expect(() => jsonModule.command(ctx, 1, json.patch([{ op: 'test', path: '', value: value as never }]))).toThrow(
        code('KF_BAD_COMMAND'),
      );
    }
    expect(() => jsonModule.command(ctx, 1, { kind: 'frobnicate' } as never)).toThrow(code('KF_BAD_COMMAND'));
  });
});
