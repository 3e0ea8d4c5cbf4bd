import { expect, test } from 'vitest';
import { MemoryLogs } from '../../log/memory-logs.ts';
import { InProcessNetwork } from '../../transport/in-process.ts';
import { KnownMembers } from './known-members.ts';
import type { MetaView } from './meta-view.ts';
import { encodeJson } from './reports.ts';

test('a node that knows nobody but itself asks whoever hears it who else there is', async () => {
  const network = new InProcessNetwork();
  const transport = network.join('a');
  await network.join('b').serve(() => new Uint8Array([0, ...encodeJson(['a', 'b', 'c'])]));
  const meta = { cluster: { nodes: [{ id: 'a', status: 'up' }] } } as unknown as MetaView;
  const failed: Error[] = [];
  const members = new KnownMembers({
    self: 'a',
    transport,
    logs: new MemoryLogs(),
    meta: () => meta,
    onError: (error) => failed.push(error),
  });
  await expect.poll(() => members.others()).toEqual(['b', 'c']);
  expect(failed).toEqual([]);
});
