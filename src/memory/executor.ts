// What ONNX Runtime's CPU executor does with memory. In: an ordered graph with static shapes. Out: the order in
// which nodes run, and for every value the buffer it lives in. Invariant: follows the executor's rules for views
// and in-place results; what the executor does beyond them (operator fusion) can only lower the sum.

import { byteSize } from '../ir/index.js';
import type { Graph, Node, Value } from '../ir/index.js';
import { executionOrder } from '../schedule/index.js';

/** Operators whose result is a view of operand 0. */
const VIEWS = new Set(['Reshape', 'Flatten', 'Squeeze', 'Unsqueeze', 'Identity']);

/** Operators that may write their result over an operand of the same size that nobody reads afterwards. */
const IN_PLACE: ReadonlyMap<string, readonly number[]> = new Map([
  ['Add', [0, 1]],
  ['Sub', [0, 1]],
  ['Mul', [0, 1]],
  ['Div', [0, 1]],
  ['Relu', [0]],
  ['Clip', [0]],
  ['Exp', [0]],
  ['Log', [0]],
  ['Sqrt', [0]],
  ['Neg', [0]],
  ['Abs', [0]],
  ['Reciprocal', [0]],
  ['Sigmoid', [0]],
  ['Tanh', [0]],
]);

/** Memory that one or several values occupy in turn. */
export interface Buffer {
  readonly bytes: number;
  /** The values that live in it, the one that allocated it first. */
  readonly values: Value[];
  /** Positions in the order of execution: allocated before `first` runs, free after `last` has run. */
  readonly first: number;
  last: number;
}

export interface Execution {
  readonly order: readonly Node[];
  readonly buffers: readonly Buffer[];
}

/**
 * @param external values whose memory the caller provides: graph inputs, constants, preallocated outputs
 */
export function simulate(graph: Graph, external: ReadonlySet<Value>): Execution {
  const order = executionOrder(graph);
  const position = new Map<Node, number>();
  order.forEach((node, index) => position.set(node, index));
  const owner = new Map<Value, Buffer>();
  const buffers: Buffer[] = [];
  const lastRead = (value: Value): number =>
    value.users.reduce((last, user) => Math.max(last, position.get(user) ?? 0), -1);
  const results = new Set(graph.outputs);

  order.forEach((node, now) => {
    const reusable = (index: number, bytes: number): Buffer | undefined => {
      const value = node.inputs[index];
      const buffer = value && owner.get(value);
      // A view or an earlier in-place result may still be read under another name: last covers all of them.
      return buffer?.bytes === bytes && buffer.last === now ? buffer : undefined;
    };
    node.outputs.forEach((value, index) => {
      if (!value || external.has(value)) return;
      const bytes = value.type ? byteSize(value.type) : undefined;
      if (bytes === undefined) return;
      const end = results.has(value) ? order.length : Math.max(now, lastRead(value));
      let buffer: Buffer | undefined;
      if (index === 0 && node.domain === '') {
        const source = node.inputs[0];
        if (VIEWS.has(node.op) && source) {
          // A view of external memory takes none; a view of a buffer keeps it alive.
          buffer = owner.get(source);
          if (!buffer) return;
        } else
          for (const operand of IN_PLACE.get(node.op) ?? []) {
            buffer = reusable(operand, bytes);
            if (buffer) break;
          }
      }
      if (buffer) {
        buffer.last = Math.max(buffer.last, end);
        buffer.values.push(value);
      } else {
        buffer = { bytes, values: [value], first: now, last: end };
        buffers.push(buffer);
      }
      owner.set(value, buffer);
    });
  });
  return { order, buffers };
}
