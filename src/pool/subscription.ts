import type { Bytes } from '../base/bytes.ts';
import type { BackendConnection } from './backend-connection.ts';
import type { PoolCore } from './pool-core.ts';
import { replyValue } from './reply-value.ts';
import { encodeRequest } from './request-encoder.ts';

/** A channel that is listened to. */
export interface Subscription {
  readonly channel: string;
  /** Ends it. */
  close(): void;
}

const RETRY_MS = 250;

/** Subscribes to a channel on the server of its name; resolves once the server has confirmed. */
export function subscribe(core: PoolCore, channel: string, onMessage: (message: Buffer, channel: string) => void): Promise<Subscription> {
  return new Promise((resolve, reject) => {
    let connection: BackendConnection | undefined;
    let timer: NodeJS.Timeout | undefined;
    let closed = false;
    let confirmed = false;
    const subscription: Subscription = {
      channel,
      close: () => {
        closed = true;
        clearTimeout(timer);
        connection?.close();
      },
    };
    const onPush = (bytes: Bytes, start: number): void => {
      const [kind, , what] = replyValue(bytes, start, true, channel) as [Buffer, Buffer, Buffer];
      if (String(kind) === 'message') onMessage(what, channel);
      else if (String(kind) === 'subscribe' && !confirmed) {
        confirmed = true;
        resolve(subscription);
      }
    };
    const open = (): void => {
      try {
        const server = core.serverOf(channel);
        connection = core.openPrivate(server, {
          onPush,
          onClose: (error) => {
            if (closed || error === undefined) return;
            if (confirmed) timer = setTimeout(open, RETRY_MS);
            else reject(error);
          },
        });
      } catch (error) {
        reject(error);
        return;
      }
      connection.pushing = true;
      connection.write(encodeRequest(['SUBSCRIBE', channel]));
    };
    open();
  });
}
