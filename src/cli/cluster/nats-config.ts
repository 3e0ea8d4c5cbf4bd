import { randomBytes } from 'node:crypto';
import { existsSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join, resolve } from 'node:path';
import { isKeyfleetError, KeyfleetError, messageOf } from '../../base/errors.ts';
import { checkNatsConfig, findNatsServer, type NatsBinary } from '../../nats/find-server.ts';
import { isOlder, OLDEST_SAFE_SERVER } from '../../nats/server-check.ts';
import {
  canSpread,
  monitorUrls,
  NATS_USER,
  type NatsClusterPlan,
  type NatsServerPlace,
  natsServerConfig,
  natsUrls,
} from '../../nats/server-config.ts';
import { readPassword } from '../client/server-client.ts';
import { usage } from '../terminal/usage.ts';
import { parseSize } from './size.ts';

export interface NatsConfigFlags {
  readonly server?: readonly string[];
  readonly out: string;
  readonly cluster: string;
  readonly store: string;
  readonly passwordFile?: string;
  readonly auth: boolean;
  readonly maxPayload?: string;
  readonly maxStore?: string;
  readonly natsServer?: string;
  readonly forVersion?: string;
  readonly force?: boolean;
}

/** Writes a file for each server, all checked before the first is written, and says what to do with them. @throws KF_USAGE, KF_CONFIG */
export async function writeNatsConfig(flags: NatsConfigFlags): Promise<string> {
  const binary = await serverToCheckWith(flags);
  const version = flags.forVersion ?? binary?.version;
  if (version !== undefined && !/^\d+\.\d+\.\d+/.test(version)) throw usage(`--for-version is such as 2.15.1, not ${version}`);
  const out = resolve(flags.out);
  const secret = flags.auth ? passwordOf(flags, out) : undefined;
  const plan: NatsClusterPlan = {
    name: flags.cluster,
    servers: (flags.server ?? ['nats-1=127.0.0.1']).map((text) => parsePlace(text, flags.store)),
    ...(secret === undefined ? {} : { password: secret.password }),
    ...(flags.maxPayload === undefined ? {} : { maxPayloadBytes: parseSize('--max-payload', flags.maxPayload) }),
    ...(flags.maxStore === undefined ? {} : { maxStoreBytes: parseSize('--max-store', flags.maxStore) }),
    ...(version === undefined ? {} : { version }),
  };
  const files = plan.servers.map(({ name }, index) => ({ path: join(out, `${name}.conf`), text: configOf(plan, index) }));
  for (const { path, text } of files) {
    if (!flags.force && existsSync(path) && readFileSync(path, 'utf8') !== text)
      throw usage(`${path} is there and different; --force writes over it`);
  }
  write(() => {
    mkdirSync(out, { recursive: true, mode: 0o700 });
    if (secret?.isNew) writeFileSync(secret.file, `${secret.password}\n`, { mode: 0o600, flag: 'wx' });
    for (const { path, text } of files) writeFileSync(path, text, { mode: 0o600 });
  });
  const isFitting = binary !== undefined && (flags.forVersion === undefined || flags.forVersion === binary.version);
  if (isFitting) for (const { path } of files) await checkNatsConfig(binary, path);
  return told(plan, files, secret?.file, isFitting ? binary.version : undefined);
}

/** The one that is named must be there; another only helps. */
async function serverToCheckWith(flags: NatsConfigFlags): Promise<NatsBinary | undefined> {
  try {
    return await findNatsServer({ path: flags.natsServer });
  } catch (error) {
    if (isKeyfleetError(error) && error.code === 'KF_NATS_MISSING') return undefined;
    throw error;
  }
}

function passwordOf({ passwordFile }: NatsConfigFlags, out: string): { password: string; file: string; isNew: boolean } {
  const file = passwordFile ?? join(out, 'password');
  if (passwordFile !== undefined || existsSync(file)) return { password: readPassword(file), file, isNew: false };
  return { password: randomBytes(24).toString('base64url'), file, isNew: true };
}

/** `name=host`, `name=host:port`, each with `@zone`. Without one, a server is a zone of its own. @throws KF_USAGE */
export function parsePlace(text: string, storeDir: string): NatsServerPlace {
  const match = /^([^=@\s]+)=(\[[0-9a-fA-F:]+\]|[^:@\s]+)(?::(\d{1,5}))?(?:@(\S+))?$/.exec(text);
  if (!match) throw usage(`--server: ${JSON.stringify(text)} is not NAME=HOST, NAME=HOST:PORT or NAME=HOST@ZONE`);
  const [, name, host, port = '4222', zone = name] = match;
  const clientPort = Number(port);
  return {
    name: name!,
    host: host!.replace(/^\[|\]$/g, ''),
    clientPort,
    routePort: clientPort + 2_000,
    monitorPort: clientPort + 4_000,
    zone: zone!,
    storeDir,
  };
}

function configOf(plan: NatsClusterPlan, index: number): string {
  try {
    return natsServerConfig(plan, index);
  } catch (error) {
    throw isKeyfleetError(error) ? usage(error.message) : error;
  }
}

function write(work: () => void): void {
  try {
    work();
  } catch (error) {
    throw new KeyfleetError('KF_USAGE', `--out: ${messageOf(error)}`, { cause: error });
  }
}

function told(
  plan: NatsClusterPlan,
  files: readonly { readonly path: string }[],
  passwordFile: string | undefined,
  checkedBy: string | undefined,
): string {
  const login = passwordFile === undefined ? [] : [`    --nats-user ${NATS_USER} --nats-password-file ${passwordFile} \\`];
  const monitors = monitorUrls(plan).join(',');
  const lines = [
    ...files.map(({ path }) => `wrote ${path}`),
    checkedBy === undefined
      ? 'not checked: there is no nats-server of that version here (nats-server -t -c FILE)'
      : `checked by nats-server ${checkedBy}`,
    ...(plan.servers.length === 1
      ? ['One server: its disk is the only copy of what was answered and not yet stored by a node. Three keep going when one fails.']
      : []),
    ...(plan.servers.length % 2 === 0
      ? [
          `${plan.servers.length} servers keep going without ${plan.servers.length / 2 - 1}, as ${plan.servers.length - 1} would: take an odd number.`,
        ]
      : []),
    ...(canSpread(plan) ? [] : ['There are fewer than three zones: losing one may stop all writes.']),
    ...(plan.version !== undefined && isOlder(plan.version, OLDEST_SAFE_SERVER)
      ? [`nats-server ${plan.version} can lose answered writes when all servers lose power; use ${OLDEST_SAFE_SERVER} or newer.`]
      : []),
    '',
    'On each machine, with its file:',
    `  nats-server -c ${files[0]!.path}`,
    'Then the nodes, each with an id of its own:',
    `  keyfleet serve --cluster ${plan.name} --node node-1 \\`,
    `    --nats ${natsUrls(plan).join(',')} \\`,
    ...login,
    `    --nats-monitor ${monitors}`,
    '',
  ];
  return lines.join('\n');
}
