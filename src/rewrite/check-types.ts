// Do the types in a graph agree with its operators? In: a well-formed model. Out: the values whose stated type the
// operator contradicts, and the nodes whose operands do not fit. Invariant: the model is not changed; what cannot
// be known is no problem.

import { DiagnosticError } from '../diagnostics/index.js';
import { formatType } from '../ir/index.js';
import type { Model, Node, TensorType } from '../ir/index.js';
import type { Problem } from '../ir/verify.js';
import { findOp, inferContext } from '../ops/index.js';

const RULE = 'R10 types-agree-with-operators';

/** Whether one value can have both types: open extents agree with any. */
export function compatible(a: TensorType, b: TensorType): boolean {
  if (a.dtype !== b.dtype) return false;
  const [x, y] = [a.shape, b.shape];
  if (!x || !y) return true;
  return (
    x.length === y.length &&
    x.every((d, i) => typeof d === 'string' || typeof y[i] === 'string' || d === y[i])
  );
}

/** Every disagreement, in the order of the nodes. */
export function findWrongTypes({ graph }: Model): Problem[] {
  const problems: Problem[] = [];
  for (const node of graph.nodes) {
    const report = (message: string): void =>
      void problems.push({ rule: RULE, where: `node ${node.name} (${node.op})`, message });
    for (const [index, type] of inferred(node, report).entries()) {
      const value = node.outputs[index];
      if (value?.type && type && !compatible(value.type, type))
        report(
          `its result ${value.name} is said to be ${formatType(value.type)}, the operator makes ${formatType(type)}`,
        );
    }
  }
  return problems;
}

function inferred(
  node: Node,
  report: (message: string) => void,
): readonly (TensorType | undefined)[] {
  const definition = findOp(node);
  if (!definition) return [];
  try {
    return definition.infer(inferContext(node));
  } catch (error) {
    // Types that are not known yet are no contradiction.
    if (error instanceof DiagnosticError && error.code !== 'shape/mismatch') return [];
    report(error instanceof DiagnosticError ? error.why : String(error));
    return [];
  }
}
