import { type Bytes, utf8 } from '../../src/base/bytes.ts';
import type { Reply } from '../../src/shard/redis/reply.ts';
import { areAlike, cursorPlace, type Subject, show, walkToEnd } from './compare.ts';
import type { Generator } from './generator.ts';

/** Commands of a round, which begins with nothing stored. */
const ROUND_COMMANDS = 500;
/** For a pipeline of so many; the longest wait of a blocking command among them is 2 ms. */
const PATIENCE_MS = 30_000;

/** Gives the same commands to both and throws at the first replies that differ. Both must take them in the order given. */
export async function compareRound(options: {
  readonly real: Subject;
  readonly ours: Subject;
  readonly generator: Generator;
  readonly seed: number;
}): Promise<void> {
  const { real, ours, generator, seed } = options;
  const commands = [[utf8('FLUSHALL')], ...Array.from({ length: ROUND_COMMANDS }, () => generator.command())];
  // Pipelined in pieces that end at a scan, which is walked to its end before anything changes.
  for (let from = 0; from < commands.length; ) {
    const scan = commands.findIndex((command, i) => i >= from && cursorPlace(command) !== undefined);
    const to = scan < 0 ? commands.length : scan + 1;
    const piece = commands.slice(from, to);
    const pending = piece.map((command) => real.run(command));
    const mine = piece.map((command) => ours.run(command));
    const theirs = await answersOf('redis', pending, piece, seed);
    const answered = await answersOf('ours', mine, piece, seed);
    for (let i = 0; i < piece.length; i++) {
      const [reply, wanted] = [answered[i]!, theirs[i]!];
      if (!areAlike(piece[i]!, reply, wanted)) fail({ seed, commands: commands.slice(0, from + i + 1), reply, wanted });
    }
    if (scan >= 0 && startsAtZero(commands[scan]!)) {
      const command = commands[scan]!;
      const found = await walkToEnd(ours, command, answered.at(-1)!);
      const wanted = await walkToEnd(real, command, theirs.at(-1)!);
      if (found !== wanted) fail({ seed, commands: commands.slice(0, to), reply: utf8(found), wanted: utf8(wanted) });
    }
    from = to;
  }
}

/** Throws when one is not answered in time, and names it. */
async function answersOf(
  whose: string,
  pending: readonly (Reply | Promise<Reply>)[],
  commands: readonly (readonly Bytes[])[],
  seed: number,
): Promise<Reply[]> {
  let answered = 0;
  let timer: NodeJS.Timeout | undefined;
  const late = new Promise<never>((_, reject) => {
    timer = setTimeout(() => {
      const words = commands[answered]!.map((arg) => JSON.stringify(textOf(arg))).join(' ');
      reject(new Error(`seed ${seed}: ${whose} does not answer ${words}`));
    }, PATIENCE_MS);
  });
  const all = async (): Promise<Reply[]> => {
    const replies: Reply[] = [];
    for (const one of pending) {
      replies.push(await one);
      answered++;
    }
    return replies;
  };
  try {
    return await Promise.race([all(), late]);
  } finally {
    clearTimeout(timer);
  }
}

function startsAtZero(command: readonly Bytes[]): boolean {
  const cursor = command[cursorPlace(command)!];
  return cursor !== undefined && textOf(cursor) === '0';
}

function textOf(bytes: Bytes): string {
  return Buffer.from(bytes).toString('latin1');
}

/** Shows the failing command and what led to it: the commands before that name one of its keys. */
function fail(failure: {
  readonly seed: number;
  readonly commands: readonly (readonly Bytes[])[];
  readonly reply: Reply;
  readonly wanted: Reply;
}): never {
  const last = failure.commands.at(-1)!;
  const words = new Set(last.slice(1).map(textOf));
  const related = failure.commands
    .slice(0, -1)
    .filter((command) => command.slice(1, 6).some((arg) => words.has(textOf(arg)) && textOf(arg) !== ''));
  const lines = [...related.slice(-25), last].map((command) => `  ${command.map((arg) => JSON.stringify(textOf(arg))).join(' ')}`);
  throw new Error(
    `seed ${failure.seed}, command ${failure.commands.length - 1}\n${lines.join('\n')}\n` +
      `ours:  ${show(failure.reply).slice(0, 500)}\nredis: ${show(failure.wanted).slice(0, 500)}\n` +
      `again: npm run differential -- --seed ${failure.seed}`,
  );
}
