import { type Bytes, fromUtf8 } from '../../base/bytes.ts';
import { readReply } from '../../resp/codec/reply-parser.ts';
import type { Reply } from '../../shard/redis/reply.ts';
import type { Backend } from '../backend.ts';
import { type KeyPlace, learnCommand } from '../command-table.ts';

/** Takes up the commands of a server that the built-in table does not have, those of modules above all. */
export function learnCommands(backend: Backend): void {
  backend.send(
    '*1\r\n$7\r\nCOMMAND\r\n',
    { onReply: (_, bytes, start) => takeUp(readReply(bytes, start)), onFailure: () => undefined },
    undefined,
  );
}

/** `[name, arity, flags, first key, last key, step, …]` each; those whose keys move about without a plain place are left out. */
export function takeUp(reply: Reply): void {
  if (!Array.isArray(reply)) return;
  for (const command of reply as readonly Reply[]) {
    if (!Array.isArray(command)) continue;
    const [name, , flags, first, last, step] = command as unknown as readonly [Bytes, number, Reply, number, number, number];
    if (!(name instanceof Uint8Array) || typeof first !== 'number' || typeof last !== 'number' || typeof step !== 'number') continue;
    const words = new Set(
      (Array.isArray(flags) ? (flags as readonly Reply[]) : []).map((flag) => (flag as { readonly text?: string }).text ?? ''),
    );
    const places: KeyPlace[] = first > 0 ? [{ kind: 'range', from: first, last, step: Math.max(1, step) }] : [];
    if (!words.has('movablekeys')) learnCommand(fromUtf8(name).toLowerCase(), words.has('write'), places, words.has('blocking'));
  }
}
