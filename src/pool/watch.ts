import { KeyfleetError } from '../base/errors.ts';
import { argBytes } from './client-command.ts';
import { noLease } from './guarded-commands.ts';
import type { Key } from './pool-commands.ts';
import type { PoolCore } from './pool-core.ts';
import { RedisReplyError, type ReplyValue, replyValue } from './reply-value.ts';
import { type CommandArg, encodeRequest } from './request-encoder.ts';

type Read = (args: readonly CommandArg[]) => Promise<ReplyValue>;
type Decide = (read: Read) => Promise<readonly (readonly CommandArg[])[] | undefined>;

/**
 * WATCH, what `run` reads, then MULTI … EXEC with what it answers, on a connection of its own; again when somebody else was quicker, when the keys have moved
 * meanwhile, or when the lease to send was late.
 */
export async function watchAndRun(core: PoolCore, keys: readonly Key[], run: Decide, attempts: number): Promise<ReplyValue[] | undefined> {
  if (keys.length === 0) throw new KeyfleetError('KF_BAD_COMMAND', 'watch() needs a key');
  for (let attempt = 0; attempt < attempts; attempt++) {
    const outcome = await attemptOnce(core, keys, run);
    if (outcome !== 'again') return outcome;
  }
  throw new KeyfleetError('KF_PRECONDITION_FAILED', `${attempts} times somebody else changed the watched keys; nothing was done`, {
    retryable: true,
  });
}

async function attemptOnce(core: PoolCore, keys: readonly Key[], run: Decide): Promise<ReplyValue[] | 'again' | undefined> {
  const server = (await core.moving?.homeOf?.(keys)) ?? core.oneServer('WATCH', keys);
  const { name } = core.links[server]!;
  let isMoved = false;
  /** The lease was late in the middle: EXEC has not gone out, and the next attempt waits for the lease. */
  let isLate = false;
  const own = core.takePrivate(server, {
    onMoved: () => {
      isMoved = true;
    },
  });
  core.privates.stand(own, keys.map(argBytes));
  const checkLease = (): void => {
    if (core.moving?.maySend !== false) return;
    isLate = true;
    throw noLease();
  };
  const send: Read = (args) =>
    new Promise((resolve, reject) => {
      own.connection.send(
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
  const ask: Read = async (args) => {
    checkLease();
    return send(args);
  };
  try {
    await ask(['WATCH', ...keys]);
    const commands = await run(ask);
    if (commands === undefined || commands.length === 0) return undefined;
    const touched = commands.flatMap((command) => core.keysOf(command));
    const home = touched.length === 0 ? undefined : await core.moving?.homeOf?.([...keys, ...touched]);
    // Servers may have other places in the map by now.
    const place = core.placeOf(own);
    if (isMoved || place < 0 || (home !== undefined && home !== place)) return 'again';
    for (const command of commands) core.checkOn(place, command);
    core.privates.stand(own, touched.map(argBytes));
    checkLease();
    // All of it or nothing.
    const answers = await Promise.all([
      send(['MULTI']),
      ...commands.map((command) => send(command).catch((error: unknown) => error)),
      send(['EXEC']),
    ]);
    return (answers.at(-1) as ReplyValue[] | null) ?? 'again';
  } catch (error) {
    if (isLate) return 'again';
    // The connection was ended under it, before EXEC: whoever confirms a change of the map waits for what was sent.
    if (isMoved && error instanceof KeyfleetError && error.code === 'KF_BACKEND_DOWN') return 'again';
    throw error;
  } finally {
    core.privates.drop(own);
  }
}
