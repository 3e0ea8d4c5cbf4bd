import { readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { describe, expect, test } from 'vitest';
import { Conversation } from './conversation.ts';

// What is left when a node dies between two steps of a split or of a merge, and how the next start goes on, in testdata/*.txt. A paragraph is a fresh
// store with one shard and ten keys, of which mango and olive lie above 80000000 and apple below. A line after > is done, what follows it came of it:
//   steps N: so many steps of the workflow are taken, and then no more       crash: the power goes off, in the middle of a write that nobody was told of
//   go on: all steps are taken that can be                                  waits: no shard serves that key, the request is kept

const folder = new URL('./testdata/', import.meta.url);

for (const file of readdirSync(folder).filter((name) => name.endsWith('.txt'))) {
  const path = new URL(file, folder);
  const paragraphs = readFileSync(path, 'utf8').trimEnd().split(/\n\n+/);
  describe(file, () => {
    const after: string[] = [];
    test.each(paragraphs.map((paragraph) => [paragraph.split('\n')[0]!.replace(/^# /, ''), paragraph]))('%s', async (_title, paragraph) => {
      const conversation = new Conversation();
      await conversation.open();
      const shown: string[] = [];
      try {
        for (const line of paragraph.split('\n').filter((one) => /^(#|>) /.test(one))) {
          shown.push(line);
          if (line.startsWith('> ')) shown.push(...(await conversation.say(line.slice(2))));
        }
      } finally {
        await conversation.close();
      }
      const held = shown.join('\n');
      after.push(held);
      if (!process.env['KEYFLEET_REWRITE']) expect(held).toBe(paragraph);
      else if (after.length === paragraphs.length) writeFileSync(path, `${after.join('\n\n')}\n`);
    });
  });
}
