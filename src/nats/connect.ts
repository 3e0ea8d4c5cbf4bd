import { readFileSync } from 'node:fs';
import { type ConnectionOptions, connect, credsAuthenticator, type NatsConnection } from '@nats-io/transport-node';
import { KeyfleetError, messageOf } from '../base/errors.ts';
import { hasQuorum, watchQuorum } from './quorum-watch.ts';

export interface NatsAddress {
  /** Servers of one NATS cluster, as `nats://10.0.0.1:4222`: those that connections are made to. Of a single one the others are learned. */
  readonly servers: readonly string[];
  readonly user?: string | undefined;
  readonly password?: string | undefined;
  /** A file of credentials, as `nsc` writes it. */
  readonly credsFile?: string | undefined;
  /** What the servers call this connection. */
  readonly name?: string;
  /** How long the first connection may take. Default: 5,000. */
  readonly timeoutMs?: number;
}

/** So often the server is asked whether it is there still, and so many times without an answer: then another one is taken. */
const PING_MS = 5_000;
const PINGS_WITHOUT_ANSWER = 2;
const RECONNECT_MS = 150;
const RECONNECT_JITTER_MS = 100;
/** A server that is asked whether it has a quorum has so long for the connection, and again for the answer. */
const PROBE_MS = 2_000;

/**
 * Connects to one of the servers; whenever the connection breaks, or its server is cut off from the others, to any of them again, for good. Yours to close.
 * @throws KF_NATS_UNREACHABLE when none answers, KF_NATS_REFUSED when it wants other credentials, KF_BAD_OPTION for an address that is none.
 */
export async function connectNats(address: NatsAddress): Promise<NatsConnection> {
  const { servers, user, password, credsFile, name, timeoutMs = 5_000 } = address;
  if (servers.length === 0) throw new KeyfleetError('KF_BAD_OPTION', 'no NATS server is named');
  for (const server of servers) checkServer(server);
  try {
    const access = {
      ...(user === undefined ? {} : { user, pass: password ?? '' }),
      ...(credsFile === undefined ? {} : { authenticator: credsAuthenticator(readCreds(credsFile)) }),
    };
    const connection = await connect({
      ...access,
      servers: [...servers],
      timeout: timeoutMs,
      maxReconnectAttempts: -1,
      reconnectTimeWait: RECONNECT_MS,
      reconnectJitter: RECONNECT_JITTER_MS,
      ignoreClusterUpdates: servers.length > 1,
      // Else every request makes an error with its stack, in case that it fails.
      noAsyncTraces: true,
      pingInterval: PING_MS,
      maxPingOut: PINGS_WITHOUT_ANSWER,
      ...(name === undefined ? {} : { name }),
    });
    if (servers.length > 1) watchQuorum(connection, { isElsewhere: () => anyHasQuorum(servers, access) });
    return connection;
  } catch (error) {
    if (error instanceof KeyfleetError) throw error;
    const why = reasonOf(error);
    if (/authoriz|authentic|permission/i.test(why)) {
      throw new KeyfleetError('KF_NATS_REFUSED', `the NATS servers ${servers.join(', ')} do not let us in: ${why}`, { cause: error });
    }
    throw new KeyfleetError('KF_NATS_UNREACHABLE', `no NATS server answers at ${servers.join(', ')}: ${why}`, {
      cause: error,
      retryable: true,
    });
  }
}

async function anyHasQuorum(
  servers: readonly string[],
  access: Pick<ConnectionOptions, 'user' | 'pass' | 'authenticator'>,
): Promise<boolean> {
  const answers = servers.map(async (server) => {
    let connection: NatsConnection | undefined;
    try {
      connection = await connect({ ...access, servers: [server], timeout: PROBE_MS, reconnect: false, ignoreClusterUpdates: true });
      return await hasQuorum(connection, PROBE_MS);
    } catch {
      return false;
    } finally {
      await connection?.close();
    }
  });
  return (await Promise.all(answers)).includes(true);
}

/** @throws KF_BAD_OPTION */
function checkServer(server: string): void {
  if (/^(?:(?:nats|tls):\/\/)?[^\s/:@]+(?::\d{1,5})?$|^(?:(?:nats|tls):\/\/)?\[[0-9a-fA-F:.]+\](?::\d{1,5})?$/.test(server)) return;
  throw new KeyfleetError('KF_BAD_OPTION', `${JSON.stringify(server)} is no address of a NATS server; one looks like nats://10.0.0.1:4222`);
}

function readCreds(path: string): Uint8Array {
  try {
    return readFileSync(path);
  } catch (error) {
    throw new KeyfleetError('KF_BAD_OPTION', `cannot read the NATS credentials ${path}: ${messageOf(error)}`, { cause: error });
  }
}

/** The innermost cause says most: what the client throws itself is `connection refused` and the like. */
function reasonOf(error: unknown): string {
  const seen: string[] = [];
  for (let one: unknown = error; one instanceof Error && seen.length < 4; one = one.cause) {
    if (one.message !== '' && !seen.includes(one.message)) seen.push(one.message);
    if (one instanceof AggregateError) for (const inner of one.errors) seen.push(messageOf(inner));
  }
  return seen.join(': ') || 'unknown error';
}
