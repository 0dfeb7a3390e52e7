// What the system's allocator needs from the environment. In: a plan. Out: variables, and whether this process would
// have to be started again for them. Invariant: training and measuring decide alike.
//
// Large tensors come from the system's malloc: all of them, or those of the first step and the block of the pattern
// after it. glibc must be told, when the process starts, to take large blocks from the system and to give them back;
// otherwise freed tensors leave holes in its heap (1.9 GB for a ResNet-50's step of 0.4 GB).

import type { Plan } from '../src/plan/index.js';

/** What the environment of a process must hold when it starts, for a step to be as small as it can. */
export const MALLOC_ENVIRONMENT = {
  MALLOC_MMAP_THRESHOLD_: '131072',
  MALLOC_TRIM_THRESHOLD_: '131072',
} as const;

/** A step below it is not worth a second process. */
const SMALL_STEP = 64e6;

/** Whether this process would have to be started again. */
export const needsMallocEnvironment = (plan: Plan): boolean =>
  process.platform === 'linux' &&
  plan.memory.plan.peakBytes >= SMALL_STEP &&
  process.env.MALLOC_MMAP_THRESHOLD_ === undefined;
