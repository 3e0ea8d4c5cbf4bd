interface Address {
  readonly host: string;
  readonly port: number;
}

export interface BannerFacts {
  readonly version: string;
  readonly dir: string;
  readonly durability: string;
  readonly resp: Address | undefined;
  readonly http: Address | undefined;
  readonly hasPassword: boolean;
  /** Absent on one machine. */
  readonly cluster?: { readonly name: string; readonly node: string; readonly nodes: readonly string[] };
}

const DURABILITY: Readonly<Record<string, string>> = {
  sync: 'sync: a write is answered once it is on disk',
  os: 'os: a power loss may take the last second of answered writes',
  none: 'none: a crash may take the last moments of answered writes',
};

/** What a server says when it is up: where it listens, what it promises, what to try first. */
export function banner({ version, dir, durability, resp, http, hasPassword, cluster }: BannerFacts): string {
  const redisCli = resp && `redis-cli -h ${reachable(resp.host)} -p ${resp.port}${hasPassword ? ' --askpass' : ''}`;
  const url = http && `http://${shown(reachable(http.host))}:${http.port}`;
  const curl = `curl${hasPassword ? ' -u :PASSWORD' : ''}`;
  const lines = [
    `keyfleet ${version} is up`,
    ...(resp ? [`  Redis protocol  ${shown(resp.host)}:${resp.port}`] : []),
    ...(http ? [`  HTTP            http://${shown(http.host)}:${http.port}`] : []),
    `  data            ${dir}`,
    ...(cluster
      ? [
          `  cluster         ${cluster.name}: this is node ${cluster.node} of ${cluster.nodes.join(', ')}`,
          '  durability      a write is answered once its log (on most NATS servers) and the disk of a leader have it',
        ]
      : [`  durability      ${DURABILITY[durability] ?? durability}`]),
    '',
    'Try, in another terminal:',
    ...(redisCli ? [`  ${redisCli} set greeting hello`, `  ${redisCli} get greeting`] : []),
    ...(url
      ? [
          `  ${curl} ${url}/v1/keyspaces/default/keys/greeting`,
          `  ${curl} ${url}/v1/status`,
          ...(cluster ? [`  keyfleet nodes --url ${url}`] : []),
        ]
      : []),
    'Ctrl-C ends it.',
    '',
  ];
  return `${lines.join('\n')}\n`;
}

/** An address to connect to, for one that stands for all. */
function reachable(host: string): string {
  return host === '0.0.0.0' ? '127.0.0.1' : host === '::' ? '::1' : host;
}

function shown(host: string): string {
  return host.includes(':') ? `[${host}]` : host;
}
