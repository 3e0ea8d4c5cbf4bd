import { isReservedKey } from './moves/guard-scripts.ts';
import type { PoolCore } from './pool-core.ts';
import { promised } from './pool-core.ts';
import type { PoolMap } from './pool-map.ts';
import type { ReplyValue } from './reply-value.ts';
import type { CommandArg } from './request-encoder.ts';

export interface ScanOptions {
  readonly match?: string;
  /** Keys a round trip, about. */
  readonly count?: number;
  readonly type?: string;
}

/**
 * Walks over the keys of all servers that have any; again when keys were on the move, so that none that is there throughout is missed: some come twice then.
 *
 * @throws what `call` throws; with a server away KF_BACKEND_DOWN, since keys would be missing.
 */
export async function* scanServers(core: PoolCore, options: ScanOptions, asBuffers: boolean): AsyncGenerator<string | Buffer, void, void> {
  const more: CommandArg[] = [];
  if (options.match !== undefined) more.push('MATCH', options.match);
  more.push('COUNT', options.count ?? 500);
  if (options.type !== undefined) more.push('TYPE', options.type);
  let epoch: number;
  do {
    ({ epoch } = core.map);
    const order = scanOrder(core.map, core.liveServers());
    for (let at = 0; at < order.length && core.map.epoch === epoch; at++) {
      let cursor = '0';
      do {
        const page: ReplyValue = await promised((pending) => core.sendTo(order[at]!, ['SCAN', cursor, ...more], pending), asBuffers);
        const [next, keys] = page as [ReplyValue, (string | Buffer)[]];
        for (const key of keys) if (!isReservedKey(key)) yield key;
        cursor = String(next);
      } while (cursor !== '0' && core.map.epoch === epoch);
    }
  } while (core.map.epoch !== epoch);
}

/** The servers as a walk over all keys takes them: those that keys leave before those that they come to, so that none slips by. */
export function scanOrder(map: PoolMap, servers: readonly number[]): number[] {
  const gains = new Set(map.moves.map(({ from, to, mode }) => (mode === 'returning' ? from : to)));
  return [...servers.filter((server) => !gains.has(server)), ...servers.filter((server) => gains.has(server))];
}
