import { type FileHandle, open } from 'node:fs/promises';

/**
 * Makes renames and removals in directories durable, sharing the work: all who ask for a directory while one fsync of it runs share the next.
 * Directory handles stay open (there are at most 256 of them).
 */
export class DirSyncer {
  readonly #handles = new Map<string, Promise<FileHandle>>();
  readonly #running = new Map<string, Promise<void>>();
  readonly #waiting = new Map<string, Promise<void>>();

  sync(dir: string): Promise<void> {
    const running = this.#running.get(dir);
    if (running === undefined) return this.#start(dir);
    let waiting = this.#waiting.get(dir);
    if (waiting === undefined) {
      const next = (): Promise<void> => {
        this.#waiting.delete(dir);
        return this.#start(dir);
      };
      waiting = running.then(next, next);
      this.#waiting.set(dir, waiting);
    }
    return waiting;
  }

  #start(dir: string): Promise<void> {
    const run = this.#fsync(dir).finally(() => {
      if (this.#running.get(dir) === run) this.#running.delete(dir);
    });
    this.#running.set(dir, run);
    return run;
  }

  async #fsync(dir: string): Promise<void> {
    let handle = this.#handles.get(dir);
    if (handle === undefined) {
      handle = open(dir, 'r');
      this.#handles.set(dir, handle);
      handle.catch(() => this.#handles.delete(dir));
    }
    await (await handle).sync();
  }

  async close(): Promise<void> {
    await Promise.allSettled(this.#running.values());
    for (const handle of this.#handles.values()) await (await handle.catch(() => undefined))?.close();
    this.#handles.clear();
  }
}
