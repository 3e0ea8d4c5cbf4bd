import type { Reply } from '../../shard/redis/reply.ts';
import type { Script } from './guard-scripts.ts';
import { type Argument, errorText, type ServerLink } from './move-link.ts';

/** Runs a script by its digest, and by its text where the server does not know it yet. @throws as {@link ServerLink.call}. */
export async function evaluate(link: ServerLink, script: Script, keys: readonly Argument[], args: readonly Argument[]): Promise<Reply> {
  const rest = [keys.length, ...keys, ...args];
  const byDigest = ['EVALSHA', script.sha, ...rest];
  const reply = await link.raw(byDigest);
  if (errorText(reply)?.startsWith('NOSCRIPT')) return link.call(['EVAL', script.text, ...rest]);
  return link.checked(byDigest, reply);
}
