import type { Reply } from '../../shard/redis/reply.ts';
import { type ServerLink, textOf } from './move-link.ts';

/** INFO as a map of its fields. */
export async function info(link: ServerLink): Promise<Map<string, string>> {
  return fieldsOfInfo(await link.call(['INFO']));
}

/** The fields of an answer to INFO. */
export function fieldsOfInfo(reply: Reply): Map<string, string> {
  return new Map(
    textOf(reply)
      .split('\r\n')
      .filter((line) => line.includes(':'))
      .map((line) => [line.slice(0, line.indexOf(':')), line.slice(line.indexOf(':') + 1)]),
  );
}
