import { showBytes, showDuration } from '../../base/units.ts';
import type { ClusterReport, LostReport } from '../../http/cluster-admin.ts';
import type { StatusReport } from '../../http/status.ts';
import { natsAdvice } from '../../nats/server-check.ts';
import type { DiskSpace, StorageStats } from '../../storage/storage.ts';
import { isDrained, lostText } from './nodes.ts';

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
  /** What keeps it from holding logs. */
  readonly trouble?: string;
  /** Knows who leads the servers; true of one that stands alone. */
  readonly hasLeader?: boolean;
  /** The servers that it takes for all; undefined: it stands alone. */
  readonly groupSize?: number;
}

/** Leases allow for clocks that run at another pace, not at another time; but expiry and logs follow the time. */
const MOST_SKEW_MS = 2_000;
const MOST_LAG = 20_000;
const LEAST_FREE_SHARE = 0.1;
const LONG_WORKFLOW_MS = 10 * 60_000;

export function checkStore(status: StatusReport): Finding[] {
  const { refusal, durability } = status;
  return [
    ...(refusal === null ? littleRoom('on its disk', status) : []),
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

function littleRoom(where: string, { storage }: StatusReport): Finding[] {
  const { space } = storage as Partial<StorageStats>;
  return space ? [checkDisk(where, space)].filter(({ level }) => level !== 'fine') : [];
}

/** Some shard takes nothing, as far as the node knows that was asked. */
export function isStuck({ unready, metaLost, keyspaces }: ClusterReport): boolean {
  const isOneStuck = keyspaces.some(({ shards }) =>
    shards.some(({ trouble, lost, leader }) => trouble !== undefined || lost || leader === null),
  );
  return isOneStuck || unready !== null || metaLost !== null;
}

/** `where`: whose disk it is. */
export function checkDisk(where: string, { freeBytes, totalBytes }: DiskSpace): Finding {
  const what = `${showBytes(freeBytes)} of ${showBytes(totalBytes)} are free ${where}`;
  return freeBytes < totalBytes * LEAST_FREE_SHARE
    ? { level: 'risk', what, advice: 'make room: a full disk refuses writes' }
    : { level: 'fine', what };
}

/** `nowMs`: of the clock that `answers` were timed by. */
export function checkCluster(report: ClusterReport, answers: readonly NodeAnswer[], nowMs: number): Finding[] {
  const ofNats = report.risks.map(natsRisk);
  return [...checkNodes(report, answers), ...checkClocks(answers), ...checkShards(report), ...checkWorkflows(report, nowMs), ...ofNats];
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
  for (const node of members) {
    const { id, status } = node;
    if (status === 'down') {
      const advice = `start it again, or forget it for good: keyfleet node remove ${id}`;
      findings.push({ level: 'wrong', what: `node ${id} is down`, advice });
    }
    if (status === 'draining') {
      const how = isDrained(node) ? `drained: end it and forget it, keyfleet node remove ${id}` : 'being drained';
      findings.push({ level: 'fine', what: `node ${id} is ${how}` });
    }
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
  for (const { id, url, status, failure } of answers) {
    if (failure !== undefined && members.some((one) => one.id === id && one.status !== 'down')) {
      findings.push({ level: 'wrong', what: `node ${id} does not answer at ${url}: ${failure}`, advice: 'is it reachable from here?' });
    }
    if (status?.refusal) {
      const { code, message } = status.refusal;
      findings.push({ level: 'wrong', what: `node ${id} stores nothing: ${code}: ${message}`, advice: 'make room on its disk' });
    } else if (status) findings.push(...littleRoom(`on the disk of node ${id}`, status));
  }
  return findings;
}

/** Each against the middle one of all, this machine's among them: it may be the one that is wrong. */
function checkClocks(answers: readonly NodeAnswer[]): Finding[] {
  const clocks = answers.flatMap(({ id, aheadMs }) => (aheadMs === undefined ? [] : [{ whose: id, aheadMs }]));
  clocks.push({ whose: 'this machine', aheadMs: 0 });
  clocks.sort((a, b) => a.aheadMs - b.aheadMs);
  const middleMs = clocks[(clocks.length - 1) >> 1]!.aheadMs;
  const off = clocks.filter(({ aheadMs }) => Math.abs(aheadMs - middleMs) > MOST_SKEW_MS);
  const advice = 'set the clocks by NTP: what expires does so by the clock of who leads its shard';
  // Of two nobody can say which it is.
  if (off.length > 0 && clocks.length === 2)
    return [
      {
        level: 'risk',
        what: `the clocks of ${clocks[0]!.whose} and ${clocks[1]!.whose} are ${apart(off[0]!.aheadMs - middleMs)} apart`,
        advice,
      },
    ];
  return off.map(({ whose, aheadMs }) => {
    const how = aheadMs > middleMs ? 'ahead' : 'behind';
    return { level: 'risk', what: `the clock of ${whose} is ${apart(aheadMs - middleMs)} ${how}`, advice };
  });
}

function apart(ms: number): string {
  return showDuration(Math.round(Math.abs(ms) / 1_000) * 1_000);
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

function natsRisk(what: string): Finding {
  return { level: 'risk', what, advice: natsAdvice(what) };
}

/** Of servers that form one cluster. `risks`: what their versions and settings put at risk. */
export function checkNats(answers: readonly NatsAnswer[], risks: readonly string[]): Finding[] {
  const findings: Finding[] = risks.map(natsRisk);
  for (const { url, name = url, failure, trouble } of answers) {
    if (failure !== undefined) {
      const advice = 'start it; one that stands still, end it first';
      findings.push({ level: 'wrong', what: `no nats-server answers at ${url}: ${failure}`, advice });
    }
    if (trouble !== undefined)
      findings.push({ level: 'wrong', what: `nats-server ${name} ${trouble}`, advice: 'make room and start it again' });
  }
  const missing = answers.filter(({ failure, trouble }) => failure !== undefined || trouble !== undefined);
  if (missing.length > 0 && 2 * missing.length >= answers.length) {
    findings.push({
      level: 'wrong',
      what: `${missing.length} of ${answers.length} nats-servers hold no logs now: no quorum`,
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
  findings.push(...checkGroup(answers));
  if (findings.length === 0) {
    const versions = [...new Set(answers.map(({ version }) => version))].join(', ');
    findings.push({ level: 'fine', what: `${answers.length} nats-servers ${versions}, every write synced` });
  }
  return findings;
}

/** Servers that came back without their data can have begun anew among themselves, and the one that has its data is none of theirs. */
function checkGroup(answers: readonly NatsAnswer[]): Finding[] {
  const there = answers.filter(({ groupSize }) => groupSize !== undefined);
  const inside = there.filter(({ groupSize }) => groupSize! < there.length);
  const outside = there.filter((one) => !inside.includes(one)).map(({ url, name = url }) => name);
  if (inside.length === 0 || outside.length === 0) return [];
  const what = `nats-servers ${inside.map(({ url, name = url }) => name).join(', ')} have begun anew without their data, and without ${outside.join(', ')}: logs have no room for all their copies`;
  const advice = `end ${outside.join(', ')}, empty its store_dir and start it again: shards go on with what the nodes have. Name each server itself among its routes too, as \`keyfleet nats config\` does, and it does not come to this`;
  return [{ level: 'wrong', what, advice }];
}
