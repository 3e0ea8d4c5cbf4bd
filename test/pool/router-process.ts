import { createPool, isKeyfleetError } from '../../src/pool/index.ts';

// A router in a process of its own: it carries out what its parent sends, and may be killed at any moment.

/** From the parent: one command. */
export interface Asked {
  readonly id: number;
  readonly args: readonly (string | number)[];
}

/** To the parent; without an id: it is ready. Values that are no numbers or lists come as text. */
export interface Answered {
  readonly id?: number;
  readonly value?: unknown;
  readonly error?: string;
}

const [, , file, url] = process.argv;
if (file !== undefined && url !== undefined && process.send) {
  const pool = createPool({ file, control: { url } });
  const answer = (message: Answered): void => void process.send!(message);
  process.on('message', ({ id, args }: Asked) => {
    pool.call(args).then(
      (value) => answer({ id, value }),
      (error: unknown) => answer({ id, error: isKeyfleetError(error) ? `${error.code} ${error.message}` : String(error) }),
    );
  });
  process.on('disconnect', () => process.exit(0));
  answer({});
}
