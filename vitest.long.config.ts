import { defineConfig } from 'vitest/config';

// Tests that take minutes.
export default defineConfig({
  test: {
    include: ['test/long/**/*.test.ts'],
    testTimeout: 600_000,
    maxWorkers: 1,
  },
});
