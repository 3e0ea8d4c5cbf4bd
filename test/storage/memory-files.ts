import { basename } from 'node:path';
import type { Bytes } from '../../src/base/bytes.ts';
import type { Prng } from '../../src/base/prng.ts';
import type { Files, JournalFile } from '../../src/storage/files.ts';

const SECTOR_BYTES = 512;

type Operation =
  | { readonly kind: 'make'; readonly path: string; readonly bytes: number }
  | { readonly kind: 'write'; readonly path: string; readonly offset: number; readonly bytes: Buffer; readonly synced: boolean }
  | { readonly kind: 'sync'; readonly path: string }
  | { readonly kind: 'rename'; readonly path: string; readonly to: string }
  | { readonly kind: 'remove'; readonly path: string };

/** Files in memory that remember each thing done to them, so that a test can ask what a crash at any point would have left. */
export class MemoryFiles implements Files {
  readonly operations: Operation[] = [];
  /** Room for files; making one beyond it fails with ENOSPC. */
  capacityBytes = Number.POSITIVE_INFINITY;
  /** Fails the next write or sync with this code. */
  failWith: string | undefined;
  readonly #contents = new Map<string, Buffer>();

  constructor(contents: ReadonlyMap<string, Buffer> = new Map()) {
    for (const [path, bytes] of contents) this.#contents.set(path, Buffer.from(bytes));
  }

  get contents(): ReadonlyMap<string, Buffer> {
    return this.#contents;
  }

  list(): string[] {
    return [...this.#contents.keys()].map((path) => basename(path));
  }

  read(path: string): Buffer {
    return Buffer.from(this.#contents.get(path)!);
  }

  open(path: string, synced: boolean): JournalFile {
    return {
      write: (parts, offset, done) =>
        this.#later(done, () => this.#do({ kind: 'write', path, offset, bytes: Buffer.concat(parts), synced })),
      sync: (done) => this.#later(done, () => this.#do({ kind: 'sync', path })),
      close: () => {},
    };
  }

  async makeZeroed(path: string, bytes: number): Promise<void> {
    this.makeZeroedSync(path, bytes);
  }

  makeZeroedSync(path: string, bytes: number): void {
    let used = bytes;
    for (const content of this.#contents.values()) used += content.length;
    if (used > this.capacityBytes) throw systemError('ENOSPC');
    this.#do({ kind: 'make', path, bytes });
  }

  async rename(from: string, to: string): Promise<void> {
    this.#do({ kind: 'rename', path: from, to });
  }

  async remove(paths: readonly string[]): Promise<void> {
    for (const path of paths) this.#do({ kind: 'remove', path });
  }

  syncSync(path: string): void {
    this.#do({ kind: 'sync', path });
  }

  #later(done: (error: Error | null) => void, work: () => void): void {
    const code = this.failWith;
    if (code === undefined) work();
    setImmediate(() => done(code === undefined ? null : systemError(code)));
  }

  #do(operation: Operation): void {
    this.operations.push(operation);
    carryOut(this.#contents, operation, undefined);
  }
}

function systemError(code: string): NodeJS.ErrnoException {
  return Object.assign(new Error(`${code}: made up by the test`), { code });
}

/** `keeps` says of each sector of the file whether the write reached it; undefined: all. */
function carryOut(contents: Map<string, Buffer>, operation: Operation, keeps: ((at: number) => boolean) | undefined): void {
  const { path } = operation;
  switch (operation.kind) {
    case 'make':
      contents.set(path, Buffer.alloc(operation.bytes));
      break;
    case 'write': {
      const content = contents.get(path)!;
      const { bytes, offset } = operation;
      if (offset + bytes.length > content.length) throw new Error(`write beyond the end of ${path}`);
      if (!keeps) bytes.copy(content, offset);
      else for (let at = 0; at < bytes.length; at++) if (keeps(offset + at)) content[offset + at] = bytes[at]!;
      break;
    }
    case 'rename':
      contents.set(operation.to, contents.get(path)!);
      contents.delete(path);
      break;
    case 'remove':
      contents.delete(path);
      break;
    case 'sync':
      break;
  }
}

/** What a process crash leaves that catches the write `operations[count]` after `cut` bytes: all before it, and that much of it. */
export function cutAfter(operations: readonly Operation[], count: number, cut: number): Map<string, Buffer> {
  const contents = new Map<string, Buffer>();
  for (const operation of operations.slice(0, count)) carryOut(contents, operation, undefined);
  const last = operations[count];
  if (last?.kind === 'write') carryOut(contents, { ...last, bytes: Buffer.from(last.bytes.subarray(0, cut)) } as Operation, undefined);
  return contents;
}

/** What a power loss during `operations[count]` leaves: what was synced, and any sectors of what was not. */
export function powerLoss(operations: readonly Operation[], count: number, chance: Prng): Map<string, Buffer> {
  const contents = new Map<string, Buffer>();
  const done = operations.slice(0, count + 1);
  for (const [at, operation] of done.entries()) {
    const { path } = operation;
    const isSafe =
      operation.kind !== 'write' ||
      (at < count && (operation.synced || done.slice(at, count).some((later) => later.kind === 'sync' && later.path === path)));
    const share = chance.below(4) / 3;
    const salt = chance.u32();
    // The same sector of one write has one fate.
    const keeps = (byte: number): boolean => (Math.imul(Math.floor(byte / SECTOR_BYTES) ^ salt, 0x9e3779b1) >>> 0) / 2 ** 32 < share;
    carryOut(contents, operation, isSafe ? undefined : keeps);
  }
  return contents;
}

export type { Bytes, Operation };
