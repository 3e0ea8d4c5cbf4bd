/**
 * Copies a whole server by replication and lets the copies take over: they follow until they have everything, routers hold their operations for the last
 * milliseconds, the old one refuses writers, the offsets meet, the copies stand alone. No key travels twice and no router sees a mixture.
 */
import { setTimeout as sleep } from 'node:timers/promises';
import { KeyfleetError } from '../../base/errors.ts';
import { showBytes, showCount } from '../../base/units.ts';
import type { Reply } from '../../shard/redis/reply.ts';
import { type ServerAddress, ServerLink, showAddress, textOf } from './move-link.ts';
import { fieldsOfInfo, info } from './server-info.ts';

export interface CloneOptions {
  readonly from: ServerAddress;
  /** Servers that each get everything. */
  readonly to: readonly ServerAddress[];
  /** Whether the old server goes on serving: its writers are let in again before {@link take}. */
  readonly keepsServing: boolean;
  /** Makes every router hold, and resolves when all that was begun is answered. */
  readonly hold: () => Promise<void>;
  /** Set on every new server once it stands alone, before {@link take}: after a crash its being there says that the new servers have taken over. */
  readonly markKey: string;
  /** Lets routers go on with the new servers. Whatever happens after it was called, there is no way back. */
  readonly take: () => Promise<void>;
  /** Lets routers go on as before. */
  readonly giveUp: () => Promise<void>;
  /** Writes down the old server's `min-replicas-to-write`, before anything changes. */
  readonly onFencing?: (before: string) => Promise<void>;
  readonly onStep?: (step: string) => void;
  /** Ends the copying while routers are not held yet. */
  readonly signal?: AbortSignal;
  /** How long the copying may take. Default a day. */
  readonly copyTimeoutMs?: number;
  /** How long routers may be held. Default 2,000: beyond it the clone is given up and the old server goes on. */
  readonly holdTimeoutMs?: number;
}

export interface CloneReport {
  /** From the first router that holds to the last that goes on. */
  readonly pauseMs: number;
}

/** So near a copy has to be before routers are held. */
const CLOSE_BYTES = 64 * 1024;
/** So near it is no matter, */
const AT_ONCE_BYTES = 1024;
/** which is waited for so long. */
const BETTER_MOMENT_MS = 1_000;
/** The setting that keeps writers out while the offsets meet. */
const FENCE_SETTING = 'min-replicas-to-write';
const NOBODY_WRITES = '99';
const LOOPBACK = /^(127\.\d+\.\d+\.\d+|localhost|::1)$/;

/** @throws KF_POOL_PLAN when a new server cannot follow; KF_POOL_CLONE_FAILED when it did not catch up: the old one serves on. */
export async function cloneServer(options: CloneOptions): Promise<CloneReport> {
  const { copyTimeoutMs = 86_400_000, holdTimeoutMs = 2_000, onStep, signal } = options;
  const from = new ServerLink(options.from, { name: 'kf:mover' });
  const copies = options.to.map((server) => new ServerLink(server, { name: 'kf:mover' }));
  const unfollows: (() => Promise<unknown>)[] = [];
  let taken = false;
  try {
    const problems = (await Promise.all(copies.map((to) => cloneProblems(from, to)))).flat();
    if (problems.length > 0) throw new KeyfleetError('KF_POOL_PLAN', problems.join('; '));
    const before = textOf(((await from.call(['CONFIG', 'GET', FENCE_SETTING])) as readonly Uint8Array[])[1]) || '0';
    await options.onFencing?.(before);
    for (const to of copies) unfollows.push(await follow(from, to));
    const areWithin = async (lagBytes: number): Promise<boolean> => {
      signal?.throwIfAborted();
      const looks = await Promise.all(copies.map((to) => look(from, to)));
      onStep?.(looks.map(({ step }) => step).join('; '));
      return looks.every(({ lag }) => lag <= lagBytes);
    };
    await until(() => areWithin(CLOSE_BYTES), copyTimeoutMs, 50);
    // Held they must wait for what lags behind: better not in the middle of a burst, if there is a better moment soon.
    await becomesSo(() => areWithin(AT_ONCE_BYTES), BETTER_MOMENT_MS, 2);
    onStep?.('taking over');
    const startMs = performance.now();
    try {
      await options.hold();
      const fenced = from.call(['CONFIG', 'SET', FENCE_SETTING, NOBODY_WRITES]);
      const haveMet = async (): Promise<boolean> => (await Promise.all(copies.map((to) => look(from, to)))).every(({ lag }) => lag <= 0);
      const met = until(haveMet, holdTimeoutMs, 1);
      await Promise.all([fenced, met]);
      await Promise.all(copies.flatMap((to) => [to.call(['REPLICAOF', 'NO', 'ONE']), to.call(['SET', options.markKey, '1'])]));
      if (options.keepsServing) await from.call(['CONFIG', 'SET', FENCE_SETTING, before]);
    } catch (error) {
      await unfence(options.from, before).catch(() => undefined);
      await options.giveUp();
      throw error;
    }
    taken = true;
    await options.take();
    return { pauseMs: performance.now() - startMs };
  } catch (error) {
    if (signal?.aborted && !taken) throw new KeyfleetError('KF_POOL_CLONE_FAILED', 'cancelled; the old server serves on', { cause: error });
    throw error;
  } finally {
    for (const unfollow of unfollows) await unfollow().catch(() => undefined);
    from.close();
    for (const to of copies) to.close();
  }
}

/** Why a server cannot become a copy of another; empty when it can. */
export async function cloneProblems(from: ServerLink, to: ServerLink): Promise<string[]> {
  const [source, target] = [await info(from), await info(to)];
  const [fromName, toName] = [showAddress(from.server), showAddress(to.server)];
  const problems: string[] = [];
  if (from.server.path !== undefined)
    problems.push(`${fromName} is a unix socket, which no server can follow: say in the pool file where it listens`);
  else if (LOOPBACK.test(from.server.host) && to.server.path === undefined && !LOOPBACK.test(to.server.host))
    problems.push(`${fromName} is an address of its own machine, which ${toName} cannot follow: say in the pool file how others reach it`);
  if ([...target.keys()].some((field) => /^db\d+$/.test(field)))
    problems.push(`${toName} holds keys, which the copy would replace: empty it (FLUSHALL) first`);
  if (target.get('role') !== 'master') problems.push(`${toName} follows another server already`);
  if (source.get('role') !== 'master') problems.push(`${fromName} is not a master`);
  if (source.get('run_id') === target.get('run_id')) problems.push(`${toName} and ${fromName} are the same server`);
  if (versionOf(target) < versionOf(source))
    problems.push(`${toName} is older (${target.get('redis_version')}) than ${source.get('redis_version')} and could not read it`);
  const limit = Number(target.get('maxmemory') ?? 0);
  const used = Number(source.get('used_memory') ?? 0);
  if (limit > 0 && limit < used) problems.push(`${toName} has ${showBytes(limit)} of maxmemory, ${fromName} uses ${showBytes(used)}`);
  return problems;
}

/** Lets writers of a server in again, as a clone that was cut short left it. */
export async function unfence(from: ServerAddress, before: string): Promise<void> {
  await ask(from, ['CONFIG', 'SET', FENCE_SETTING, before]);
}

/** Ends the following of servers that were to become copies; those that do not answer are left alone. */
export async function unfollow(servers: readonly ServerAddress[]): Promise<void> {
  for (const server of servers) {
    const link = new ServerLink(server, { name: 'kf:mover' });
    await link.raw(['REPLICAOF', 'NO', 'ONE']).catch(() => undefined);
    link.close();
  }
}

/** Whether all these servers have the mark of having taken over. @throws KF_POOL_SERVER_LOST while one does not answer. */
export async function areMarked(servers: readonly ServerAddress[], markKey: string): Promise<boolean> {
  for (const server of servers) if ((await ask(server, ['EXISTS', markKey])) !== 1) return false;
  return true;
}

/** Takes the mark off again. @throws KF_POOL_SERVER_LOST. */
export async function unmark(servers: readonly ServerAddress[], markKey: string): Promise<void> {
  for (const server of servers) await ask(server, ['UNLINK', markKey]);
}

async function ask(server: ServerAddress, args: readonly string[]): Promise<Reply> {
  const link = new ServerLink(server, { name: 'kf:mover' });
  try {
    return await link.call(args);
  } finally {
    link.close();
  }
}

/** Makes one server follow another; answers what takes that back. */
async function follow(from: ServerLink, to: ServerLink): Promise<() => Promise<unknown>> {
  const { username, password, host, port, tls } = from.server;
  const wanted = { masterauth: password, masteruser: username, 'tls-replication': tls === undefined ? undefined : 'yes' };
  const before: [string, string][] = [];
  for (const [name, value] of Object.entries(wanted)) {
    if (value === undefined) continue;
    before.push([name, textOf(((await to.call(['CONFIG', 'GET', name])) as readonly Uint8Array[])[1])]);
    await to.call(['CONFIG', 'SET', name, value]);
  }
  await to.call(['REPLICAOF', host, port]);
  return async () => {
    await ask(to.server, ['REPLICAOF', 'NO', 'ONE']);
    for (const [name, value] of before) await ask(to.server, ['CONFIG', 'SET', name, value]);
  };
}

/** How far a copy is: in words, and the bytes of the source's stream that it does not have yet. */
async function look(from: ServerLink, to: ServerLink): Promise<{ readonly step: string; readonly lag: number }> {
  const [source, target] = await Promise.all([replication(from), replication(to)]);
  const name = showAddress(to.server);
  if (target.get('master_link_status') !== 'up') {
    const total = Number(target.get('master_sync_total_bytes') ?? 0);
    const read = Number(target.get('master_sync_read_bytes') ?? 0);
    const how = total > 0 ? `${showBytes(read)} of ${showBytes(total)}` : read > 0 ? showBytes(read) : 'waiting for the snapshot';
    return { step: `${name} copies: ${how}`, lag: Number.POSITIVE_INFINITY };
  }
  const lag = Number(source.get('master_repl_offset') ?? 0) - Number(target.get('slave_repl_offset') ?? -1);
  return { step: `${name} is ${showCount(Math.max(0, lag))} bytes behind`, lag };
}

async function replication(link: ServerLink): Promise<Map<string, string>> {
  return fieldsOfInfo(await link.call(['INFO', 'replication']));
}

function versionOf(facts: ReadonlyMap<string, string>): number {
  const [major = 0, minor = 0] = (facts.get('redis_version') ?? '0').split('.').map(Number);
  return major * 1_000 + minor;
}

async function until(isSo: () => Promise<boolean>, timeoutMs: number, everyMs: number): Promise<void> {
  if (await becomesSo(isSo, timeoutMs, everyMs)) return;
  throw new KeyfleetError('KF_POOL_CLONE_FAILED', 'the new server did not catch up in time; the old one serves on', { retryable: true });
}

/** Whether it becomes so in time. */
async function becomesSo(isSo: () => Promise<boolean>, timeoutMs: number, everyMs: number): Promise<boolean> {
  const endMs = performance.now() + timeoutMs;
  while (!(await isSo())) {
    if (performance.now() > endMs) return false;
    await sleep(everyMs);
  }
  return true;
}
