import { isMap, isSeq, LineCounter, type Node, parseDocument } from 'yaml';
import { KeyfleetError } from '../base/errors.ts';
import { formatServer, type PoolServer, parseServer } from './pool-config.ts';

/**
 * The text of a file of pools with other servers in one pool. Servers that stay keep their lines, comments behind them included; all other
 * lines and pools stay as they are, byte by byte. The order becomes that of `servers`, but for a pure removal, change of weight or append,
 * which leave the order alone anyway.
 *
 * @throws KF_CONFIG when the file has no such pool.
 */
export function rewriteServers(text: string, path: string, pool: string, servers: readonly PoolServer[]): string {
  const document = parseDocument(text, { lineCounter: new LineCounter() });
  const root = document.contents;
  const found = isMap(root) ? root.get(pool, true) : undefined;
  const list = isMap(found) ? found.get('servers', true) : undefined;
  if (document.errors.length > 0 || !isSeq(list))
    throw new KeyfleetError('KF_CONFIG', `${path}: there is no pool ${pool} with a list of servers`);
  const items = list.items.map((item) => {
    const [start, end] = (item as Node).range!;
    const server = parseServer(String((item as { value?: unknown }).value));
    return { start, end, name: server?.name, quote: /^["']/.exec(text.slice(start, end))?.[0] ?? '' };
  });
  if (list.flow === true) {
    const [start, end] = list.range!;
    return `${text.slice(0, start)}[${servers.map((server) => JSON.stringify(formatServer(server))).join(', ')}]${text.slice(end)}`;
  }
  const lineStart = (at: number): number => text.lastIndexOf('\n', at - 1) + 1;
  const lineEnd = (at: number): number => (text.indexOf('\n', at) < 0 ? text.length : text.indexOf('\n', at) + 1);
  const first = items[0]!;
  const last = items.at(-1)!;
  const indent = text.slice(lineStart(first.start), first.start);
  // Lines between the first and the last server that hold none (comments) go with the server after them.
  const blocks = new Map<string | undefined, string>();
  let from = lineStart(first.start);
  for (const item of items) {
    const to = lineEnd(item.end);
    const server = servers.find(({ name }) => name === item.name);
    const block = text.slice(from, item.start) + (server ? item.quote + formatServer(server) + item.quote : '') + text.slice(item.end, to);
    if (server) blocks.set(item.name, block.endsWith('\n') ? block : `${block}\n`);
    from = to;
  }
  const lines = servers.map((server) => blocks.get(server.name) ?? `${indent}${formatServer(server)}\n`).join('');
  const rewritten = text.slice(0, lineStart(first.start)) + lines + text.slice(lineEnd(last.end));
  const unchanged = lines.slice(0, -1) === text.slice(lineStart(first.start));
  return unchanged ? text : rewritten;
}
