import { type ChildProcess, spawn } from 'node:child_process';
import { type ClientHttp2Session, connect } from 'node:http2';
import { join } from 'node:path';
import { freePorts } from '../../src/cli/up/free-port.ts';

// etcd as a peer: real members of Debian's package on loopback, each with a data directory of its own and every write synced as it is by default, and a
// client that speaks its gRPC over HTTP/2 with Node's own client and protobuf written by hand: two calls, no layers above.

/** Three members that have a leader. */
export class EtcdMembers {
  readonly ports: readonly number[];
  readonly #children: readonly ChildProcess[];

  private constructor(ports: readonly number[], children: readonly ChildProcess[]) {
    this.ports = ports;
    this.#children = children;
  }

  static async start(dir: string, count = 3): Promise<EtcdMembers> {
    const ports = await freePorts(2 * count);
    const clients = ports.slice(0, count);
    const peers = ports.slice(count);
    const cluster = peers.map((port, i) => `e${i}=http://127.0.0.1:${port}`).join(',');
    const children = clients.map((port, i) =>
      spawn(
        'etcd',
        [
          ...['--name', `e${i}`, '--data-dir', join(dir, `e${i}`), '--log-level', 'error', '--initial-cluster', cluster],
          ...['--listen-client-urls', `http://127.0.0.1:${port}`, '--advertise-client-urls', `http://127.0.0.1:${port}`],
          ...['--listen-peer-urls', `http://127.0.0.1:${peers[i]}`, '--initial-advertise-peer-urls', `http://127.0.0.1:${peers[i]}`],
        ],
        { stdio: 'ignore' },
      ),
    );
    const members = new EtcdMembers(clients, children);
    try {
      const endMs = Date.now() + 30_000;
      while (!(await members.#areHealthy())) {
        if (Date.now() > endMs) throw new Error('etcd did not come up');
        await new Promise((resolve) => setTimeout(resolve, 100));
      }
    } catch (error) {
      await members.stop();
      throw error;
    }
    return members;
  }

  async stop(): Promise<void> {
    await Promise.all(
      this.#children.map((child) => {
        if (child.exitCode !== null || child.signalCode !== null) return undefined;
        const ended = new Promise((resolve) => child.once('exit', resolve));
        child.kill('SIGKILL');
        return ended;
      }),
    );
  }

  /** Of the member that leads: where a client is best off. */
  async leaderPort(): Promise<number> {
    const states = await Promise.all(this.ports.map((port) => status(port)));
    const at = states.findIndex(({ leader, header }) => leader === header.member_id);
    return this.ports[Math.max(0, at)]!;
  }

  async #areHealthy(): Promise<boolean> {
    const answers = await Promise.all(
      this.ports.map((port) =>
        fetch(`http://127.0.0.1:${port}/health`)
          .then((response) => response.json() as Promise<{ readonly health: string }>)
          .catch(() => ({ health: 'false' })),
      ),
    );
    return answers.every(({ health }) => health === 'true');
  }
}

async function status(port: number): Promise<{ readonly leader: string; readonly header: { readonly member_id: string } }> {
  const response = await fetch(`http://127.0.0.1:${port}/v3/maintenance/status`, { method: 'POST', body: '{}' });
  return (await response.json()) as { readonly leader: string; readonly header: { readonly member_id: string } };
}

const PUT = '/etcdserverpb.KV/Put';
const RANGE = '/etcdserverpb.KV/Range';
const KEY = 0x0a;
const VALUE = 0x12;
const SERIALIZABLE = [0x38, 1];

/** Any number of calls at once over a few connections. */
export class EtcdClient {
  readonly #sessions: readonly ClientHttp2Session[];
  #turn = 0;

  constructor(port: number, connections = 4) {
    this.#sessions = Array.from({ length: connections }, () => connect(`http://127.0.0.1:${port}`));
  }

  /** Durable on most members when it resolves. */
  async put(key: Uint8Array, value: Uint8Array): Promise<void> {
    await this.#call(PUT, [...field(KEY, key), ...field(VALUE, value)]);
  }

  /** Answers how many bytes came. Linearizable, by asking the others who leads; `isLocal`: what this member has, perhaps old. */
  async get(key: Uint8Array, isLocal: boolean): Promise<number> {
    return this.#call(RANGE, [...field(KEY, key), ...(isLocal ? [Buffer.from(SERIALIZABLE)] : [])]);
  }

  close(): void {
    for (const session of this.#sessions) session.destroy();
  }

  #call(path: string, parts: readonly Uint8Array[]): Promise<number> {
    const session = this.#sessions[this.#turn++ % this.#sessions.length]!;
    const length = parts.reduce((sum, part) => sum + part.length, 0);
    const prefix = Buffer.alloc(5);
    prefix.writeUInt32BE(length, 1);
    return new Promise((resolve, reject) => {
      const stream = session.request({ ':method': 'POST', ':path': path, 'content-type': 'application/grpc', te: 'trailers' });
      let bytes = 0;
      let grpcStatus: unknown;
      stream.on('response', (headers) => {
        grpcStatus = headers['grpc-status'];
      });
      stream.on('trailers', (trailers) => {
        grpcStatus = trailers['grpc-status'];
      });
      stream.on('data', (chunk: Buffer) => {
        bytes += chunk.length;
      });
      stream.on('error', reject);
      stream.on('end', () => (grpcStatus === '0' ? resolve(bytes) : reject(new Error(`etcd answers gRPC status ${String(grpcStatus)}`))));
      stream.end(Buffer.concat([prefix, ...parts]));
    });
  }
}

function field(tag: number, bytes: Uint8Array): Uint8Array[] {
  // Lengths of up to 16,383: two bytes of a varint.
  const length = bytes.length < 128 ? [bytes.length] : [(bytes.length & 127) | 128, bytes.length >> 7];
  return [Buffer.from([tag, ...length]), bytes];
}
