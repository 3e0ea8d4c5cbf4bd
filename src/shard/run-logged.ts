import type { Bytes } from '../base/bytes.ts';
import type { EntryCommand } from './entry.ts';
import { isOursAlone } from './outcome.ts';
import type { ShardMachine } from './shard-machine.ts';

/**
 * Runs a command of an entry of the log, which is open: its reply, or what the module threw. (A step of a workflow is run with its entry, digests behind it.)
 * @throws what the storage throws.
 */
export function runLogged<Value, Command, Reply, Query, Answer>(
  machine: ShardMachine<Value, Command, Reply, Query, Answer>,
  positionOf: (key: Bytes) => number,
  command: EntryCommand<Command>,
): Reply | Error | undefined {
  try {
    switch (command.kind) {
      case 'command': {
        const { key, request } = command;
        const position = positionOf(key);
        return request ? machine.runOnce(request, key, position, command.command) : machine.run(key, position, command.command);
      }
      case 'command-many': {
        const { key, request } = command;
        return request ? machine.runManyOnce(request, key, command.command) : machine.runMany(key, command.command);
      }
      case 'expire-sessions':
        machine.expireSessions(command.beforeMs);
        return undefined;
      case 'hook-done':
        // What was not told when the shard froze is for whoever takes it over to tell, on all replicas alike.
        if (machine.state.status !== 'frozen' && machine.state.status !== 'retired') machine.hookDone(command.seq, command.shard);
        return undefined;
      case 'expire-keys':
        machine.expireKeys(command.keys);
        return undefined;
      case 'clear':
        machine.clear(command.table);
        return undefined;
      case 'load':
        return machine.restore(command.load) as Reply;
      case 'digest-mark':
      case 'digest':
      case 'control':
        return undefined;
    }
  } catch (error) {
    if (isOursAlone(error)) throw error;
    return error as Error;
  }
}
