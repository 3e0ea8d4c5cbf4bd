import { KeyfleetError } from '../base/errors.ts';
import type { Key } from './pool-commands.ts';
import type { PoolCore } from './pool-core.ts';
import { RedisReplyError, type ReplyValue, replyValue } from './reply-value.ts';
import { type CommandArg, encodeRequest } from './request-encoder.ts';

type Read = (args: readonly CommandArg[]) => Promise<ReplyValue>;

/** WATCH, what `run` reads, then MULTI … EXEC with what it answers, on a connection of its own; again when somebody else was quicker. */
export async function watchAndRun(
  core: PoolCore,
  keys: readonly Key[],
  run: (read: Read) => Promise<readonly (readonly CommandArg[])[] | undefined>,
  attempts: number,
): Promise<ReplyValue[] | undefined> {
  if (keys.length === 0) throw new KeyfleetError('KF_BAD_COMMAND', 'watch() needs a key');
  const server = core.oneServer('WATCH', keys);
  const name = core.links[server]!.name;
  const connection = core.openPrivate(server, {});
  const ask: Read = (args) =>
    new Promise((resolve, reject) => {
      connection.send(
        encodeRequest(args),
        {
          onReply: (_, bytes, start) => {
            const value = replyValue(bytes, start, false, name);
            if (value instanceof RedisReplyError) reject(value);
            else resolve(value);
          },
          onFailure: (_, error) => reject(error),
        },
        undefined,
      );
    });
  try {
    for (let attempt = 0; attempt < attempts; attempt++) {
      await ask(['WATCH', ...keys]);
      const commands = await run(ask);
      if (commands === undefined || commands.length === 0) return undefined;
      for (const command of commands) core.checkOn(server, command);
      const answers = await Promise.all([
        ask(['MULTI']),
        ...commands.map((command) => ask(command).catch((error: unknown) => error)),
        ask(['EXEC']),
      ]);
      const done = answers.at(-1) as ReplyValue;
      if (done !== null) return done as ReplyValue[];
    }
  } finally {
    connection.close();
  }
  throw new KeyfleetError('KF_PRECONDITION_FAILED', `${attempts} times somebody else changed the watched keys; nothing was done`, {
    retryable: true,
  });
}
