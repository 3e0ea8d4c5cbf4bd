import { readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { connect } from 'node:net';
import { describe, expect, test } from 'vitest';
import { type Bytes, concatBytes } from '../../src/base/bytes.ts';
import { latin1 } from '../../src/resp/codec/ascii.ts';
import { REPLY_WHOLE, ReplyScanner } from '../../src/resp/codec/reply-scanner.ts';
import { startRespServer } from '../../src/resp/server.ts';
import { FakeKeyspace } from './fake-keyspace.ts';

// Conversations with the server, as they are on the wire, in testdata/*.txt. A paragraph is a fresh server and one connection:
//   # says what it shows          @ name=value starts the server with this setting
//   > REQUEST waits for its reply, whose lines follow ("" is an empty one); >~ REQUEST has none; ! closed: the server has ended the connection

const folder = new URL('./testdata/', import.meta.url);

for (const file of readdirSync(folder).filter((name) => name.endsWith('.txt'))) {
  const path = new URL(file, folder);
  const before = readFileSync(path, 'utf8');
  describe(file, () => {
    const paragraphs = before.trimEnd().split(/\n\n+/);
    const after: string[] = [];
    test.each(paragraphs.map((paragraph) => [paragraph.split('\n')[0]!.replace(/^# /, ''), paragraph]))('%s', async (_title, paragraph) => {
      const held = await hold(paragraph);
      after.push(held);
      if (!process.env['KEYFLEET_REWRITE']) expect(held).toBe(paragraph);
      else if (after.length === paragraphs.length) writeFileSync(path, `${after.join('\n\n')}\n`);
    });
  });
}

/** Holds the conversation of a paragraph and returns it with the replies that came. */
async function hold(paragraph: string): Promise<string> {
  const lines = paragraph.split('\n').filter((line) => /^(#|@|>~?|!) /.test(line));
  const settings = Object.fromEntries(lines.filter((line) => line.startsWith('@ ')).map((line) => line.slice(2).split('=')));
  const keyspace = new FakeKeyspace('later');
  const server = await startRespServer({ keyspace, info: { version: '0.0.0', typeOf: () => 'string' }, port: 0, settings });
  const wire = await Wire.open(server.address.port);
  const shown: string[] = [];
  try {
    for (const line of lines) {
      shown.push(line);
      if (line.startsWith('> ')) {
        wire.send(`${line.slice(2)}\r\n`);
        shown.push(...(await wire.reply()));
      } else if (line.startsWith('>~ ')) wire.send(`${line.slice(3)}\r\n`);
      else if (line === '! closed') await wire.ended();
    }
    expect(wire.rest).toBe('');
  } finally {
    wire.close();
    await server.close({ graceMs: 0 });
  }
  return shown.join('\n');
}

class Wire {
  readonly #socket: ReturnType<typeof connect>;
  readonly #scanner = new ReplyScanner();
  #received: Bytes = new Uint8Array(0);
  #hasEnded = false;

  private constructor(port: number) {
    this.#socket = connect({ port });
    this.#socket.on('data', (chunk: Buffer) => {
      this.#received = concatBytes(this.#received, chunk);
    });
    this.#socket.on('error', () => undefined);
    this.#socket.on('end', () => {
      this.#hasEnded = true;
    });
  }

  static open(port: number): Promise<Wire> {
    const wire = new Wire(port);
    return new Promise((resolve) => wire.#socket.once('connect', () => resolve(wire)));
  }

  send(text: string): void {
    this.#socket.write(text);
  }

  /** The lines of the next reply. */
  async reply(): Promise<string[]> {
    for (const deadline = Date.now() + 5_000; Date.now() < deadline; ) {
      this.#scanner.push(this.#received);
      this.#received = new Uint8Array(0);
      if (this.#scanner.next() === REPLY_WHOLE) {
        const text = latin1(this.#scanner.bytes, this.#scanner.start, this.#scanner.end - 2);
        return text.split('\r\n').map((line) => (line === '' ? '""' : line));
      }
      if (this.#hasEnded) return ['(closed)'];
      await new Promise((resolve) => setTimeout(resolve, 1));
    }
    throw new Error('no reply');
  }

  async ended(): Promise<void> {
    for (let i = 0; i < 5_000 && !this.#hasEnded; i++) await new Promise((resolve) => setTimeout(resolve, 1));
    expect(this.#hasEnded).toBe(true);
  }

  /** Bytes that came unasked. */
  get rest(): string {
    return latin1(this.#received);
  }

  close(): void {
    this.#socket.destroy();
  }
}
