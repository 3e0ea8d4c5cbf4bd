// `npm run check`: format and lint, types, and the tests of the house itself (layering, tidiness).
import { bin, ensureInstalled, run } from './ready.mjs';

ensureInstalled();
run(bin('biome'), ['ci', '--error-on-warnings', '.']);
run(bin('tsc'), ['--noEmit']);
run(bin('vitest'), ['run', 'test/house', '--reporter=dot']);
