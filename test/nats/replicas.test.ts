import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { jetstreamManager } from '@nats-io/jetstream';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { type Assignment, Workload } from '../../sim/workload/workload.ts';
import { isKeyfleetError } from '../../src/base/errors.ts';
import { Prng } from '../../src/base/prng.ts';
import { Session } from '../../src/node/session.ts';
import { NotLeaderError } from '../../src/shard/replica/not-leader-error.ts';
import type { RequestId } from '../../src/shard/request-id.ts';
import { hasRecentNats, NATS_SERVERS, NatsServers, waitFor } from './nats-servers.ts';
import { ReplicaNode } from './replica-node.ts';

// The replicas that the simulator runs, on real servers: three nats-servers, three replicas with a disk each, clients that write down what they
// were told. What they were told must be linearizable, and the replicas must have come to one state.

const CLIENTS = 8;
const STREAM = 'shard-1';

describe.skipIf(!hasRecentNats)('replicas of a shard on three nats-servers', () => {
  let dir: string;
  let servers: NatsServers;
  let nodes: (ReplicaNode | undefined)[];
  let workload: Workload;
  let stop = false;
  let answered = 0;
  let clients: Promise<void>[] = [];

  const start = async (index: number): Promise<void> => {
    nodes[index] = await ReplicaNode.start({ servers, stream: STREAM, name: `n${index}`, rank: index, dir: join(dir, `n${index}`) });
  };
  const alive = (): ReplicaNode[] => nodes.filter((node) => node !== undefined);
  const leader = (): ReplicaNode | undefined => alive().find((node) => node.leads);

  beforeEach(async () => {
    dir = mkdtempSync(join(tmpdir(), 'keyfleet-replicas-'));
    servers = await NatsServers.start(NATS_SERVERS[0]!.binary, 3);
    nodes = [];
    await waitFor('a stream on three servers', () => start(0).then(() => true));
    for (const index of [1, 2]) await start(index);
    workload = new Workload(new Prng(7));
    stop = false;
    answered = 0;
    await waitFor('a leader', async () => leader() !== undefined);
    clients = Array.from({ length: CLIENTS }, (_, i) => client(`c${i}`));
    await answers(300);
  }, 90_000);

  afterEach(async () => {
    stop = true;
    await Promise.allSettled(clients);
    await Promise.allSettled(alive().map((node) => node.stop()));
    await servers?.stop();
    rmSync(dir, { recursive: true, force: true });
  }, 60_000);

  const answers = (count: number): Promise<void> => {
    const wanted = answered + count;
    return waitFor(`${count} more answers`, async () => answered >= wanted, 60_000);
  };

  async function client(name: string): Promise<void> {
    const session = new Session({ clientId: name }, Date.now);
    while (!stop) {
      const id = session.request();
      await ask(workload.next(name), id);
      session.close(id);
    }
  }

  /** Asks until it is answered: commands carry an id, so that they may be sent again. */
  async function ask(assignment: Assignment, id: RequestId): Promise<void> {
    const { request } = assignment;
    let target = leader() ?? alive()[0]!;
    for (let attempt = 0; attempt < 1_000; attempt++) {
      try {
        const { key, many } = request;
        const text =
          request.kind === 'command'
            ? await target.command(key, request.action, many, id)
            : await target.query(key, request.query, many, id.requestSeq % 3 === 0 ? 'barrier' : 'lease');
        assignment.answered(text);
        answered++;
        return;
      } catch (error) {
        if (!isKeyfleetError(error)) throw error;
        await new Promise((resolve) => setTimeout(resolve, 30));
        if (request.kind === 'query') {
          assignment.dropped();
          return;
        }
        if (stop && (error.code === 'KF_CLOSED' || attempt > 50)) return;
        const told = error instanceof NotLeaderError ? error.leader : undefined;
        target = alive().find((node) => node.name === told) ?? alive()[attempt % alive().length]!;
      }
    }
  }

  /** Ends the work; then nothing that anybody was told may be wrong, and all replicas must be alike. */
  async function judge(): Promise<void> {
    stop = true;
    await Promise.all(clients);
    await waitFor('replicas that have come as far as each other', async () => {
      const applied = new Set(alive().map((node) => node.state.applied));
      return applied.size === 1;
    });
    for (const { of, verdict } of workload.verdicts()) expect([of, verdict.kind]).toEqual([of, 'linearizable']);
    const hashes = new Set(alive().map((node) => Buffer.from(node.state.hash).toString('hex')));
    expect(hashes.size).toBe(1);
    expect(alive().map((node) => node.state.status)).toEqual(alive().map(() => 'serving'));
  }

  test('the leader stops without a word, another takes over, and it comes back as a follower', async () => {
    const index = nodes.indexOf(leader());
    const old = nodes[index]!;
    nodes[index] = undefined;
    await old.stop();
    await answers(300);
    await start(index);
    await answers(300);
    expect(alive()).toHaveLength(3);
    await judge();
  }, 120_000);

  test('a leader that is cut off answers nothing old, and those that can reach the log go on', async () => {
    const index = nodes.indexOf(leader());
    const old = nodes[index]!;
    await old.cutOff();
    await waitFor('another leader', async () => alive().some((node) => node !== old && node.leads));
    await waitFor('its lease to end', async () =>
      old.query('r0.0', { kind: 'read' }, false, 'lease').then(
        () => false,
        (error: unknown) => isKeyfleetError(error),
      ),
    );
    nodes[index] = undefined;
    await old.stop();
    await start(index);
    await answers(300);
    await judge();
  }, 120_000);

  test('a leader that resigns is followed at once', async () => {
    const old = leader()!;
    old.resign();
    await waitFor('another leadership', async () => alive().some((node) => node.leads && node.state.epoch > 1), 10_000);
    await answers(300);
    await judge();
  }, 120_000);

  test('kill -9 of the server that leads the stream, and of every server in turn', async () => {
    const connection = await servers.connect();
    const manager = await jetstreamManager(connection);
    const led = (await manager.streams.info(STREAM)).cluster!.leader!;
    const first = servers.names.indexOf(led);
    for (const index of [first, (first + 1) % 3, (first + 2) % 3]) {
      await servers.kill(index);
      await answers(200);
      servers.startOne(index);
      await servers.ready();
      await answers(100);
    }
    await judge();
  }, 240_000);
});
