import { readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { describe, expect, test } from 'vitest';

/** Somebody who answers lines. */
export interface Talker {
  say(line: string): string[] | Promise<string[]>;
  close?(): Promise<void>;
}

/** The conversations in the files of a folder, each paragraph with a talker of its own. A line after > is said; what follows it must be the answer. */
export function goldenConversations(folder: URL, begin: () => Talker | Promise<Talker>): void {
  for (const file of readdirSync(folder).filter((name) => name.endsWith('.txt'))) {
    const path = new URL(file, folder);
    const paragraphs = readFileSync(path, 'utf8').trimEnd().split(/\n\n+/);
    describe(file, () => {
      const after: string[] = [];
      test.each(paragraphs.map((paragraph) => [paragraph.split('\n')[0]!.replace(/^# /, ''), paragraph]))(
        '%s',
        async (_title, paragraph) => {
          const talker = await begin();
          const shown: string[] = [];
          try {
            for (const line of paragraph.split('\n').filter((one) => /^(#|>) /.test(one))) {
              shown.push(line);
              if (line.startsWith('> ')) shown.push(...(await talker.say(line.slice(2))));
            }
          } finally {
            await talker.close?.();
          }
          const held = shown.join('\n');
          after.push(held);
          if (!process.env['KEYFLEET_REWRITE']) expect(held).toBe(paragraph);
          else if (after.length === paragraphs.length) writeFileSync(path, `${after.join('\n\n')}\n`);
        },
      );
    });
  }
}
