import { utf8 } from '../../base/bytes.ts';
import { type CommandSpec, helpLines } from '../../shard/redis/command-table.ts';
import type { Reply, TaggedReply } from '../../shard/redis/reply.ts';

/** Text as a bulk string. */
export function bulk(text: string | number): Reply {
  return utf8(String(text));
}

export function status(text: string): TaggedReply {
  return { kind: 'status', text };
}

/** Text for people: RESP3 marks it as such. */
export function verbatim(text: string): TaggedReply {
  return { kind: 'verbatim', format: 'txt', text: utf8(text) };
}

export function statuses(texts: readonly string[]): TaggedReply {
  return { kind: 'set', items: texts.map(status) };
}

export function help(container: CommandSpec): Reply {
  return helpLines(container).map(status);
}
