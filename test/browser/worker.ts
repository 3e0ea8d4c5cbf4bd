// A web worker that reads a ring shared by its page; it opens the ring once.
import { SharedRing, type SharedRingHandle, type SharedRingReader } from '../../src/partition/index.ts';

declare const self: {
  onmessage: ((event: { data: { readonly handle: SharedRingHandle; readonly keys: readonly string[] } }) => void) | null;
  postMessage(message: unknown): void;
};

let reader: SharedRingReader | undefined;
self.onmessage = ({ data: { handle, keys } }) => {
  reader ??= SharedRing.open(handle);
  self.postMessage(keys.map((key) => reader!.owner(key).id));
};
