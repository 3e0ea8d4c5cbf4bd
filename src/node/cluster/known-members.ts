import { isKeyfleetError } from '../../base/errors.ts';
import { ANYONE, type Transport } from '../../transport/transport.ts';
import { requestWhole } from './large-answers.ts';
import type { MetaView } from './meta-view.ts';
import { MEMBERS } from './node-messages.ts';
import { decodeJson } from './reports.ts';

const TIMEOUT_MS = 5_000;

/** The other nodes of a cluster; a new one, which knows nobody, asks whoever hears it. */
export class KnownMembers {
  readonly #transport: Transport;
  readonly #meta: () => MetaView;
  readonly #onError: (error: Error) => void;
  /** Those that somebody has named, before this node knows them itself. */
  #found: readonly string[] = [];

  constructor(transport: Transport, meta: () => MetaView, onError: (error: Error) => void) {
    this.#transport = transport;
    this.#meta = meta;
    this.#onError = onError;
  }

  others(): readonly string[] {
    const known = this.#meta().cluster.nodes.flatMap(({ id, status }) => (status === 'left' ? [] : [id]));
    if (known.length === 0) this.#ask();
    return [...known, ...this.#found].filter((id) => id !== this.#transport.self);
  }

  #ask(): void {
    requestWhole(this.#transport, ANYONE, MEMBERS, new Uint8Array(0), TIMEOUT_MS)
      .then((answer) => {
        this.#found = decodeJson<string[]>(answer);
      })
      .catch((error: unknown) => {
        if (!isKeyfleetError(error)) throw error;
        this.#onError(error);
      });
  }
}
