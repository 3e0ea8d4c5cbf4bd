import { type Bytes, utf8 } from '../../base/bytes.ts';
import type { CommandArgs } from '../../shard/redis/command-table.ts';
import { CROSS_SLOT } from '../../shard/redis/error-replies.ts';
import { errorReply, NULL_ARRAY, OK, type Reply } from '../../shard/redis/reply.ts';
import { transactionCommand } from '../../shard/redis/transaction.ts';
import { printQuery } from '../../shard/redis/watched-keys.ts';
import { replyOfFailure } from '../failure-replies.ts';
import { atOnce, type LocalCall, type LocalCommand } from '../local-command.ts';
import { allInOneSlot } from '../split-and-join.ts';
import { mergeReplies } from '../transaction.ts';

// MULTI, EXEC, DISCARD, WATCH, UNWATCH. A transaction is one command of one shard: its keys are in one slot, and nobody sees half of it.

const NESTED = errorReply('ERR MULTI calls can not be nested');
const EXEC_WITHOUT_MULTI = errorReply('ERR EXEC without MULTI');
const DISCARD_WITHOUT_MULTI = errorReply('ERR DISCARD without MULTI');
const WATCH_INSIDE_MULTI = errorReply('ERR WATCH inside MULTI is not allowed');
const ABORTED = errorReply('EXECABORT Transaction discarded because of previous errors.');
const PEXPIRETIME = utf8('PEXPIRETIME');

export const TRANSACTION_COMMANDS: readonly (readonly [string, LocalCommand])[] = [
  ['multi', atOnce(multi)],
  ['exec', atOnce(exec)],
  ['discard', atOnce(discard)],
  ['watch', atOnce(watch)],
  ['unwatch', atOnce(unwatch)],
];

function multi({ conn: { transaction } }: LocalCall): Reply {
  if (transaction.isOpen) return NESTED;
  transaction.begin();
  return OK;
}

function discard({ conn: { transaction } }: LocalCall): Reply {
  if (!transaction.isOpen) return DISCARD_WITHOUT_MULTI;
  transaction.reset();
  return OK;
}

function unwatch({ conn: { transaction } }: LocalCall): Reply {
  transaction.unwatch();
  return OK;
}

/**
 * Where all commands run in this process: listens from now on, and asks when the keys expire, which nobody tells in time. Else: asks what the keys
 * hold, for their shard to compare at EXEC.
 */
function watch({ door, conn, args }: LocalCall): Reply | Promise<Reply> {
  const { transaction } = conn;
  if (transaction.isOpen) return WATCH_INSIDE_MULTI;
  // Watching a key twice is watching it since the first time.
  const keys = args.slice(1).filter((key) => !transaction.isWatching(key));
  if (!door.keyspace.isLocal) {
    if (!allInOneSlot([...keys, ...transaction.prints.map(({ key }) => key)])) return CROSS_SLOT;
    const printed = keys.map((key) => ask(conn, key, printQuery(key)).then((print) => ({ key, print })));
    return Promise.all(printed).then((prints) => {
      for (const { key, print } of prints) {
        if (!(print instanceof Uint8Array)) continue;
        transaction.watch(key, () => () => {});
        transaction.holds({ key, print });
      }
      return OK;
    });
  }
  const asked = keys.map((key) => {
    transaction.watch(key, () => door.watched.add(key, () => transaction.changed()));
    return ask(conn, key, [PEXPIRETIME, key]).then((atMs) => {
      if (typeof atMs === 'number' && atMs > 0) transaction.expires(atMs);
    });
  });
  return Promise.all(asked).then(() => OK);
}

function ask({ keyspace }: LocalCall['conn'], key: Bytes, query: CommandArgs): Promise<Reply> {
  return new Promise((resolve, reject) => {
    keyspace.ask(key, query, { settled: (_token, reply) => resolve(reply), failed: (_token, error) => reject(error) }, 0);
  });
}

function exec({ door, conn }: LocalCall): Reply | Promise<Reply> {
  const { transaction } = conn;
  if (!transaction.isOpen) return EXEC_WITHOUT_MULTI;
  const { isAborted, keys, prints } = transaction;
  const commands = transaction.commands();
  const isStale = transaction.isStale(Date.now());
  transaction.reset();
  if (isAborted) return ABORTED;
  if (isStale) return NULL_ARRAY;
  const watched = prints.map(({ key }) => key);
  if (!allInOneSlot([...keys, ...watched])) return CROSS_SLOT;
  const forModule = commands.filter(({ spec }) => spec.access !== 'none').map(({ args }) => args);
  // The door's own answers; those of the module are missing.
  const own = commands.map(({ spec, args }) => {
    door.stats.calls[spec.index]! += 1;
    return spec.access === 'none' ? door.answer(conn, spec, args) : undefined;
  });
  if (forModule.length === 0 && prints.length === 0) return Promise.all(own).then((replies) => mergeReplies(replies, []));
  const ofModule = new Promise<Reply>((resolve) => {
    const sink = {
      settled: (_token: number, reply: Reply) => resolve(reply),
      failed: (_token: number, error: Error) => resolve(replyOfFailure(error)),
    };
    // Without a key where all commands state a wrong number of keys: the module says so, whichever shard it is asked in.
    const all = [...keys, ...watched];
    conn.keyspace.submitMany(all.length > 0 ? all : [forModule[0]![1]!], transactionCommand(forModule, prints), sink, 0);
  });
  return Promise.all([ofModule, ...own]).then(([answered, ...replies]) =>
    Array.isArray(answered) ? mergeReplies(replies, answered) : (answered as Reply),
  );
}
