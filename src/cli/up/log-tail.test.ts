import { appendFileSync, mkdtempSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { LogTail } from './log-tail.ts';

let dir: string;
let path: string;
let lines: string[];
let tail: LogTail;
beforeEach(() => {
  dir = mkdtempSync(join(tmpdir(), 'keyfleet-tail-'));
  path = join(dir, 'server.log');
  lines = [];
  tail = new LogTail(path, (line) => lines.push(line));
});
afterEach(() => {
  tail.close();
  rmSync(dir, { recursive: true, force: true });
});

test('hands over whole lines, as they become whole', () => {
  tail.read();
  writeFileSync(path, 'one\ntw');
  tail.read();
  expect(lines).toEqual(['one']);
  appendFileSync(path, 'o\n\nthree\n');
  tail.read();
  expect(lines).toEqual(['one', 'two', '', 'three']);
});

test('a line that ends in the middle of a character comes whole', () => {
  const bytes = Buffer.from('Grüße\n');
  writeFileSync(path, bytes.subarray(0, 3));
  tail.read();
  appendFileSync(path, bytes.subarray(3));
  tail.read();
  expect(lines).toEqual(['Grüße']);
});

test('long lines, longer than what is read at a time', () => {
  const long = 'x'.repeat(200_000);
  writeFileSync(path, `${long}\nshort\n`);
  tail.read();
  expect(lines).toEqual([long, 'short']);
});

test('goes on with the file that takes the name, from its beginning', () => {
  writeFileSync(path, 'old\n');
  tail.read();
  renameSync(path, `${path}.1`);
  writeFileSync(path, 'new\nnewer\n');
  tail.read();
  expect(lines).toEqual(['old', 'new', 'newer']);
});
