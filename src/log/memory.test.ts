import { logConformance } from './log.conformance.ts';
import { MemoryLog } from './memory.ts';

logConformance('in memory', async () => new MemoryLog());
