import { readdir } from 'node:fs/promises';
import { connect, type Socket } from 'node:net';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import type { DoorLimits } from '../../src/volume/http-door.ts';
import { startVolumeServer } from '../../src/volume/volume-server.ts';
import { eventually, Fleet } from './fleet.ts';

// Clients that send slowly, or never end, must not hold up the others for longer than the limits say, and leave nothing behind.

const LIMITS: DoorLimits = { headersMs: 1_000, stalledMs: 1_200, leastBodyBytes: 1_024, connections: 30 };

let fleet: Fleet;
const sockets: Socket[] = [];
beforeEach(async () => {
  fleet = new Fleet();
  await fleet.addVolume();
  const port = await fleet.killVolume(0);
  fleet.volumes[0] = await startVolumeServer({ path: fleet.dirs[0]!, port, limits: LIMITS });
  await fleet.start({ limits: LIMITS });
});
afterEach(async () => {
  for (const socket of sockets.splice(0)) socket.destroy();
  await fleet.close();
});

interface Conversation {
  readonly socket: Socket;
  /** All that came back until the server ended the connection. */
  readonly answer: Promise<string>;
}

function open(port: number, head: string): Conversation {
  const socket = connect(port, '127.0.0.1');
  socket.write(head);
  sockets.push(socket);
  const answer = new Promise<string>((resolve) => {
    let text = '';
    socket.on('data', (piece) => {
      text += piece.toString('latin1');
    });
    socket.on('error', () => {});
    socket.on('close', () => resolve(text));
  });
  return { socket, answer };
}

/** Sends `piece` again and again until the server has ended the connection. */
async function drip({ socket, answer }: Conversation, piece: string): Promise<string> {
  const timer = setInterval(() => {
    if (socket.writable) socket.write(piece);
  }, 50);
  const ended = await Promise.race([answer, sleep(20_000, undefined, { ref: false })]);
  clearInterval(timer);
  if (ended === undefined) throw new Error('the server has not ended the connection within 20 s');
  return ended;
}

const tmpFiles = async (): Promise<number> => {
  const tmp = join(fleet.dirs[0]!, 'tmp');
  const folders = await readdir(tmp);
  return (await Promise.all(folders.map((folder) => readdir(join(tmp, folder))))).flat().length;
};

describe.each([
  ['a volume', () => fleet.volumes[0]!.port],
  ['a master', () => fleet.master!.port],
])('%s', (_, portNow) => {
  const status = async (path: string): Promise<number> => (await fetch(`http://127.0.0.1:${portNow()}${path}`)).status;

  test('ends a request whose headers never end, and says why', async () => {
    const answer = await drip(open(portNow(), 'GET / HTTP/1.1\r\nHost: localhost\r\nX-Slow: '), 'x');
    expect(answer).toContain('KF_REQUEST_INCOMPLETE');
    expect(await status('/')).toBe(200);
  });

  test.each([
    ['never come', (_piece: string) => ''],
    ['come drop by drop', (piece: string) => piece],
  ])('ends requests whose bodies %s; nothing is stored', async (_name, pieceOf) => {
    const bodies = [
      ['Content-Length: 5000', 'x'],
      ['Content-Length: 5000000', 'x'],
      ['Transfer-Encoding: chunked', '1\r\nx\r\n'],
    ] as const;
    await Promise.all(
      bodies.map(([header, piece], index) =>
        drip(open(portNow(), `PUT /set/slow-${index} HTTP/1.1\r\nHost: localhost\r\n${header}\r\n\r\n`), pieceOf(piece)),
      ),
    );
    for (const index of bodies.keys()) expect(await status(`/get/slow-${index}`)).toBe(404);
    await eventually(async () => (await tmpFiles()) === 0);
  });

  test('takes a body that comes slowly and steadily, for longer than any limit', async () => {
    const { socket, answer } = open(
      portNow(),
      'PUT /set/steady HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nContent-Length: 40960\r\n\r\n',
    );
    for (let count = 0; count < 20; count++) {
      socket.write('x'.repeat(2_048));
      await sleep(100);
    }
    expect(await answer).toMatch(/^HTTP\/1.1 200 /);
    expect(await status('/get/steady')).toBe(200);
  });

  test('serves others while as many as it takes are slow, and again after more than that', async () => {
    const slow = Array.from({ length: 20 }, () => open(portNow(), 'GET / HTTP/1.1\r\nHost: loc'));
    expect(await status('/')).toBe(200);
    const more = Array.from({ length: 40 }, () => open(portNow(), 'GET / HTTP/1.1\r\nHost: loc'));
    await Promise.all([...slow, ...more].map(({ answer }) => answer));
    expect(await status('/')).toBe(200);
  });
});
