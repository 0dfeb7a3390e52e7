import { defineConfig } from 'vitest/config';

// Damaged files and random networks, for as long as FUZZ_SECONDS says.
export default defineConfig({
  test: {
    include: ['test/fuzz/**/*.test.ts'],
    testTimeout: 7_200_000,
    maxWorkers: 1,
  },
});
