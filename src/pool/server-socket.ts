import { readFileSync } from 'node:fs';
import { createConnection, type Socket } from 'node:net';
import { connect as connectTls } from 'node:tls';
import type { BackendTls, ServerAddress } from './pool-config.ts';

/** Begins to connect to a server, over TLS when that is said; `secureConnect` or `connect` tells when it stands. @throws when a file of the TLS settings cannot be read. */
export function openSocket(address: ServerAddress, tls: BackendTls | undefined): Socket {
  if (tls === undefined) return createConnection({ ...address, noDelay: true });
  const socket = connectTls({ ...address, ...tlsOptions(tls, address) });
  socket.setNoDelay(true);
  return socket;
}

function tlsOptions(tls: BackendTls, address: ServerAddress): object {
  const host = 'host' in address ? address.host : undefined;
  const serverName = tls.serverName ?? (host !== undefined && !/^[\d.]+$|:/.test(host) ? host : undefined);
  return {
    rejectUnauthorized: tls.verify,
    ...(serverName === undefined ? {} : { servername: serverName }),
    ...(tls.ca === undefined ? {} : { ca: readFileSync(tls.ca) }),
    ...(tls.cert === undefined ? {} : { cert: readFileSync(tls.cert) }),
    ...(tls.key === undefined ? {} : { key: readFileSync(tls.key) }),
  };
}

/** How a connection is to introduce itself. */
export interface Introduction {
  readonly auth?: string | undefined;
  readonly username?: string | undefined;
  readonly db?: number | undefined;
  /** `CLIENT SETNAME`. */
  readonly clientName?: string | undefined;
  readonly resp3?: boolean | undefined;
}

/** The commands that come before all others on a connection: AUTH or HELLO, SELECT, CLIENT SETNAME, as far as they are needed. */
export function introductionOf({ auth, username, db = 0, clientName, resp3 = false }: Introduction): string[][] {
  const commands: string[][] = [];
  if (resp3) commands.push(auth === undefined ? ['HELLO', '3'] : ['HELLO', '3', 'AUTH', username ?? 'default', auth]);
  else if (auth !== undefined) commands.push(username === undefined ? ['AUTH', auth] : ['AUTH', username, auth]);
  if (db !== 0) commands.push(['SELECT', String(db)]);
  if (clientName !== undefined) commands.push(['CLIENT', 'SETNAME', clientName]);
  return commands;
}
