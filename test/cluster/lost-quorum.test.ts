import { describe, expect, test } from 'vitest';
import { NATS_SERVERS, waitFor } from '../nats/nats-servers.ts';
import { doorsUnderLoad } from './doors-under-load.ts';
import type { LedgerClients } from './ledger-clients.ts';
import type { NodeWithDoors, Outcome } from './node-with-doors.ts';

// Three nodes over three real nats-servers, of which two go: what each door says meanwhile, what can still be read, and that all goes on by itself.

const [recent] = NATS_SERVERS as [(typeof NATS_SERVERS)[number], ...unknown[]];
/** What a request that TypeScript sends may take; over the other doors the node's own limit holds, 3 s. */
const TIMEOUT_MS = 2_000;
const LISTED = 'item-0 item-1 item-2 ';
const REASON = /its log (has taken no entry for|took nothing in time)/;

describe.runIf(recent.isHere)('a cluster of which most nats-servers', () => {
  const cluster = doorsUnderLoad();
  const { nodes } = cluster;
  const start = () =>
    cluster.begin({
      binary: recent.binary,
      async beforeLoad() {
        for (const [i, node] of nodes.entries()) expect(await node.append('before', `item-${i}`, 10_000)).toHaveProperty('answer');
        expect(await nodes[0]!.redis('SET', 'before', 'x')).toEqual({ answer: 'OK' });
        for (const node of nodes) await waitFor('what was written, in every copy', () => readsCopies(node));
      },
    });
  /** The node reads what was written from its own copies, in TypeScript and over the Redis protocol. */
  const readsCopies = async (node: NodeWithDoors): Promise<boolean> => {
    const { answer } = await node.read('before', 'local', TIMEOUT_MS);
    await node.redis('READONLY');
    const got = await node.redis('GET', 'before');
    await node.redis('READWRITE');
    return answer === LISTED && got.answer === 'x';
  };
  /** Asks until it hears that nothing was done, and why: what was sent at first, nobody knows. Nothing else is said. */
  const isRefused = async (what: string, ask: (attempt: number) => Promise<Outcome>): Promise<Outcome> => {
    let attempt = 0;
    let last: Outcome = {};
    await waitFor(what, async () => {
      last = await ask(attempt++);
      if (!['KF_UNAVAILABLE', 'KF_OUTCOME_UNKNOWN', 'KF_TIMED_OUT'].includes(last.code ?? '')) throw new Error(JSON.stringify(last));
      return last.code === 'KF_UNAVAILABLE' && REASON.test(last.message ?? '');
    });
    return last;
  };
  const says = async (): Promise<void> => {
    const refused = nodes.flatMap((node, i) => [
      isRefused(`TypeScript at node ${i}`, (attempt) => node.append(`ts ${i}`, `item-${attempt}`, TIMEOUT_MS)),
      isRefused(`a barrier read at node ${i}`, () => node.read('before', 'barrier', TIMEOUT_MS)),
      isRefused(`a read by lease at node ${i}`, async () => {
        const said = await node.read('before', 'lease', TIMEOUT_MS);
        // The lease runs still.
        return said.answer === LISTED ? { code: 'KF_TIMED_OUT' } : said;
      }),
      isRefused(`RESP at node ${i}`, () => node.redis('SET', `resp-${i}`, 'x')),
      isRefused(`HTTP at node ${i}`, () => node.put(`http-${i}`, 'x')),
    ]);
    const said = await Promise.all(refused);
    for (const { message } of said.filter((_, at) => at % 5 === 3)) expect(message).toMatch(/^CLUSTERDOWN KF_UNAVAILABLE /);
    for (const { answer } of said.filter((_, at) => at % 5 === 4)) expect(answer).toBe('503');
    for (const node of nodes) expect(await readsCopies(node)).toBe(true);
  };
  const goesOn = async (work: LedgerClients): Promise<void> => {
    await work.answers(30);
    for (const [i, node] of nodes.entries()) {
      await waitFor(`writes at node ${i}`, async () => (await node.redis('SET', `after-${i}`, 'x')).answer === 'OK');
      expect(await node.read('before', 'barrier', 10_000)).toEqual({ answer: LISTED });
    }
  };

  test('are gone, one killed and one that stands still, refuses writes with the reason, reads its copies, and goes on when they are back', async () => {
    const [servers, work] = await start();
    servers.signal(2, 'SIGSTOP');
    await servers.kill(1);
    await says();
    servers.startOne(1);
    servers.signal(2, 'SIGCONT');
    await goesOn(work);
    expect(await work.judge()).toEqual([]);
  }, 90_000);
});
