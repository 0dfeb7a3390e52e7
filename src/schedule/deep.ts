// When a network is deep: what ONNX Runtime does to its step before the first run then takes longer than training. In: a
// graph. Out: yes or no. Invariant: decided once, before lowering; plan and runtime follow.

import type { Graph } from '../ir/index.js';

/** Nodes of the forward pass; a step has about 20 times as many. A CIFAR ResNet of 110 layers has 390. */
const DEEP = 600;

/**
 * Whether a step's graph optimizer, whose passes take time quadratic in the number of nodes, is to be left out, and the
 * planner to be spared (autodiff/views.ts). Of the optimizer's work only a product's fused transposition is missed.
 */
export function isDeep(graph: Graph): boolean {
  let count = 0;
  for (const node of graph.nodes) if (node.phase === 'forward') count++;
  return count > DEEP;
}
