import type { KeyInput } from '../../partition/hasher.ts';
import { algorithmNamed } from './algorithms.ts';
import type { Fleet } from './fleet.ts';

/** What an algorithm is given of each key: its tag, where the fleet has hash tags and the algorithm itself knows none; else all of it. */
export function keyCutter({ algorithm, hashTag }: Fleet): (key: KeyInput) => KeyInput {
  if (hashTag === undefined || algorithmNamed(algorithm).knowsTags) return (key) => key;
  const [open, close] = [hashTag[0]!, hashTag[1]!];
  return (key) => {
    if (typeof key === 'string') {
      const start = key.indexOf(open);
      const end = start < 0 ? -1 : key.indexOf(close, start + 1);
      return end > start + 1 ? key.slice(start + 1, end) : key;
    }
    const start = key.indexOf(open.charCodeAt(0));
    const end = start < 0 ? -1 : key.indexOf(close.charCodeAt(0), start + 1);
    return end > start + 1 ? key.subarray(start + 1, end) : key;
  };
}
