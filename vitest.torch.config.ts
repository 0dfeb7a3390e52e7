import { defineConfig } from 'vitest/config';

// Comparisons with PyTorch. They need a python3 with torch, numpy and onnx, and fail without it.
export default defineConfig({
  test: {
    include: ['test/torch/**/*.test.ts'],
    testTimeout: 600_000,
    maxWorkers: 1,
  },
});
