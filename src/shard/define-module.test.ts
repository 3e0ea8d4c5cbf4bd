import { expect, test } from 'vitest';
import { defineModule, type ModuleDefinition } from './define-module.ts';

test('codecs given as undefined are those that are left out', () => {
  const definition = {
    name: 'bag',
    codec: undefined,
    commandCodec: undefined,
    replyCodec: undefined,
    command: (_ctx: unknown, value: unknown) => ({ reply: 0, value }),
    query: () => ({ answer: 0 }),
  } as unknown as ModuleDefinition<unknown, unknown, unknown, unknown, unknown>;
  const { codec, commandCodec } = defineModule(definition);
  for (const one of [codec, commandCodec]) expect(one.decode(one.encode({ a: [1, 'two'] }))).toEqual({ a: [1, 'two'] });
});
