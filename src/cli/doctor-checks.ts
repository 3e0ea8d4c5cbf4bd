import { showBytes, showDuration } from '../base/units.ts';
import type { ClusterReport, LostReport } from '../http/cluster-admin.ts';
import type { StatusReport } from '../http/status.ts';
import { lostText } from './nodes.ts';

// What `keyfleet doctor` makes of what it was told: pure, so that each finding can be tested.

/** `wrong`: something does not work, or soon will not; `risk`: it works, and one more fault may cost something. */
export interface Finding {
  readonly level: 'wrong' | 'risk' | 'fine';
  readonly what: string;
  /** What to do about it. */
  readonly advice?: string;
}

/** What one node said, or why it said nothing. */
export interface NodeAnswer {
  readonly id: string;
  readonly url: string;
  readonly status?: StatusReport;
  readonly failure?: string;
  /** How far its clock is ahead of ours, to a second or so. */
  readonly aheadMs?: number;
}

/** What the monitoring port of one nats-server said. */
export interface NatsAnswer {
  readonly url: string;
  readonly failure?: string;
  readonly name?: string;
  readonly version?: string;
  readonly usedBytes?: number;
  readonly limitBytes?: number;
  /** Knows who leads the servers; true of one that stands alone. */
  readonly hasLeader?: boolean;
}

/** Leases allow for clocks that run at another pace, not at another time; but expiry and logs follow the time. */
const MOST_SKEW_MS = 2_000;
const MOST_LAG = 20_000;
const LEAST_FREE_SHARE = 0.1;
const LONG_WORKFLOW_MS = 10 * 60_000;

export function checkStore(status: StatusReport): Finding[] {
  const { refusal, durability } = status;
  return [
    refusal === null
      ? { level: 'fine', what: 'writes are taken' }
      : { level: 'wrong', what: `writes are refused: ${refusal.code}: ${refusal.message}`, advice: 'make room, or see what the disk has' },
    ...(durability === 'sync'
      ? []
      : [
          {
            level: 'risk',
            what: `durability is ${durability}: a crash may take answered writes`,
            advice: 'serve with --durability sync',
          } as const,
        ]),
  ];
}

/** Some log takes nothing from the node that was asked. */
export function isStuck({ keyspaces }: ClusterReport): boolean {
  return keyspaces.some(({ shards }) => shards.some(({ trouble }) => trouble !== undefined));
}

export function checkDisk(dir: string, free: { readonly freeBytes: number; readonly totalBytes: number }): Finding {
  const { freeBytes, totalBytes } = free;
  const what = `${showBytes(freeBytes)} of ${showBytes(totalBytes)} are free where ${dir} is`;
  return freeBytes < totalBytes * LEAST_FREE_SHARE
    ? { level: 'risk', what, advice: 'make room: a full disk refuses writes' }
    : { level: 'fine', what };
}

/** `nowMs`: of the clock that `answers` were timed by. */
export function checkCluster(report: ClusterReport, answers: readonly NodeAnswer[], nowMs: number): Finding[] {
  return [...checkNodes(report, answers), ...checkShards(report), ...checkWorkflows(report, nowMs), ...checkRisks(report)];
}

function checkNodes({ nodes, replication, metaLeader, metaLost, unready }: ClusterReport, answers: readonly NodeAnswer[]): Finding[] {
  const findings: Finding[] = [];
  const members = nodes.filter(({ status }) => status !== 'left');
  const up = members.filter(({ status }) => status === 'up');
  if (unready !== null) findings.push({ level: 'wrong', what: unready, advice: 'look at its log; are the NATS servers up?' });
  if (metaLost) findings.push(lostFinding('the meta shard', 0, metaLost));
  else if (metaLeader === null) {
    const advice = 'nodes cannot join and shards cannot move; are most NATS servers up?';
    findings.push({ level: 'wrong', what: 'nobody leads the meta shard', advice });
  }
  for (const { id, status } of members) {
    if (status === 'down') {
      const advice = `start it again, or forget it for good: keyfleet node remove ${id}`;
      findings.push({ level: 'wrong', what: `node ${id} is down`, advice });
    }
    if (status === 'draining') findings.push({ level: 'fine', what: `node ${id} is being drained` });
  }
  if (up.length < replication) {
    const advice = 'add nodes: the copies follow by themselves';
    findings.push({ level: 'risk', what: `${up.length} nodes are up for ${replication} copies of each shard`, advice });
  } else findings.push({ level: 'fine', what: `${up.length} nodes are up, ${replication} copies of each shard` });
  const zones = new Set(up.map(({ zone }) => zone));
  if (zones.size > 1 && zones.size < replication) {
    const advice = 'spread the nodes over as many zones as there are copies';
    findings.push({ level: 'risk', what: `there are ${zones.size} zones for ${replication} copies`, advice });
  }
  const releases = new Set(members.map(({ release }) => release));
  if (releases.size > 1)
    findings.push({ level: 'risk', what: `nodes run releases ${[...releases].join(', ')}`, advice: 'finish the upgrade' });
  for (const { id, url, status, failure, aheadMs = 0 } of answers) {
    if (failure !== undefined && members.some((one) => one.id === id && one.status !== 'down')) {
      findings.push({ level: 'wrong', what: `node ${id} does not answer at ${url}: ${failure}`, advice: 'is it reachable from here?' });
    }
    if (Math.abs(aheadMs) > MOST_SKEW_MS) {
      const how = aheadMs > 0 ? 'ahead' : 'behind';
      findings.push({
        level: 'risk',
        what: `the clock of ${id} is ${showDuration(Math.abs(aheadMs))} ${how}`,
        advice: 'set clocks by NTP',
      });
    }
    if (status?.refusal) {
      const { code, message } = status.refusal;
      findings.push({ level: 'wrong', what: `node ${id} stores nothing: ${code}: ${message}`, advice: 'make room on its disk' });
    }
  }
  return findings;
}

function checkShards({ node, keyspaces, nodes, replication }: ClusterReport): Finding[] {
  const findings: Finding[] = [];
  const live = new Set(nodes.filter(({ status }) => status === 'up' || status === 'draining').map(({ id }) => id));
  const wanted = Math.min(replication, live.size);
  for (const { name, shards } of keyspaces) {
    const named = (list: readonly { readonly id: number }[]): string => list.map(({ id }) => id).join(', ');
    for (const { id, lost } of shards) if (lost) findings.push(lostFinding(`${name}: shard ${id}`, id, lost));
    const leaderless = shards.filter(({ leader, lost }) => leader === null && !lost);
    if (leaderless.length > 0) {
      const seen = leaderless.flatMap(({ id, here }) => (here === null ? [] : [`; ${node}, shard ${id}: ${here}`]));
      const advice = `it should have one within seconds; if not: are most NATS servers up, and the nodes of its copies?${seen.slice(0, 4).join('')}`;
      findings.push({ level: 'wrong', what: `${name}: nobody leads shard ${named(leaderless)}`, advice });
    }
    const stuck = shards.filter(({ trouble, lost }) => trouble !== undefined && !lost);
    if (stuck.length > 0) {
      const advice =
        'most NATS servers must be up and reach each other: --nats-monitor looks at them. Until then writes answer KF_UNAVAILABLE';
      findings.push({ level: 'wrong', what: `${name}: shard ${named(stuck)}: ${stuck[0]!.trouble}`, advice });
    }
    const few = shards.filter(({ replicas }) => replicas.filter((id) => live.has(id)).length < wanted);
    if (few.length > 0) {
      const advice = 'copies are made by themselves when nodes stay away; see keyfleet nodes';
      findings.push({ level: 'risk', what: `${name}: too few live copies of shard ${named(few)}`, advice });
    }
    for (const { id, lag } of shards)
      for (const [node, entries] of Object.entries(lag))
        if (live.has(node) && entries > MOST_LAG)
          findings.push({
            level: 'risk',
            what: `${name}: ${node} is ${entries} entries behind at shard ${id}`,
            advice: 'is its disk slow?',
          });
    if (leaderless.length + stuck.length + few.length === 0 && shards.every(({ lost }) => !lost))
      findings.push({ level: 'fine', what: `${name}: ${shards.length} shards, each led and copied` });
  }
  return findings;
}

function lostFinding(whose: string, id: number, lost: LostReport): Finding {
  const what = `${whose}: ${lostText(lost)}`;
  if (lost.hasNoCopy) return { level: 'wrong', what, advice: 'restore its keys from a backup' };
  if (lost.waitsFor.length === 0) return { level: 'wrong', what };
  const advice = `start them; if they are gone for good, give up what only they have: keyfleet shard recover ${id} --accept-loss`;
  return { level: 'wrong', what, advice };
}

function checkWorkflows({ keyspaces }: ClusterReport, nowMs: number): Finding[] {
  return keyspaces.flatMap(({ name, workflows }) =>
    workflows
      .filter(({ sinceMs }) => nowMs - sinceMs > LONG_WORKFLOW_MS)
      .map(({ kind, op, sinceMs }): Finding => {
        const what = `${name}: the ${kind} of number ${op} has been under way for ${showDuration(nowMs - sinceMs)}`;
        return { level: 'risk', what, advice: 'is a node of it down?' };
      }),
  );
}

function checkRisks({ risks }: ClusterReport): Finding[] {
  return risks.map((what) => ({ level: 'risk', what, advice: '`keyfleet nats config` writes a safe configuration' }));
}

/** Of servers that form one cluster. `risks`: what their versions and settings put at risk. */
export function checkNats(answers: readonly NatsAnswer[], risks: readonly string[]): Finding[] {
  const findings: Finding[] = risks.map((what) => ({ level: 'risk', what, advice: '`keyfleet nats config` writes a safe configuration' }));
  const silent = answers.filter(({ failure }) => failure !== undefined);
  for (const { url, failure } of silent)
    findings.push({ level: 'wrong', what: `no nats-server answers at ${url}: ${failure}`, advice: 'start it' });
  if (silent.length > 0 && 2 * silent.length >= answers.length) {
    findings.push({
      level: 'wrong',
      what: `${silent.length} of ${answers.length} nats-servers do not answer: no quorum`,
      advice: 'writes wait until most are up',
    });
  }
  for (const { url, name = url, hasLeader, usedBytes = 0, limitBytes = 0 } of answers) {
    if (hasLeader === false)
      findings.push({ level: 'wrong', what: `nats-server ${name} knows no leader`, advice: 'can it reach the others?' });
    if (limitBytes > 0 && usedBytes > limitBytes * (1 - LEAST_FREE_SHARE)) {
      const what = `nats-server ${name} has ${showBytes(usedBytes)} of ${showBytes(limitBytes)} stored`;
      findings.push({ level: 'risk', what, advice: 'give it room (max_file_store); full, it takes no writes' });
    }
  }
  if (findings.length === 0) {
    const versions = [...new Set(answers.map(({ version }) => version))].join(', ');
    findings.push({ level: 'fine', what: `${answers.length} nats-servers ${versions}, every write synced` });
  }
  return findings;
}
