import { cpSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect } from 'vitest';
import { fromUtf8, utf8 } from '../../src/base/bytes.ts';
import type { KeyspaceRuntime } from '../../src/node/keyspace-runtime.ts';
import { StoreNode } from '../../src/node/store-node.ts';
import { mapOf } from '../../src/shard/meta/meta-records.ts';
import type { Workflow } from '../../src/shard/meta/shard-map.ts';
import type { WorkflowStep } from '../../src/shard/meta/workflow-step.ts';
import { type PlainAnswer, type PlainCommand, type PlainQuery, type PlainReply, plain, plainBytes } from '../../src/shard/plain-bytes.ts';
import { openStorage } from '../../src/storage/lmdb.ts';
import type { Storage } from '../../src/storage/storage.ts';
import { cutAfter, MemoryFiles } from '../storage/memory-files.ts';

// A store on the real storage, whose journal lies in files that remember each write, so that a crash can cut it anywhere. It takes the steps of splits
// and merges only as far as it is let, and each in a batch of its own.

export const WORDS = ['apple', 'fig', 'grape', 'kiwi', 'lime', 'mango', 'melon', 'olive', 'peach', 'plum'];

type Users = KeyspaceRuntime<Uint8Array, PlainCommand, PlainReply, PlainQuery, PlainAnswer>;

export class Conversation {
  readonly #scratch = mkdtempSync(join(tmpdir(), 'keyfleet-steps-'));
  #lives = 0;
  #dir = '';
  files = new MemoryFiles();
  #storage: Storage | undefined;
  #node: StoreNode | undefined;
  #users: Users | undefined;
  /** Steps that may still be taken. */
  budget = 0;
  readonly #taken: string[] = [];
  /** Answers that came, and those still waited for. */
  readonly #heard: string[] = [];
  #waiting = 0;

  get dir(): string {
    return this.#dir;
  }

  get users(): Users {
    return this.#users!;
  }

  async open(files = new MemoryFiles()): Promise<void> {
    this.#dir = join(this.#scratch, `${this.#lives++}`);
    this.files = new MemoryFiles(
      new Map([...files.contents].map(([path, bytes]) => [join(this.#dir, path.split('/').slice(-2).join('/')), bytes])),
    );
    const storage = (this.#storage = await openStorage({ dir: this.#dir, files: this.files, segmentBytes: 64 * 1024 }));
    this.#node = await StoreNode.open({
      storage,
      // Nothing happens by itself here.
      workflowEveryMs: 0,
      mayTakeStep: (step) => {
        if (this.budget === 0) return false;
        this.budget--;
        this.#taken.push(showStep(step));
        return true;
      },
    });
    this.#users = await this.#node.registerKeyspace('users', { module: plainBytes, shards: 1 });
  }

  /** The power goes off in the middle of writing what nobody was told of yet, and comes back. */
  async crash(): Promise<void> {
    const storage = this.#storage!;
    await this.#node!.flush();
    // What a start found in the journal goes to LMDB by itself.
    if (this.#lives > 1) await expect.poll(() => storage.stats().flushCount, { timeout: 10_000 }).toBeGreaterThan(0);
    const before = this.files.operations.length;
    storage.put(utf8('unsynced'), utf8('lost'));
    await storage.whenDurable(storage.commit());
    const at = this.files.operations.findIndex(({ kind }, index) => index >= before && kind === 'write');
    const left = new MemoryFiles(cutAfter(this.files.operations, at, 7));
    const from = this.#dir;
    const to = join(this.#scratch, `${this.#lives}`);
    cpSync(from, to, { recursive: true, filter: (path) => !path.endsWith('lock.mdb') });
    await this.#node!.close();
    this.#waiting = 0;
    this.#heard.length = 0;
    await this.open(left);
  }

  async close(): Promise<void> {
    await this.#node?.close();
    rmSync(this.#scratch, { recursive: true, force: true });
  }

  /** Does what a line says, and returns the lines that it answers. */
  async say(line: string): Promise<string[]> {
    const [verb, ...words] = line.split(' ') as [string, ...string[]];
    const node = this.#node!;
    switch (verb) {
      case 'fill':
        for (const word of WORDS) this.#put(word, 'old');
        await node.flush();
        return [`${WORDS.length} keys`];
      case 'split':
        this.budget = Number(words[3] ?? 0);
        return this.#steps(() => node.workflows('users').split(Number(words[0]!.slice(1)), Number.parseInt(words[1]!, 16)));
      case 'merge':
        this.budget = Number(words[2] ?? 0);
        return this.#steps(() => node.workflows('users').merge(Number(words[0]!.slice(1))));
      case 'cancel':
        this.budget = Number(words[2] ?? 0);
        return this.#steps(() => node.workflows('users').cancel(Number(words[0])));
      case 'go':
        this.budget = words[0] === 'on' ? 99 : Number(words[0]);
        return this.#steps(() => node.lookAtShards());
      case 'put':
        this.#put(words[0]!, words[1]!);
        return this.#answers();
      case 'get':
        this.#waiting++;
        this.users.ask(
          utf8(words[0]!),
          plain.get(),
          {
            settled: (_, { value }) => this.#hear(`${words[0]} = ${value ? fromUtf8(value) : 'nothing'}`),
            failed: (_, error) => this.#hear(String(error)),
          },
          0,
        );
        return this.#answers();
      case 'crash':
        await this.crash();
        return this.state();
      case 'state':
        return this.state();
      case 'check':
        return this.#check();
      default:
        throw new Error(`what is ${verb}?`);
    }
  }

  /** The map of the meta shard, and what each shard says of itself. */
  state(): string[] {
    const record = this.#node!.keyspaceRecords()[0]!;
    const map = mapOf(record);
    const shards = [...this.users.table.members()].sort((a, b) => a.machine.state.id - b.machine.state.id);
    return [
      `meta  ${map.shards.map(({ id, range }) => `s${id} ${showRange(range)}`).join('  ')}${map.workflows.map((one) => `  ${showWorkflow(one)}`).join('')}`,
      ...shards.map(({ machine: { state } }) => {
        const { id, range, status, keyCount, phase, op } = state;
        return `  s${id}  ${showRange(range)} ${status}, ${keyCount} keys${op === 0 ? '' : `, ${phase} in ${op}`}`;
      }),
    ];
  }

  async #steps(work: () => Promise<unknown>): Promise<string[]> {
    this.#taken.length = 0;
    try {
      await work();
    } catch (error) {
      return [String(error)];
    }
    await this.#node!.flush();
    return [...this.#taken.map((step) => `  ${step}`), ...(await this.#answers()).filter((answer) => answer !== 'waits'), ...this.state()];
  }

  #put(key: string, value: string): void {
    this.#waiting++;
    const heard = (text: string): void => this.#hear(value === 'old' ? undefined : `${key}: ${text}`);
    this.users.submit(utf8(key), plain.set(utf8(value)), { settled: () => heard('ok'), failed: (_, error) => heard(String(error)) }, 0);
  }

  #hear(text: string | undefined): void {
    this.#waiting--;
    if (text !== undefined) this.#heard.push(text);
  }

  async #answers(): Promise<string[]> {
    await this.#node!.flush();
    return this.#waiting > 0 && this.#heard.length === 0 ? ['waits'] : this.#heard.splice(0);
  }

  /** Every key, in order of position, with what it holds; and whether the counts say the same. */
  async #check(): Promise<string[]> {
    const { records } = await this.users.scan({ cursor: 0, limit: 1_000 });
    const counted = this.users.shards.reduce((sum, { machine }) => sum + machine.state.keyCount, 0);
    const changed = records
      .filter(({ value }) => fromUtf8(value) !== 'old')
      .map(({ key, value }) => `${fromUtf8(key)} = ${fromUtf8(value)}`);
    return [`${records.length} keys, ${counted} counted${changed.length > 0 ? `; ${changed.join(', ')}` : ''}`];
  }
}

function showRange({ from, to }: { readonly from: number; readonly to: number }): string {
  const hex = (position: number): string => (position === 0x1_0000_0000 ? 'end' : position.toString(16).padStart(8, '0'));
  return `[${hex(from)}, ${hex(to)})`;
}

function showStep(step: WorkflowStep): string {
  if (step.kind === 'append') return `${step.command.kind} to s${step.shard}`;
  return step.kind === 'meta' ? `${step.change.kind} to the meta shard` : `s${step.shard} is forgotten`;
}

function showWorkflow(workflow: Workflow): string {
  const cancelling = 'isCancelling' in workflow ? ', cancelling' : '';
  switch (workflow.kind) {
    case 'split':
      return `(${workflow.op}: s${workflow.parent} gives [${workflow.at.toString(16)}, … to s${workflow.child}${cancelling})`;
    case 'merge':
      return `(${workflow.op}: s${workflow.left} takes over s${workflow.right}${cancelling})`;
    case 'retire':
      return `(${workflow.op}: s${workflow.shard} is put away)`;
    case 'move':
      return `(${workflow.op}: s${workflow.shard} comes to ${workflow.add})`;
  }
}
