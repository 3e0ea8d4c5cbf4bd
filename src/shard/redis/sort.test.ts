import { describe, expect, test } from 'vitest';
import { ModuleStore } from '../../../test/redis-differential/module-store.ts';
import { fromUtf8, utf8 } from '../../base/bytes.ts';
import type { Reply } from './reply.ts';

const text = (reply: Reply): unknown =>
  reply instanceof Uint8Array
    ? fromUtf8(reply)
    : Array.isArray(reply)
      ? reply.map(text)
      : typeof reply === 'object' && reply !== null && 'text' in reply
        ? reply.text
        : reply;

function conversation(): (line: string) => unknown {
  const store = new ModuleStore({ maxStringBytes: 1_000_000 });
  return (line) => text(store.run(line.split(' ').map(utf8)));
}

// Most of it is compared with Redis itself, in test/redis-differential.
describe('SORT', () => {
  test('orders by what other keys hold and answers what others hold', () => {
    const run = conversation();
    run('RPUSH {u}ids 1 2 3');
    run('SET {u}weight:1 30');
    run('SET {u}weight:2 4');
    run('HSET {u}user:2 name Ben');
    run('HSET {u}user:3 name Cleo');
    expect(run('SORT {u}ids BY {u}weight:*')).toEqual(['3', '2', '1']);
    expect(run('SORT_RO {u}ids BY {u}weight:* DESC LIMIT 0 2 GET # GET {u}user:*->name')).toEqual(['1', null, '2', 'Ben']);
    expect(run('SORT {u}ids BY {u}user:*->name ALPHA GET {u}user:*->name')).toEqual([null, 'Ben', 'Cleo']);
    expect(run('SORT {u}ids GET {u}user:*->name STORE {u}names')).toBe(3);
    expect(run('LRANGE {u}names 0 -1')).toEqual(['', 'Ben', 'Cleo']);
    expect(run('SORT {u}none STORE {u}names')).toBe(0);
    expect(run('EXISTS {u}names')).toBe(0);
  });

  test('refuses patterns whose keys may be in other slots, as a Redis Cluster does', () => {
    const run = conversation();
    run('RPUSH {u}ids 1 2 3');
    const refusal = (option: string) =>
      `ERR ${option} option of SORT denied in cluster mode when keys formed by the pattern may be in different slots.`;
    for (const pattern of ['weight:*', '{v}weight:*', '*{u}', '{u*}x', '{}*']) {
      expect(run(`SORT {u}ids BY ${pattern}`)).toBe(refusal('BY'));
      expect(run(`SORT_RO {u}ids GET ${pattern}`)).toBe(refusal('GET'));
    }
    expect(run('SORT {u}ids BY nosort DESC')).toEqual(['3', '2', '1']);
    expect(run('SORT_RO {u}ids STORE {u}x')).toBe('ERR syntax error');
    expect(run('SORT {u}ids LIMIT 1')).toBe('ERR syntax error');
  });
});
