import type { LocalCommand } from '../local-command.ts';
import { CLIENT_COMMANDS } from './client-commands.ts';
import { CLUSTER_COMMANDS } from './cluster-commands.ts';
import { COMMAND_COMMANDS } from './command-commands.ts';
import { CONFIG_COMMANDS } from './config-commands.ts';
import { CONNECTION_COMMANDS } from './connection-commands.ts';
import { KEYSPACE_COMMANDS } from './keyspace-commands.ts';
import { SERVER_COMMANDS } from './server-commands.ts';
import { TRANSACTION_COMMANDS } from './transaction-commands.ts';

/** What the door answers itself, by the name in the command table. */
export const LOCAL_COMMANDS: ReadonlyMap<string, LocalCommand> = new Map([
  ...CONNECTION_COMMANDS,
  ...CLIENT_COMMANDS,
  ...KEYSPACE_COMMANDS,
  ...COMMAND_COMMANDS,
  ...CONFIG_COMMANDS,
  ...SERVER_COMMANDS,
  ...TRANSACTION_COMMANDS,
  ...CLUSTER_COMMANDS,
]);
