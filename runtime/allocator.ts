// Which allocator a training step runs with. In: its plan. Out: ONNX Runtime's arena or the system's malloc, and what
// malloc needs from the environment. Invariant: training and measuring decide alike, as the plan says.
//
// The arena keeps what it once took, and what lies between tensors of different sizes is lost. Without it a step takes
// what it asks for, but every tensor is fresh memory, zeroed page by page. glibc must be told, when the process
// starts, to take large blocks from the system and to give them back; otherwise freed tensors leave holes in its
// heap (1.9 GB for a ResNet-50's step of 0.4 GB).

import type { Plan } from '../src/plan/index.js';

export const prefersArena = (plan: Plan): boolean => plan.memory.plan.allocator === 'arena';

/** What the environment of a process without the arena must hold when it starts. */
export const MALLOC_ENVIRONMENT = {
  MALLOC_MMAP_THRESHOLD_: '131072',
  MALLOC_TRIM_THRESHOLD_: '131072',
} as const;

/** Whether this process would have to be started again for a step without the arena to be as small as it can. */
export const needsMallocEnvironment = (plan: Plan): boolean =>
  process.platform === 'linux' &&
  !prefersArena(plan) &&
  process.env.MALLOC_MMAP_THRESHOLD_ === undefined;
