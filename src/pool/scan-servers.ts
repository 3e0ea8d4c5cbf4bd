import type { PoolCore } from './pool-core.ts';
import { promised } from './pool-core.ts';
import type { ReplyValue } from './reply-value.ts';
import type { CommandArg } from './request-encoder.ts';

export interface ScanOptions {
  readonly match?: string;
  /** Keys a round trip, about. */
  readonly count?: number;
  readonly type?: string;
}

/** Walks over the keys of all servers that have any. @throws what `call` throws; with a server away KF_BACKEND_DOWN, since keys would be missing. */
export async function* scanServers(core: PoolCore, options: ScanOptions, asBuffers: boolean): AsyncGenerator<string | Buffer, void, void> {
  const more: CommandArg[] = [];
  if (options.match !== undefined) more.push('MATCH', options.match);
  more.push('COUNT', options.count ?? 500);
  if (options.type !== undefined) more.push('TYPE', options.type);
  for (const server of core.liveServers()) {
    let cursor = '0';
    do {
      const page: ReplyValue = await promised((pending) => core.sendTo(server, ['SCAN', cursor, ...more], pending), asBuffers);
      const [next, keys] = page as [ReplyValue, (string | Buffer)[]];
      for (const key of keys) if (!isOurs(key)) yield key;
      cursor = String(next);
    } while (cursor !== '0');
  }
}

/** Keys that movers keep on the servers. */
function isOurs(key: string | Buffer): boolean {
  return typeof key === 'string' ? key.startsWith('__kf:') : key.length >= 5 && key.toString('latin1', 0, 5) === '__kf:';
}
