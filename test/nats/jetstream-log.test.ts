import { jetstreamManager } from '@nats-io/jetstream';
import type { NatsConnection } from '@nats-io/transport-node';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { fromUtf8, utf8 } from '../../src/base/bytes.ts';
import { logConformance } from '../../src/log/log.conformance.ts';
import type { LogRecord, ShardLog } from '../../src/log/log.ts';
import { type JetStreamLog, jetStreamLog } from '../../src/nats/jetstream-log.ts';
import { checkNatsServers, natsAdvice, natsRisks } from '../../src/nats/server-check.ts';
import { streamConfig } from '../../src/nats/stream-config.ts';
import { WatchedLog } from '../../src/nats/watched-log.ts';
import { hasRecentNats, NATS_SERVERS, NatsServers, waitFor } from './nats-servers.ts';

let made = 0;
const newName = (): string => `log-${++made}`;

async function collect(log: Pick<ShardLog, 'read'>, fromSeq: number): Promise<LogRecord[]> {
  const records: LogRecord[] = [];
  for await (const record of log.read(fromSeq)) records.push(record);
  return records;
}

describe.each(NATS_SERVERS)('$name', ({ binary, isHere }) => {
  describe.skipIf(!isHere)('one server', () => {
    let servers: NatsServers;
    let connection: NatsConnection;
    const open = (options: { readonly name?: string; readonly replicas?: number } = {}): Promise<JetStreamLog> =>
      jetStreamLog({ connection, name: newName(), replicas: 1, ...options });
    beforeAll(async () => {
      servers = await NatsServers.start(binary, 1);
      connection = await servers.connect();
    });
    afterAll(() => servers?.stop());

    logConformance('JetStream', () => open());

    test('keeps the order of what is in flight, and refuses all that stands behind a refused one', async () => {
      const log = await open();
      const outcomes = await Promise.all(Array.from({ length: 200 }, (_, i) => log.append(utf8(`${i}`), i)));
      expect(outcomes).toEqual(Array.from({ length: 200 }, (_, i) => ({ kind: 'appended', seq: i + 1 })));
      // 205 is not there, so what follows it cannot be either.
      const gap = await Promise.all([200, 205, 206, 207].map((last) => log.append(utf8('late'), last)));
      expect(gap.map(({ kind }) => kind)).toEqual(['appended', 'conflict', 'conflict', 'conflict']);
      expect(await log.lastSeq()).toBe(201);
    });

    test('is opened again with what it had', async () => {
      const name = newName();
      const first = await open({ name });
      await first.append(utf8('kept'), 0);
      expect((await collect(await open({ name }), 1)).map(({ entry }) => fromUtf8(entry))).toEqual(['kept']);
    });

    test('a truncated log without entries says so to a reader, and gives the next number', async () => {
      const log = await open();
      for (let i = 0; i < 3; i++) await log.append(utf8('x'), i);
      await log.truncate(3);
      await expect(collect(log, 3)).rejects.toMatchObject({ code: 'KF_LOG_TRUNCATED' });
      expect(await collect(log, 4)).toEqual([]);
      expect(await log.append(utf8('next'), 3)).toEqual({ kind: 'appended', seq: 4 });
    });

    test('tells few entries without a consumer, which nobody can make while the servers elect their leader', async () => {
      const log = await open();
      await Promise.all(Array.from({ length: 200 }, (_, i) => log.append(utf8(`${i + 1}`), i)));
      let consumers = 0;
      const listening = connection.subscribe(`$JS.API.CONSUMER.*.${log.name}.>`, { callback: () => void consumers++ });
      await connection.flush();
      expect((await collect(log, 190)).map(({ seq, entry }) => `${seq} ${fromUtf8(entry)}`)).toEqual(
        Array.from({ length: 11 }, (_, i) => `${190 + i} ${190 + i}`),
      );
      await connection.flush();
      expect(consumers).toBe(0);
      expect(await collect(log, 2)).toHaveLength(199);
      await waitFor('a consumer', async () => consumers > 0);
      listening.unsubscribe();
    });

    test('is followed: what is there, and what comes later, until the reader has enough', async () => {
      const log = await open();
      await log.append(utf8('1'), 0);
      const abort = new AbortController();
      const seen: number[] = [];
      const following = (async () => {
        for await (const { seq } of log.follow(1, abort.signal)) seen.push(seq);
      })();
      await waitFor('the first entry', async () => seen.length === 1);
      for (let i = 1; i < 50; i++) await log.append(utf8(`${i}`), i);
      await waitFor('the other entries', async () => seen.length === 50);
      expect(seen).toEqual(Array.from({ length: 50 }, (_, i) => i + 1));
      abort.abort();
      await following;
    });

    test('a follower that is to stop while its consumer is being made stops', async () => {
      const log = await open();
      for (let delayMs = 0; delayMs < 8; delayMs += 0.5) {
        const abort = new AbortController();
        const next = log.follow(1, abort.signal).next();
        for (const endMs = performance.now() + delayMs; performance.now() < endMs; ) await new Promise((resolve) => setImmediate(resolve));
        abort.abort();
        expect(await next).toMatchObject({ done: true });
      }
    }, 20_000);

    test('a follower that waits for entries hears it when the stream goes', async () => {
      const log = await open();
      const following = collect({ read: (fromSeq: number) => log.follow(fromSeq) }, 1);
      following.catch(() => {});
      await waitFor('its consumer', async () =>
        (await jetstreamManager(connection)).streams.info(log.name).then(({ state }) => state.consumer_count === 1),
      );
      await log.delete();
      await expect(following).rejects.toMatchObject({ code: 'KF_LOG_LOST' });
    }, 20_000);

    test('refuses an entry beyond what the server takes, and names the limit', async () => {
      const log = await open();
      await expect(log.append(new Uint8Array(log.maxEntryBytes + 1), 0)).rejects.toMatchObject({
        code: 'KF_ENTRY_TOO_LARGE',
        message: expect.stringContaining(String(log.maxEntryBytes)) as string,
      });
      expect(await log.append(new Uint8Array(log.maxEntryBytes), 0)).toEqual({ kind: 'appended', seq: 1 });
    });

    test('a stream that is gone is KF_LOG_LOST to a reader, and of unknown outcome to a writer', async () => {
      const log = await open();
      await log.append(utf8('x'), 0);
      await log.delete();
      await log.delete();
      expect(await log.append(utf8('y'), 1)).toEqual({ kind: 'unknown' });
      await expect(log.lastSeq()).rejects.toMatchObject({ code: 'KF_LOG_LOST' });
      await expect(collect(log, 1)).rejects.toMatchObject({ code: 'KF_LOG_LOST' });
    });

    test('a stream that would lose entries by itself is refused, and its setting named', async () => {
      const manager = await jetstreamManager(connection);
      const name = newName();
      await manager.streams.add({ name, subjects: [name], max_msgs: 10 });
      await expect(open({ name })).rejects.toMatchObject({ code: 'KF_LOG_UNSAFE', message: expect.stringContaining('max_msgs') as string });
    });

    test('a name that no stream can have is refused', async () => {
      await expect(open({ name: 'a.b' })).rejects.toMatchObject({ code: 'KF_BAD_OPTION' });
    });

    test('a server that does not answer is KF_UNAVAILABLE at every step of opening', async () => {
      // Without JetStream, so that it can be played.
      const other = await NatsServers.start(binary, 1, { lines: 'jetstream: disabled' });
      const plain = await other.connect();
      const refuse = (code: number): string => JSON.stringify({ error: { code: 400, err_code: code, description: 'no' } });
      // There is none; it cannot be made; there is one, made by somebody else.
      const script = [refuse(10059), refuse(10058), undefined];
      for (let answered = 0; answered < script.length; answered++) {
        const left = script.slice(0, answered);
        const playing = plain.subscribe('$JS.API.STREAM.*.played', {
          callback: (_, message) => {
            const answer = left.shift();
            if (answer !== undefined) message.respond(answer);
          },
        });
        const opening = jetStreamLog({ connection: plain, name: 'played', timeoutMs: 200 });
        await expect(opening).rejects.toMatchObject({ code: 'KF_UNAVAILABLE', retryable: true });
        playing.unsubscribe();
      }
      await other.stop();
    });

    test('a reader whose consumer cannot be reached makes another one at once, and does not wait for what cannot come', async () => {
      // Without JetStream, so that it can be played: consumers that nobody knows where to find.
      const other = await NatsServers.start(binary, 1, { lines: 'jetstream: disabled' });
      const plain = await other.connect();
      const config = streamConfig({ name: 'played', replicas: 1 });
      const state = { messages: 0, bytes: 0, first_seq: 1, last_seq: 0, consumer_count: 0 };
      plain.subscribe('$JS.API.STREAM.INFO.played', {
        callback: (_, message) => void message.respond(JSON.stringify({ config, state, created: new Date(0).toISOString() })),
      });
      const consumers: string[] = [];
      plain.subscribe('$JS.API.CONSUMER.CREATE.played.*', {
        callback: (_, message) => {
          const name = message.subject.split('.').at(-1)!;
          consumers.push(name);
          const settings = { deliver_policy: 'by_start_sequence', opt_start_seq: 1 };
          message.respond(JSON.stringify({ stream_name: 'played', name, config: settings }));
        },
      });
      await plain.flush();
      const log = await jetStreamLog({ connection: plain, name: 'played', replicas: 1 });
      const abort = new AbortController();
      const following = collect({ read: (from) => log.follow(from, abort.signal) }, 1);
      await waitFor('consumers', async () => consumers.length >= 2);
      abort.abort();
      expect(await following).toEqual([]);
      // The client would count on with a consumer of the same name; these are each the first of theirs.
      expect(consumers.filter((name) => !name.endsWith('_1'))).toEqual([]);
      await other.stop();
    });

    test('asks again what gets lost, as questions do while servers elect a leader', async () => {
      const own = await servers.connect();
      const log = await jetStreamLog({ connection: own, name: 'asked-again', replicas: 1 });
      expect(await log.append(utf8('entry'), 0)).toEqual({ kind: 'appended', seq: 1 });
      const ask = own.request.bind(own);
      let lost = 0;
      own.request = (subject, ...more) => (subject.includes('STREAM.INFO') && lost++ === 0 ? new Promise(() => {}) : ask(subject, ...more));
      expect(await log.lastSeq()).toBe(1);
      expect(lost).toBeGreaterThan(1);
    });

    test('whoever has read all that was spoken of is not kept waiting by a watch that has no consumer', async () => {
      const own = await servers.connect();
      const log = await jetStreamLog({ connection: own, name: 'watched', replicas: 1 });
      const ask = own.request.bind(own);
      let fail: (() => void) | undefined;
      let questions = 0;
      own.request = (subject, ...more) => {
        if (subject.includes('STREAM.INFO')) questions++;
        if (!subject.includes('CONSUMER.CREATE')) return ask(subject, ...more);
        return new Promise((_, reject) => {
          fail = () => reject(new Error('gone'));
        });
      };
      const watch = new WatchedLog(log, { fromSeq: 1 });
      await waitFor('its question for a consumer', async () => fail !== undefined);
      for (let i = 0; i < 3; i++) await watch.append(utf8(`${i}`), i);
      questions = 0;
      expect(await collect(watch, 4)).toEqual([]);
      expect(questions).toBe(0);
      expect(await collect(watch, 1)).toHaveLength(3);
      const closing = watch.close();
      fail?.();
      await closing;
    });

    test('says which servers put writes at risk, and goes on with them only when told to', async () => {
      const known = await natsRisks(connection, { monitors: servers.monitors });
      if (binary.startsWith('/usr/')) {
        expect(known).toEqual([expect.stringMatching(/before 2\.15\.1 .* cannot sync every write$/)]);
        expect(natsAdvice(known[0]!)).toContain('nats-server 2.15.1 or newer');
      } else {
        expect(known).toEqual([]);
        expect(await checkNatsServers(connection, { monitors: servers.monitors })).toEqual([]);
      }
      await expect(checkNatsServers(connection)).rejects.toMatchObject({ code: 'KF_NATS_UNSAFE' });
      expect(await checkNatsServers(connection, { allowUnsafe: true })).not.toEqual([]);
    });
  });
});

describe.skipIf(!hasRecentNats)('three servers', () => {
  let servers: NatsServers;
  beforeAll(async () => {
    servers = await NatsServers.start(NATS_SERVERS[0]!.binary, 3);
  }, 60_000);
  afterAll(() => servers?.stop());

  test('kill -9 of the server that leads a stream: every acknowledged entry is there once, and numbers have no gap', async () => {
    const connection = await servers.connect();
    const name = newName();
    let log: JetStreamLog | undefined;
    await waitFor('a stream on three servers', async () => {
      log = await jetStreamLog({ connection, name, replicas: 3, timeoutMs: 3_000 });
      return true;
    });
    const writer = log!;
    const acknowledged = new Map<number, string>();
    let last = 0;
    let unknown = 0;
    let stop = false;
    const writing = (async () => {
      for (let i = 0; !stop && i < 100_000; i++) {
        const outcome = await writer.append(utf8(`entry ${i}`), last);
        if (outcome.kind === 'appended') acknowledged.set((last = outcome.seq), `entry ${i}`);
        else if (outcome.kind === 'conflict') last = outcome.lastSeq;
        else unknown++;
      }
    })();
    await waitFor('entries', async () => acknowledged.size > 200);
    const manager = await jetstreamManager(connection);
    const leader = (await manager.streams.info(name)).cluster!.leader!;
    const killed = servers.names.indexOf(leader);
    await servers.kill(killed);
    const before = acknowledged.size;
    await waitFor('entries under another leader', async () => acknowledged.size > before + 200, 60_000);
    servers.startOne(killed);
    stop = true;
    await writing;
    await servers.ready();
    const records = await collect(writer, 1);
    expect(records.map(({ seq }) => seq)).toEqual(records.map((_, i) => i + 1));
    const text = new Map(records.map(({ seq, entry }) => [seq, fromUtf8(entry)]));
    expect([...acknowledged].filter(([seq, entry]) => text.get(seq) !== entry)).toEqual([]);
    // What is there beyond the acknowledged ones had no answer.
    expect(records.length - acknowledged.size).toBeLessThanOrEqual(unknown);
  }, 120_000);
});
