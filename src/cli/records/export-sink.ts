import { type FileHandle, open, rename } from 'node:fs/promises';
import { KeyfleetError, messageOf } from '../../base/errors.ts';

/** Where an export goes. */
export interface ExportSink {
  /** Resolves when it can take more. */
  write(text: string | Uint8Array): Promise<void>;
  readonly writtenBytes: number;
  /** Nobody reads it any more. */
  readonly isClosed: boolean;
  /** Takes back what was written after `writtenBytes`; false when it cannot. */
  backTo(writtenBytes: number): Promise<boolean>;
  /** Keeps what there is for a later run. */
  close(): Promise<void>;
  /** It is whole. */
  finish(): Promise<void>;
}

export class StdoutSink implements ExportSink {
  writtenBytes = 0;
  isClosed = false;
  #wake = (): void => {};

  constructor() {
    // A reader that has had enough (`| head`) is no error of ours.
    const closed = (): void => {
      this.isClosed = true;
      this.#wake();
    };
    process.stdout.on('error', closed).on('close', closed);
    process.stdout.on('drain', () => this.#wake());
  }

  async write(text: string | Uint8Array): Promise<void> {
    if (text.length === 0 || this.isClosed) return;
    this.writtenBytes += Buffer.byteLength(text);
    if (process.stdout.write(text)) return;
    await new Promise<void>((resolve) => {
      this.#wake = resolve;
    });
  }

  async backTo(writtenBytes: number): Promise<boolean> {
    return writtenBytes === this.writtenBytes;
  }

  async close(): Promise<void> {}

  async finish(): Promise<void> {
    if (!this.isClosed) await new Promise<void>((resolve) => process.stdout.write('', () => resolve()));
  }
}

/** Writes FILE.part, which gets the name FILE when it is whole. */
export class FileSink implements ExportSink {
  readonly isClosed = false;
  writtenBytes: number;
  readonly #file: FileHandle;
  readonly #path: string;

  private constructor(file: FileHandle, path: string, writtenBytes: number) {
    this.#file = file;
    this.#path = path;
    this.writtenBytes = writtenBytes;
  }

  /** Goes on after the first `keptBytes` of an earlier run. @throws KF_USAGE when it cannot be written, KF_CHECKPOINT when it is shorter. */
  static async open(path: string, keptBytes: number): Promise<FileSink> {
    const part = `${path}.part`;
    let file: FileHandle;
    try {
      file = await open(part, keptBytes > 0 ? 'r+' : 'w');
    } catch (error) {
      throw new KeyfleetError('KF_USAGE', `cannot write ${part}: ${messageOf(error)}`, { cause: error });
    }
    const { size } = await file.stat();
    if (size < keptBytes) {
      await file.close();
      throw new KeyfleetError('KF_CHECKPOINT', `${part} is shorter than the earlier run left it; --restart begins anew`);
    }
    await file.truncate(keptBytes);
    return new FileSink(file, path, keptBytes);
  }

  async write(text: string | Uint8Array): Promise<void> {
    const bytes = typeof text === 'string' ? Buffer.from(text, 'utf8') : text;
    for (let at = 0; at < bytes.length; ) {
      const { bytesWritten } = await this.#file.write(bytes, at, bytes.length - at, this.writtenBytes);
      at += bytesWritten;
      this.writtenBytes += bytesWritten;
    }
  }

  async backTo(writtenBytes: number): Promise<boolean> {
    await this.#file.truncate(writtenBytes);
    this.writtenBytes = writtenBytes;
    return true;
  }

  async close(): Promise<void> {
    await this.#file.close();
  }

  async finish(): Promise<void> {
    await this.#file.datasync();
    await this.#file.close();
    await rename(`${this.#path}.part`, this.#path);
  }
}
