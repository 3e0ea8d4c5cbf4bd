import type { Socket } from 'node:net';

// Node gives each chunk that it reads a buffer of its own: 64 KiB allocated, cut to what came, and left to the collector, about 1 µs a read,
// which is a tenth of all that a request takes that comes alone. `onread`, an option of sockets that Node documents, reads into a buffer of
// the caller's, but a server's sockets are made by the server, which does not take the option. So it is set where the option would have put
// it: under symbols of the socket, and in its handle. A Node where these are not found is left to its own ways.

interface Handle {
  useUserBuffer?(buffer: Buffer): unknown;
}

/**
 * Has `socket`, of a server that has just accepted it, put all that it reads into `buffer` from its beginning, and call `onRead` with the
 * length; the next read overwrites it. Several sockets may share a buffer. There are no `data` events then; `pause`, `resume`, `end`
 * and the others are as ever. False when this Node cannot, and nothing has changed.
 */
export function readInto(socket: Socket, buffer: Buffer, onRead: (length: number) => void): boolean {
  const { _handle: handle } = socket as unknown as { readonly _handle?: Handle | null };
  const fields = socket as unknown as Record<symbol, unknown>;
  const ofBuffer = unset(fields, 'kBuffer');
  const ofCallback = unset(fields, 'kBufferCb');
  if (!ofBuffer || !ofCallback || !unset(fields, 'kBufferGen') || typeof handle?.useUserBuffer !== 'function') return false;
  fields[ofBuffer] = buffer;
  fields[ofCallback] = (length: number): void => onRead(length);
  handle.useUserBuffer(buffer);
  return true;
}

/** The symbol of this name of an option that was not given. */
function unset(fields: Record<symbol, unknown>, name: string): symbol | undefined {
  return Object.getOwnPropertySymbols(fields).find((symbol) => symbol.description === name && fields[symbol] === null);
}
