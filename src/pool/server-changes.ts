import { formatServer, type PoolServer, showAddress } from './pool-config.ts';

/** The commands that turn the servers of a pool into others while it works, in an order in which they can be given. */
export function changeCommands(now: readonly PoolServer[], wanted: readonly PoolServer[]): string[] {
  const commands: string[] = [];
  for (const server of wanted) {
    const there = now.find(({ name }) => name === server.name);
    if (there === undefined) commands.push(`keyfleet pool add ${quoted(formatServer(server))}`);
    else if (showAddress(there.address) !== showAddress(server.address))
      commands.push(`keyfleet pool move ${there.name} ${showAddress(server.address)}`);
    if (there !== undefined && there.weight !== server.weight) commands.push(`keyfleet pool reweight ${server.name} ${server.weight}`);
  }
  for (const { name } of now) if (!wanted.some((server) => server.name === name)) commands.push(`keyfleet pool remove ${name}`);
  return commands;
}

function quoted(text: string): string {
  return text.includes(' ') ? `'${text}'` : text;
}
