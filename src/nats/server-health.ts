import { request } from 'undici';

/**
 * Whether the server with this monitoring address can take streams: it is healthy, and, in a cluster, knows who leads that.
 * @throws when it does not answer.
 */
export async function canTakeStreams(monitor: string, timeoutMs = 2_000): Promise<boolean> {
  const limits = { headersTimeout: timeoutMs, bodyTimeout: timeoutMs };
  const health = await request(new URL('/healthz', monitor), limits);
  await health.body.dump();
  if (health.statusCode !== 200) return false;
  const { body } = await request(new URL('/jsz', monitor), limits);
  const { meta_cluster: meta } = (await body.json()) as { readonly meta_cluster?: { readonly leader?: string } };
  return meta === undefined || (meta.leader ?? '') !== '';
}
