import type { Command } from 'commander';
import type { ShardsReport, WorkflowReport } from '../../http/shard-admin.ts';
import type { KeyspacePolicy } from '../../shard/policy.ts';
import { ServerClient, serverAddress } from '../client/server-client.ts';
import { usage } from '../terminal/usage.ts';

export interface ShardsFlags {
  readonly url?: string;
  readonly passwordFile?: string;
  readonly keyspace: string;
  readonly json?: boolean;
}

export function withServerFlags(command: Command): Command {
  return command
    .option('--keyspace <name>', 'the keyspace', 'default')
    .option('--json', 'print JSON')
    .option('--url <url>', 'the server (http://127.0.0.1:7380)')
    .option('--password-file <file>', "file whose first line is the server's password");
}

/** The shards of a keyspace of a running server. */
export class ShardsClient {
  readonly #client: ServerClient;
  readonly #base: string;

  constructor(flags: ShardsFlags) {
    this.#client = new ServerClient(serverAddress(flags), 30_000);
    this.#base = `/v1/keyspaces/${encodeURIComponent(flags.keyspace)}`;
  }

  report(): Promise<ShardsReport> {
    return this.#ask('GET', '/shards');
  }

  split(shard: number, at: number | undefined): Promise<WorkflowReport> {
    return this.#ask('POST', `/shards/${shard}/split`, at === undefined ? {} : { at });
  }

  merge(shard: number): Promise<WorkflowReport> {
    return this.#ask('POST', `/shards/${shard}/merge`, {});
  }

  policy(): Promise<KeyspacePolicy> {
    return this.#ask('GET', '/policy');
  }

  setPolicy(change: Readonly<Record<string, number | null>>): Promise<KeyspacePolicy> {
    return this.#ask('PATCH', '/policy', change);
  }

  async #ask<T>(method: string, path: string, body?: object): Promise<T> {
    const sent = body && { type: 'application/json', bytes: JSON.stringify(body) };
    return (await (await this.#client.request(method, this.#base + path, sent)).json()) as T;
  }
}

/** @throws KF_USAGE. */
export function shardNumber(text: string): number {
  if (!/^s?\d{1,15}$/.test(text)) throw usage(`a shard has a number, as keyfleet shards shows it, not ${JSON.stringify(text)}`);
  return Number(text.replace('s', ''));
}
