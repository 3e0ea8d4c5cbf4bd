import { existsSync, readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { KeyfleetError, messageOf } from '../../base/errors.ts';

/** A small JSON file that says how far interrupted work had come. Replaced whole, so it is never half written. */
export class Checkpoint<T extends object> {
  readonly path: string;

  constructor(path: string) {
    this.path = path;
  }

  /** @throws KF_CHECKPOINT when there is one that cannot be understood. */
  read(): T | undefined {
    if (!existsSync(this.path)) return undefined;
    try {
      const json: unknown = JSON.parse(readFileSync(this.path, 'utf8'));
      if (typeof json === 'object' && json !== null && (json as { readonly version?: unknown }).version === 1) return json as T;
      throw new Error('it is of another version');
    } catch (error) {
      throw new KeyfleetError('KF_CHECKPOINT', `cannot take up where ${this.path} left off: ${messageOf(error)}; --restart begins anew`);
    }
  }

  write(state: T): void {
    const scratch = `${this.path}.new`;
    writeFileSync(scratch, `${JSON.stringify({ ...state, version: 1 })}\n`);
    renameSync(scratch, this.path);
  }

  remove(): void {
    rmSync(this.path, { force: true });
  }
}
