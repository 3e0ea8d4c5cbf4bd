/**
 * What a source must forget when it comes back as another process, restarted or a replica that was promoted, and with it as older data: whatever had left it meanwhile. Until that is
 * done no router reads there.
 */
import type { Bytes } from '../../base/bytes.ts';
import type { Reply } from '../../shard/redis/reply.ts';
import { FENCE_KEY, FENCED_SCRIPT, PRESENT_SCRIPT } from './guard-scripts.ts';
import { scanKeys } from './move-checks.ts';
import type { ServerLink } from './move-link.ts';
import { evaluate } from './move-script.ts';

/** What was put and is being removed at the source, and what was to stay there after all: a record of the journal beside a move's. */
export interface PutDone {
  /** In base64. */
  readonly keys: readonly string[];
  /** They stay at the source: their writers go on there, whatever was written here before. */
  readonly stay?: true;
}

export interface ForgetOptions {
  readonly from: ServerLink;
  readonly to: ServerLink;
  /** Of the mover, on both servers. */
  readonly token: string;
  readonly isMoving: (key: Bytes) => boolean;
}

const PAGE = 500;

/**
 * Removes from the source what its older data has too much: keys that had left it by the journal, and keys that stand at the target too. The target's are never the older ones: they were
 * put there when the source had them for good and all, or written there when it had them no more, and nobody has written at the source since.
 *
 * Cost: a SCAN of the server that has fewer keys, and a look at the other for each of them.
 *
 * @throws KF_POOL_SERVER_LOST, KF_POOL_FENCED.
 */
export async function forgetMoved(options: ForgetOptions, records: readonly PutDone[]): Promise<void> {
  const { from, to, isMoving } = options;
  const put = keysPut(records);
  for (let at = 0; at < put.length; at += PAGE) await forget(options, put.slice(at, at + PAGE));
  const [fewer, other] = (await keyCount(from)) <= (await keyCount(to)) ? [from, to] : [to, from];
  for await (const page of scanKeys(fewer, PAGE)) {
    const moving = page.filter(isMoving);
    if (moving.length === 0) continue;
    const present = (await evaluate(other, PRESENT_SCRIPT, moving, [])) as readonly Reply[];
    await forget(
      options,
      present.map((index) => moving[Number(index)]!),
    );
  }
}

/** Removes every key of a move that is over from its source. @throws as {@link forgetMoved}. */
export async function forgetAll(options: Pick<ForgetOptions, 'from' | 'token' | 'isMoving'>): Promise<void> {
  for await (const page of scanKeys(options.from, PAGE)) await forget(options, page.filter(options.isMoving));
}

/** The keys that had left by the journal. */
export function keysPut(records: readonly PutDone[]): Bytes[] {
  const put = new Set<string>();
  for (const { keys, stay } of records)
    for (const key of keys) {
      if (stay === true) put.delete(key);
      else put.add(key);
    }
  return [...put].map((key) => Buffer.from(key, 'base64'));
}

async function keyCount(link: ServerLink): Promise<number> {
  return Number(await link.call(['DBSIZE']));
}

async function forget({ from, token }: Pick<ForgetOptions, 'from' | 'token'>, keys: readonly Bytes[]): Promise<void> {
  if (keys.length > 0) await evaluate(from, FENCED_SCRIPT, [FENCE_KEY, ...keys], [token, 'UNLINK', ...keys]);
}
