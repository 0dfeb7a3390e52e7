import { defineConfig } from 'vitest/config';

// The step on a GPU made of software (SwiftShader, from the npm registry). Shaders are compiled anew by every process.
export default defineConfig({
  test: {
    include: ['test/webgpu/**/*.test.ts'],
    testTimeout: 900_000,
    hookTimeout: 120_000,
    maxWorkers: 1,
  },
});
