import { once } from 'node:events';
import { type AddressInfo, connect, createServer, type Socket } from 'node:net';
import { afterEach, expect, test } from 'vitest';
import { readInto } from './read-into.ts';

const server = createServer({ allowHalfOpen: true });
afterEach(() => {
  server.close();
});

test('a socket of a server reads into the buffer it is given, can be paused, and says when it ends', async () => {
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  const accepted = once(server, 'connection') as Promise<[Socket]>;
  const client = connect((server.address() as AddressInfo).port, '127.0.0.1');
  const buffer = Buffer.alloc(8);
  const seen: string[] = [];
  server.once('connection', (socket: Socket) => {
    // When this Node, or one to come, has other ways, connections go on by `data` events: slower, and this says so.
    expect(readInto(socket, buffer, (length) => seen.push(buffer.toString('latin1', 0, length)))).toBe(true);
  });
  const [socket] = await accepted;
  client.write('one');
  await expect.poll(() => seen).toEqual(['one']);
  socket.pause();
  client.write('two and three');
  await new Promise((resolve) => setTimeout(resolve, 20));
  expect(seen).toEqual(['one']);
  socket.resume();
  await expect.poll(() => seen.join('')).toBe('onetwo and three');
  expect(seen.every((chunk) => chunk.length <= buffer.length)).toBe(true);
  const ended = once(socket, 'end');
  client.end();
  await ended;
  socket.end();
  await once(client, 'close');
});
