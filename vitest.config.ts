import { defineConfig } from 'vitest/config';

export default defineConfig({
  test: {
    include: ['src/**/*.test.ts', 'test/**/*.test.ts', 'sim/**/*.test.ts', 'bench/**/*.test.ts'],
    setupFiles: ['test/fixed-seeds.ts'],
    pool: 'forks',
    // Many tests wait for other processes: three at a time keep two cores busy.
    maxWorkers: 3,
    testTimeout: 30_000,
    hookTimeout: 60_000,
    // One second, the default, is not enough on a busy machine.
    expect: { poll: { timeout: 20_000 } },
  },
});
