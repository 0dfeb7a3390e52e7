import { defineConfig } from 'vitest/config';

// The everyday tests. Long suites (training runs, PyTorch comparisons) have configs of their own.
export default defineConfig({
  test: {
    include: ['test/**/*.test.ts'],
    exclude: ['test/torch/**', 'test/long/**', 'test/fuzz/**', 'test/webgpu/**'],
    testTimeout: 120_000,
    hookTimeout: 120_000,
    maxWorkers: 2,
  },
});
