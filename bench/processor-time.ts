import { readFileSync } from 'node:fs';

/** Of Linux's clock in /proc: `getconf CLK_TCK` is 100 on all machines that Node runs on. */
const TICK_MS = 10;

/** Processor time that a process has taken so far, all its threads, in milliseconds; by Linux's /proc, in steps of 10. */
export function processorMs(pid: number): number {
  const fields = readFileSync(`/proc/${pid}/stat`, 'utf8')
    .replace(/^.*\) /, '')
    .split(' ');
  return (Number(fields[11]) + Number(fields[12])) * TICK_MS;
}
