/** What has something to write. */
export interface Flushable {
  flush(): void;
}

let waiting: Flushable[] = [];
let spare: Flushable[] = [];

/** Calls `one.flush()` at the end of this turn of the event loop, when all that came in during it has been looked at. */
export function flushSoon(one: Flushable): void {
  if (waiting.push(one) === 1) setImmediate(flushAll);
}

function flushAll(): void {
  const due = waiting;
  waiting = spare;
  for (const one of due) one.flush();
  due.length = 0;
  spare = due;
}
