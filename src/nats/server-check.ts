import type { NatsConnection } from '@nats-io/transport-node';
import { request } from 'undici';
import { KeyfleetError, messageOf } from '../base/errors.ts';

// NATS servers before 2.15.1 can lose a whole stream when all of them lose power, and so can newer ones that do not sync every write.
// The first we read off the connection; of the second a server tells only through its monitoring port.

/** The oldest server whose streams, synced always, lost nothing under simulated power loss of all servers. */
export const OLDEST_SAFE_SERVER = '2.15.1';

/** The first server that can sync every write. */
export const OLDEST_SYNCING_SERVER = '2.10.0';

const IS_VERSION = 'is version';
/** One of the sentences of {@link natsRisks}. */
export const SYNC_UNKNOWN = 'whether the servers sync every write is not known: give the addresses of their monitoring ports';

export interface ServerCheckOptions {
  /** The monitoring address of each server, as `http://10.0.0.1:8222`. Without any, it cannot be known whether they sync. */
  readonly monitors?: readonly string[];
  readonly timeoutMs?: number;
}

/**
 * What puts acknowledged writes at risk with the servers of this connection; empty: nothing that is known.
 * One sentence each, for a person.
 */
export async function natsRisks(connection: NatsConnection, options: ServerCheckOptions = {}): Promise<string[]> {
  const { monitors = [], timeoutMs = 5_000 } = options;
  const risks: string[] = [];
  const { info } = connection;
  if (info === undefined) throw new KeyfleetError('KF_UNAVAILABLE', 'not connected to any NATS server', { retryable: true });
  if (!info.jetstream) throw new KeyfleetError('KF_NATS_UNSUITABLE', `NATS server ${info.server_name} runs without JetStream`);
  if (isOlder(info.version, OLDEST_SAFE_SERVER)) risks.push(oldServer(info.server_name, info.version));
  if (monitors.length === 0) {
    risks.push(SYNC_UNKNOWN);
  }
  for (const monitor of monitors) risks.push(...(await monitorRisks(monitor, timeoutMs)));
  return [...new Set(risks)];
}

/**
 * What is at risk, for a person to read. `allowUnknown`: what is merely not known is among it and refuses nobody.
 * @throws KF_NATS_UNSAFE with all that is at risk, unless `allowUnsafe`.
 */
export async function checkNatsServers(
  connection: NatsConnection,
  options: ServerCheckOptions & { readonly allowUnsafe?: boolean; readonly allowUnknown?: boolean } = {},
): Promise<string[]> {
  const risks = await natsRisks(connection, options);
  const known = options.allowUnknown ? risks.filter((risk) => risk !== SYNC_UNKNOWN) : risks;
  if (known.length > 0 && !options.allowUnsafe)
    throw new KeyfleetError('KF_NATS_UNSAFE', `acknowledged writes are at risk: ${risks.join('; ')}`);
  return risks;
}

/** What puts acknowledged writes at risk with the server of one monitoring address. @throws KF_UNAVAILABLE, KF_NATS_UNSUITABLE */
export async function monitorRisks(monitor: string, timeoutMs: number): Promise<string[]> {
  const varz = (await getJson(new URL('/varz', monitor), timeoutMs)) as { server_name?: string; version?: string };
  const jsz = (await getJson(new URL('/jsz', monitor), timeoutMs)) as { disabled?: boolean; config?: { sync_always?: boolean } };
  const name = varz.server_name ?? monitor;
  if (jsz.disabled) {
    const why = 'it was started so, or has given it up since its disk was full: make room and start it again';
    throw new KeyfleetError('KF_NATS_UNSUITABLE', `NATS server ${name} runs without JetStream: ${why}`);
  }
  const { version = 'unknown' } = varz;
  const risks: string[] = [];
  if (isOlder(version, OLDEST_SAFE_SERVER)) risks.push(oldServer(name, version));
  // Of one that cannot, its age says so.
  const canSync = !isOlder(version, OLDEST_SYNCING_SERVER);
  if (canSync && jsz.config?.sync_always !== true) risks.push(`server ${name} does not sync every write`);
  return risks;
}

async function getJson(url: URL, timeoutMs: number): Promise<unknown> {
  try {
    const { statusCode, body } = await request(url, { headersTimeout: timeoutMs, bodyTimeout: timeoutMs });
    if (statusCode === 200) return await body.json();
    await body.dump();
    throw new Error(`status ${statusCode}`);
  } catch (error) {
    throw new KeyfleetError('KF_UNAVAILABLE', `the monitoring port ${url.origin}: ${messageOf(error)}`, { cause: error, retryable: true });
  }
}

function oldServer(name: string, version: string): string {
  const more = isOlder(version, OLDEST_SYNCING_SERVER) ? ', and it cannot sync every write' : '';
  return `server ${name} ${IS_VERSION} ${version}, and before ${OLDEST_SAFE_SERVER} a stream can be lost when all servers lose power${more}`;
}

/** What to do about one of the sentences of {@link natsRisks}, which may have come from another node. */
export function natsAdvice(risk: string): string {
  if (risk.includes(IS_VERSION))
    return `replace it by nats-server ${OLDEST_SAFE_SERVER} or newer, one server after the other: https://nats.io/download`;
  if (risk.startsWith(SYNC_UNKNOWN)) return 'with --nats-monitor, of `keyfleet serve` and of `keyfleet doctor`';
  return '`keyfleet nats config` writes a safe configuration: jetstream { sync_interval: always }';
}

/** Compares `major.minor.patch`; what follows it does not count. */
export function isOlder(version: string, than: string): boolean {
  const [a, b] = [numbersOf(version), numbersOf(than)];
  for (let i = 0; i < 3; i++) if (a[i] !== b[i]) return (a[i] ?? 0) < (b[i] ?? 0);
  return false;
}

function numbersOf(version: string): number[] {
  return (/^v?(\d+)\.(\d+)\.(\d+)/.exec(version) ?? []).slice(1).map(Number);
}
