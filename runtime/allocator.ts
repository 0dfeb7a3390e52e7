// What the system's allocator needs from the environment. In: which allocator a step runs with. Out: variables, and
// whether this process would have to be started again for them. Invariant: training and measuring decide alike.
//
// Without the arena large tensors come from the system's malloc: all of them, or those of the first step and the block
// of the pattern after it. glibc must be told, when the process starts, to take large blocks from the system and to give
// them back; otherwise freed tensors leave holes in its heap (1.9 GB for a ResNet-50's step of 0.4 GB).

import type { Allocator } from '../src/plan/index.js';

/** What the environment of a process without the arena must hold when it starts. */
export const MALLOC_ENVIRONMENT = {
  MALLOC_MMAP_THRESHOLD_: '131072',
  MALLOC_TRIM_THRESHOLD_: '131072',
} as const;

/** Whether this process would have to be started again for a step without the arena to be as small as it can. */
export const needsMallocEnvironment = (allocator: Allocator): boolean =>
  process.platform === 'linux' &&
  allocator !== 'arena' &&
  process.env.MALLOC_MMAP_THRESHOLD_ === undefined;
