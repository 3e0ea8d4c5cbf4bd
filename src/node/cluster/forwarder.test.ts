import { describe, expect, test, vi } from 'vitest';
import { type Bytes, utf8 } from '../../base/bytes.ts';
import { isKeyfleetError, KeyfleetError } from '../../base/errors.ts';
import { counterModule } from '../../shard/counter.ts';
import { NotLeaderError } from '../../shard/replica/not-leader-error.ts';
import { InProcessNetwork } from '../../transport/in-process.ts';
import type { Transport } from '../../transport/transport.ts';
import { SystemClock } from '../node-clock.ts';
import { Call } from './call.ts';
import { decodeCalls, encodeOutcomes } from './call-wire.ts';
import { CALLS, Forwarder } from './forwarder.ts';
import type { AnyModule } from './hosted-shard.ts';
import { LargeAnswers } from './large-answers.ts';
import { WorkForOthers } from './vigil.ts';

interface Asked {
  readonly leaderOf?: () => string | undefined;
  /** What becomes of the answers to commands on their way. */
  readonly onItsWay?: (answer: Promise<Bytes>) => Promise<Bytes>;
}

/** Node b, which hears of a command of node a and does not answer it; what a hears of it at last. */
function asked({ leaderOf = () => 'b', onItsWay = (answer) => answer }: Asked = {}) {
  const network = new InProcessNetwork();
  const b = network.join('b');
  const clock = new SystemClock();
  const work = new WorkForOthers(clock);
  let answer: () => void = () => {};
  const answered = new Promise<void>((resolve) => {
    answer = resolve;
  });
  const carryOut = async (): Promise<Bytes> => {
    await answered;
    const reply = (counterModule as unknown as AnyModule).replyCodec!.encode(7);
    return new LargeAnswers(clock, 1_024).wrap(encodeOutcomes([{ kind: 'done', reply }]));
  };
  void b.serve(async ({ method, from }) => (method === CALLS ? work.count(from, carryOut()) : work.pong(from)));
  const a = network.join('a');
  const transport: Transport = {
    ...{ self: 'a', maxPayloadBytes: a.maxPayloadBytes, serve: a.serve.bind(a), send: a.send.bind(a), close: a.close.bind(a) },
    request: (to, method, ...rest) => {
      const said = a.request(to, method, ...rest);
      return method === CALLS ? onItsWay(said) : said;
    },
  };
  const forwarder = new Forwarder({ clock, transport, leaderOf, onLeader: () => {} });
  const heard: unknown[] = [];
  const end = new Promise<string>((resolve) => {
    const told = (what: string): void => {
      heard.push(what);
      resolve(what);
    };
    const call = new Call(
      {
        kind: 'command',
        keyspace: { id: 1, name: 'counters', module: counterModule as unknown as AnyModule, scheme: undefined },
        ...{ key: utf8('key'), position: 0, body: { kind: 'add', by: 1 }, token: 0, deadlineMs: clock.now().monoMs + 20_000 },
        sink: { settled: (_: number, reply: unknown) => told(String(reply)), failed: (_: number, error: Error) => told(error.message) },
      },
      (_, error) => told(isKeyfleetError(error) ? `${error.code} ${error.message}` : String(error)),
    );
    call.shard = 1;
    forwarder.send('b', call);
  });
  return { b, end, heard, answer: () => answer() };
}

const pause = (ms: number) => new Promise((resolve) => setTimeout(resolve, ms));

describe('a command that was sent to another node', () => {
  test('is waited for while that node is there and leads', async () => {
    const { end, answer } = asked();
    await pause(1_200);
    answer();
    expect(await end).toBe('7');
  });

  test('is given up when the node has gone', async () => {
    const { b, end } = asked();
    await pause(20);
    await b.close();
    expect(await end).toBe('KF_NODE_SILENT node b cannot be reached any more, and had not answered');
  });

  test('is given up when the node is not at it any more, and its answer is lost', async () => {
    let lose: () => void = () => {};
    const lost = new Promise<never>((_, reject) => {
      lose = () => reject(new KeyfleetError('KF_NODE_SILENT', 'too late'));
    });
    const { end, heard, answer } = asked({ onItsWay: () => lost });
    await pause(700);
    expect(heard).toEqual([]);
    answer();
    expect(await end).toBe('KF_NODE_SILENT node b is not at what was asked of it any more: the request was lost, or its answer');
    lose();
    await pause(0);
    expect(heard).toHaveLength(1);
  });

  test('is given up when another node leads its shard now, and what comes later is not told', async () => {
    let leader = 'b';
    const { end, heard, answer } = asked({ leaderOf: () => leader });
    await pause(20);
    leader = 'c';
    expect(await end).toBe('KF_NODE_SILENT node b was replaced as the leader of shard 1 by c, and had not answered');
    answer();
    await pause(50);
    expect(heard).toHaveLength(1);
  });

  test('is given less time there than whoever asks has, and those in a hurry go apart: a message is answered when all in it are', async () => {
    const network = new InProcessNetwork();
    const clock = new SystemClock();
    const given: number[][] = [];
    void network.join('b').serve(async ({ method, payload }) => {
      if (method !== CALLS) return new Uint8Array(0);
      const calls = decodeCalls(payload);
      given.push(calls.map(({ deadlineMs }) => deadlineMs));
      const error = new NotLeaderError(1, undefined, 'its log took nothing in time');
      return new LargeAnswers(clock, 1_024).wrap(encodeOutcomes(calls.map(() => ({ kind: 'failed', error, leader: '' }))));
    });
    const forwarder = new Forwarder({ clock, transport: network.join('a'), leaderOf: () => 'b', onLeader: () => {} });
    const keyspace = { id: 1, name: 'counters', module: counterModule as unknown as AnyModule, scheme: undefined };
    const nowMs = clock.now().monoMs;
    const send = (patienceMs: number): Promise<string> =>
      new Promise((resolve) => {
        const sink = { settled: () => resolve('done'), failed: (_: number, error: Error) => resolve(error.message) };
        const request = { keyspace, key: utf8('key'), position: 0, body: { kind: 'add', by: 1 }, sink, token: 0 } as const;
        const call = new Call({ ...request, kind: 'command', deadlineMs: nowMs + patienceMs }, (_, error) =>
          resolve(isKeyfleetError(error) ? error.code : String(error)),
        );
        forwarder.send('b', call);
      });
    expect(await Promise.all([send(20_000), send(1_500), send(30_000)])).toEqual(Array(3).fill('KF_NOT_LEADER'));
    // A leader tells every command within 5 s.
    expect(given).toEqual([[5_000, 5_000], [expect.any(Number)]]);
    expect(given[1]![0]).toBeLessThanOrEqual(1_125);
  });

  test.each([
    ['is late with its answers', false],
    ['has just refused another', true],
  ])('does not wait for one of a shard that %s', async (_, refuses) => {
    const network = new InProcessNetwork();
    const clock = new SystemClock();
    const work = new WorkForOthers(clock);
    const encoded = (counterModule as unknown as AnyModule).replyCodec!.encode(7);
    let isFirst = true;
    const refused = { kind: 'failed', error: new NotLeaderError(1, undefined, 'not yet'), leader: '' } as const;
    let release: () => void = () => {};
    const stuck = new Promise<void>((resolve) => {
      release = resolve;
    });
    const carryOut = async (payload: Bytes): Promise<Bytes> => {
      const calls = decodeCalls(payload);
      const outcome = isFirst && refuses ? refused : ({ kind: 'done', reply: encoded } as const);
      if (!(isFirst && refuses) && calls.some(({ key }) => key.length === 5)) await stuck;
      isFirst = false;
      return new LargeAnswers(clock, 1_024).wrap(encodeOutcomes(calls.map(() => outcome)));
    };
    void network
      .join('b')
      .serve(async ({ from, method, payload }) => (method === CALLS ? work.count(from, carryOut(payload)) : work.pong(from)));
    const forwarder = new Forwarder({ clock, transport: network.join('a'), leaderOf: () => 'b', onLeader: () => {} });
    const keyspace = { id: 1, name: 'counters', module: counterModule as unknown as AnyModule, scheme: undefined };
    const said: string[] = [];
    const send = (key: string, shard: number): void => {
      const sink = { settled: () => void said.push(key), failed: (_: number, error: Error) => void said.push(error.message) };
      const request = { keyspace, key: utf8(key), position: 0, body: { kind: 'add', by: 1 }, sink, token: 0 } as const;
      const call = new Call(
        { ...request, kind: 'command', deadlineMs: clock.now().monoMs + 20_000 },
        (_, error) => void said.push(error.message),
      );
      call.shard = shard;
      forwarder.send('b', call);
    };
    send('stuck', 1);
    await pause(refuses ? 100 : 600);
    said.length = 0;
    send('stuck', 1);
    send('free', 2);
    await vi.waitFor(() => expect(said).toEqual(['free']));
    release();
    await vi.waitFor(() => expect(new Set(said)).toEqual(new Set(['free', 'stuck'])));
  });
});
