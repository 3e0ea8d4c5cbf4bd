// The page of the browser test: answers on demand, and shares a ring with a web worker.
import { SharedRing } from '../../src/partition/index.ts';
import { type Answers, answers, KEYS, NODES } from './answers.ts';

declare const window: { answers: () => Answers; sharedWithWorker: () => Promise<readonly string[]> };
declare class Worker {
  constructor(url: string, options: { type: 'module' });
  onmessage: ((event: { data: readonly string[] }) => void) | null;
  postMessage(message: unknown): void;
}

window.answers = answers;

/** Owners as a worker sees them: of the first half of the keys before a change that this thread makes, of the rest after it. */
window.sharedWithWorker = async () => {
  const ring = new SharedRing(NODES);
  const worker = new Worker('/worker.js', { type: 'module' });
  const ask = (keys: readonly string[]): Promise<readonly string[]> =>
    new Promise((resolve) => {
      worker.onmessage = ({ data }) => resolve(data);
      worker.postMessage({ handle: ring.share(), keys });
    });
  const first = await ask(KEYS.slice(0, KEYS.length / 2));
  ring.remove('node-3');
  const second = await ask(KEYS.slice(KEYS.length / 2));
  return [...first, ...second];
};
