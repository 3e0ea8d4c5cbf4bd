import { describe, expect, test } from 'vitest';
import { utf8 } from '../base/bytes.ts';
import { MemoryStorage } from '../storage/memory.ts';
import { GroupCommit } from './group-commit.ts';

/** A storage whose disk ends when the test says so, and a clock whose turns and timers do. */
function open() {
  const storage = new MemoryStorage({ holdDurability: true });
  const [turnEnds, timers] = [[] as (() => void)[], new Set<() => void>()];
  const commits = new GroupCommit(storage, {
    atTurnEnd: (callback) => turnEnds.push(callback),
    after: (_ms, callback) => {
      timers.add(callback);
      return () => timers.delete(callback);
    },
  });
  let writes = 0;
  return {
    storage,
    commits,
    timers,
    write: (isAwaited: boolean): number => {
      storage.put(utf8(`key ${writes++}`), utf8('value'));
      return commits.wrote(isAwaited);
    },
    endTurn: (): void => {
      for (const end of turnEnds.splice(0)) end();
    },
    timePasses: (): void => {
      for (const callback of [...timers]) callback();
    },
  };
}

describe('the open batch of a node', () => {
  test('is closed at the end of the turn when somebody waits for it, with all that was written', () => {
    const { storage, write, endTurn } = open();
    expect([write(true), write(true), write(false)]).toEqual([1, 1, 1]);
    expect(storage.committed).toBe(0);
    endTurn();
    expect(storage.committed).toBe(1);
    expect(write(true)).toBe(2);
  });

  test('takes all that comes while the disk syncs, and is closed when that is done', () => {
    const { storage, write, endTurn } = open();
    write(true);
    endTurn();
    expect([write(true), write(true)]).toEqual([2, 2]);
    endTurn();
    expect(storage.committed).toBe(1);
    storage.release();
    expect(storage.committed).toBe(2);
  });

  test('is left open while nobody waits for it, for a while', () => {
    const { storage, write, endTurn, timePasses, timers } = open();
    write(false);
    endTurn();
    write(false);
    expect(storage.committed).toBe(0);
    expect(timers.size).toBe(1);
    timePasses();
    endTurn();
    expect(storage.committed).toBe(1);
    expect(timers.size).toBe(0);
  });

  test('is not closed behind one that was synced while nobody waits for it', () => {
    const { storage, write, endTurn, timePasses } = open();
    write(true);
    endTurn();
    write(false);
    storage.release();
    endTurn();
    expect(storage.committed).toBe(1);
    timePasses();
    endTurn();
    expect(storage.committed).toBe(2);
  });

  test('goes with the first write that somebody waits for', () => {
    const { storage, write, endTurn } = open();
    write(false);
    endTurn();
    expect(write(true)).toBe(1);
    endTurn();
    expect(storage.committed).toBe(1);
  });

  test('is closed after so many writes that nobody waits for', () => {
    const { storage, write, endTurn } = open();
    let count = 0;
    while (storage.committed === 0 && count < 10_000) {
      write(false);
      endTurn();
      count++;
    }
    expect(count).toBe(256);
  });

  test('waits for the disk also when its time is over', () => {
    const { storage, write, endTurn, timePasses } = open();
    write(true);
    endTurn();
    write(false);
    timePasses();
    endTurn();
    expect(storage.committed).toBe(1);
    storage.release();
    expect(storage.committed).toBe(2);
  });
});
