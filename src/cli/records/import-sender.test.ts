import { expect, test } from 'vitest';
import { KeyfleetError } from '../../base/errors.ts';
import type { ServerClient } from '../client/server-client.ts';
import { ImportSender } from './import-sender.ts';

test('a batch that the server does not take is sent again, and says why until one is taken', async () => {
  const refusals: `KF_${string}`[] = ['KF_UNREACHABLE', 'KF_DISK_FULL'];
  const client = {
    async request(): Promise<Response> {
      const code = refusals.shift();
      if (code !== undefined) throw new KeyfleetError(code, 'not now', { retryable: true });
      return Response.json({ written: 1, created: 1 });
    },
  } as unknown as ServerClient;
  const told: string[] = [];
  const acknowledged: number[] = [];
  const sender = new ImportSender<number>({
    client,
    keyspace: 'default',
    retryForMs: 60_000,
    signal: new AbortController().signal,
    onAcknowledged: (mark) => acknowledged.push(mark),
    onTrouble: (why) => told.push(why),
  });
  await sender.add(1, { key: Buffer.from('k'), value: Buffer.from('v'), ttlMs: undefined }, () => 1);
  await sender.finish(1);
  expect(told).toEqual(['the server does not answer, trying again', 'KF_DISK_FULL, trying again', '']);
  expect(acknowledged).toEqual([1]);
  expect(sender.counts).toEqual({ written: 1, created: 1, wasRetried: true });
});
