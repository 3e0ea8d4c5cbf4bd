import type { PoolConfig } from '../../src/pool/pool-config.ts';
import { parsePoolsFile } from '../../src/pool/pools-file.ts';
import { type PoolProxy, type ProxyOptions, startProxy } from '../../src/pool/proxy/proxy.ts';
import { RespClient } from '../resp/resp-client.ts';

export interface StartedProxy {
  readonly proxy: PoolProxy;
  readonly port: number;
  connect(): Promise<RespClient>;
}

/** A pool over servers on this machine's ports, with further lines of YAML; its proxy listens where the system says. */
export function poolOf(ports: readonly number[], settings = ''): PoolConfig {
  const lines = settings
    .split('\n')
    .filter((line) => line.trim() !== '')
    .map((line) => `  ${line.trim()}\n`)
    .join('');
  const servers = ports.map((port, i) => `    - 127.0.0.1:${port}:1 server${i + 1}\n`).join('');
  const text = `alpha:\n  listen: 127.0.0.1:22121\n  redis: true\n${lines}  servers:\n${servers}`;
  const config = parsePoolsFile(text, 'pools.yml').pools[0]!;
  return { ...config, listen: { host: '127.0.0.1', port: 0 } };
}

export async function startPoolProxy(config: PoolConfig, options: Partial<ProxyOptions> = {}): Promise<StartedProxy> {
  const proxy = await startProxy({ pools: [config], ...options });
  const { port } = proxy.addresses.get(config.name)!;
  return { proxy, port, connect: () => RespClient.connect({ port }) };
}
