import { statfs } from 'node:fs/promises';
import type { Command } from 'commander';
import { isKeyfleetError, messageOf } from '../../base/errors.ts';
import type { StatusReport } from '../../http/status.ts';
import { monitorRisks, SYNC_UNKNOWN } from '../../nats/server-check.ts';
import { type ServerAddress, ServerClient, serverAddress } from '../client/server-client.ts';
import { EXIT } from '../terminal/exit-code.ts';
import {
  checkCluster,
  checkDisk,
  checkNats,
  checkStore,
  type Finding,
  isStuck,
  type NatsAnswer,
  type NodeAnswer,
} from './doctor-checks.ts';

interface Flags {
  readonly url?: string;
  readonly passwordFile?: string;
  readonly natsMonitor?: readonly string[];
  readonly dir?: string;
  readonly json?: boolean;
}

const TIMEOUT_MS = 5_000;

export function define(command: Command): void {
  command
    .option('--url <url>', 'any node (http://127.0.0.1:7380)')
    .option('--password-file <file>', "file whose first line is the server's password")
    .option('--nats-monitor <urls...>', 'monitoring addresses of the NATS servers, as http://10.0.0.1:8222, to look at them too')
    .option('--dir <dir>', 'a directory of this machine whose disk is looked at')
    .option('--json', 'print the findings as JSON')
    .addHelpText(
      'after',
      '\nEnds with 1 when something is wrong.\n\nExample:\n  keyfleet doctor --url http://10.0.0.1:7380 --nats-monitor http://10.0.0.1:8222',
    )
    .allowExcessArguments(false)
    .action(async (flags: Flags) => {
      const findings = await examine(flags);
      process.stdout.write(flags.json ? `${JSON.stringify(findings, null, 2)}\n` : findingsText(findings));
      process.exitCode = findings.some(({ level }) => level === 'wrong') ? EXIT.failed : EXIT.ok;
    });
}

/** @throws KF_UNREACHABLE when the node that is asked first does not answer. */
async function examine(flags: Flags): Promise<Finding[]> {
  const address = serverAddress(flags);
  const status = await new ServerClient(address, TIMEOUT_MS).status();
  const report = status.cluster;
  // A node whose own disk takes writes says nothing of a log that takes none.
  const findings = checkStore(status).filter(({ level }) => level !== 'fine' || report === null || !isStuck(report));
  const monitors = (flags.natsMonitor ?? []).flatMap((one) => one.split(',')).filter((one) => one !== '');
  const servers = await Promise.all(monitors.map(askNats));
  const risks = [...new Set(servers.flatMap((server) => server.risks))];
  if (report !== null) {
    const answers = await Promise.all(
      report.nodes.flatMap(({ id, addresses, isSelf }) => {
        if (isSelf) return askClock(id, address);
        return addresses.http === undefined ? [] : askNode(id, { ...address, url: `http://${addresses.http}` });
      }),
    );
    // What the node did not know, or knows too, the servers themselves have said.
    const more = servers.length === 0 ? report.risks : report.risks.filter((risk) => risk !== SYNC_UNKNOWN && !risks.includes(risk));
    findings.push(...checkCluster({ ...report, risks: more }, answers, Date.now()));
  }
  if (servers.length > 0) findings.push(...checkNats(servers, risks));
  if (flags.dir !== undefined) findings.push(await lookAtDisk(flags.dir));
  return findings;
}

async function askNode(id: string, address: ServerAddress): Promise<NodeAnswer> {
  const { url } = address;
  const sentMs = Date.now();
  try {
    const response = await new ServerClient(address, TIMEOUT_MS).request('GET', '/v1/status');
    const heardMs = Date.now();
    const theirs = Date.parse(response.headers.get('date') ?? '');
    const status = (await response.json()) as StatusReport;
    // The header says whole seconds: half of one is added, and as much is not known.
    return { id, url, status, ...(Number.isNaN(theirs) ? {} : { aheadMs: theirs + 500 - (sentMs + heardMs) / 2 }) };
  } catch (error) {
    if (!isKeyfleetError(error)) throw error;
    return { id, url, failure: error.message };
  }
}

/** Of the node that was asked all else already. */
async function askClock(id: string, address: ServerAddress): Promise<NodeAnswer> {
  const { url, aheadMs } = await askNode(id, address);
  return { id, url, ...(aheadMs === undefined ? {} : { aheadMs }) };
}

async function askNats(url: string): Promise<NatsAnswer & { readonly risks: readonly string[] }> {
  try {
    const response = await fetch(new URL('/jsz', url), { signal: AbortSignal.timeout(TIMEOUT_MS) });
    const varz = await fetch(new URL('/varz', url), { signal: AbortSignal.timeout(TIMEOUT_MS) });
    const {
      disabled = false,
      store,
      config,
      meta_cluster: meta,
    } = (await response.json()) as {
      readonly disabled?: boolean;
      readonly store?: number;
      readonly config?: { readonly max_storage?: number };
      readonly meta_cluster?: { readonly leader?: string; readonly cluster_size?: number };
    };
    const { server_name: name, version } = (await varz.json()) as { readonly server_name: string; readonly version: string };
    return {
      ...{ url, name, version, usedBytes: store ?? 0, limitBytes: config?.max_storage ?? 0 },
      ...(disabled ? { trouble: 'runs without JetStream: it was started so, or has given it up since its disk was full' } : {}),
      risks: disabled ? [] : await monitorRisks(url, TIMEOUT_MS),
      ...(meta?.cluster_size === undefined ? {} : { groupSize: meta.cluster_size }),
      hasLeader: disabled || meta === undefined || (meta.leader ?? '') !== '',
    };
  } catch (error) {
    return { url, risks: [], failure: messageOf(error instanceof Error && error.cause ? error.cause : error) };
  }
}

async function lookAtDisk(dir: string): Promise<Finding> {
  try {
    const { bavail, blocks, bsize } = await statfs(dir);
    return checkDisk(`where ${dir} is`, { freeBytes: bavail * bsize, totalBytes: blocks * bsize });
  } catch (error) {
    return { level: 'wrong', what: `${dir}: ${messageOf(error)}` };
  }
}

const SIGNS: Readonly<Record<Finding['level'], string>> = { wrong: 'WRONG', risk: 'risk ', fine: 'fine ' };

function findingsText(findings: readonly Finding[]): string {
  const order: readonly Finding['level'][] = ['wrong', 'risk', 'fine'];
  const lines = order.flatMap((level) =>
    findings
      .filter((one) => one.level === level)
      .flatMap(({ what, advice }) => [`${SIGNS[level]}  ${what}`, ...(advice === undefined ? [] : [`       ${advice}`])]),
  );
  return `${lines.join('\n')}\n`;
}
