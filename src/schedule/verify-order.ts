// Does the graph itself enforce the schedule? In: a sorted step and the token each unit waits for. Out: every
// recomputed node that an executor could run too early, or merge with its forward original. Invariant: one sweep
// over the nodes. The rules are numbered S1, S2, …; numbers are never given anew.

import { elementCount, isStatic, number } from '../ir/index.js';
import type { Graph, Node, Value } from '../ir/index.js';

export interface OrderProblem {
  /** "S1 recomputed-nodes-wait" */
  readonly rule: string;
  readonly where: string;
  readonly message: string;
}

const S1 = 'S1 recomputed-nodes-wait';

/** What is known of the nodes so far, by their places. */
type Marks = Uint8Array;
const [WAITING, SMALL] = [1, 2];

/**
 * S1: every recomputed node has the token of the unit behind it among its ancestors.
 *
 * Free of it is arithmetic on channel vectors alone (a batch norm's scale from its variance): a few hundred bytes,
 * whichever copy is read and whenever. Not where it makes something larger of them (a mask from rows and columns).
 *
 * What depends on a unit's token belongs to that unit or to one that runs later, so the way from the token to one of
 * its recomputed nodes lies within the unit, and looking there is enough.
 * @param graph sorted
 * @param waits unit → the token its recompute waits for
 */
export function checkTokens(graph: Graph, waits: ReadonlyMap<string, Value>): OrderProblem[] {
  const marks: Marks = new Uint8Array(number(graph.nodes));
  const problems: OrderProblem[] = [];
  for (const node of graph.nodes) {
    const token = node.unit === undefined ? undefined : waits.get(node.unit);
    if (token && node.inputs.some((v) => v && isAfter(v, token, node, marks)))
      marks[node.place] = WAITING;
    else if (node.inputs.every((v) => !v || isVector(v, marks)) && !grows(node))
      marks[node.place] = SMALL;
    else if (node.phase === 'recompute')
      problems.push({
        rule: S1,
        where: `node ${node.name} (${node.op})`,
        message: token
          ? `it does not wait for ${token.name}`
          : `its unit ${node.unit ?? ''} has no token to wait for`,
      });
  }
  return problems;
}

const isAfter = (value: Value, token: Value, reader: Node, marks: Marks): boolean =>
  value === token ||
  (value.producer?.unit === reader.unit &&
    value.producer !== undefined &&
    marks[value.producer.place] === WAITING);

const sizeOf = ({ shape }: Value): number => (isStatic(shape) ? elementCount(shape) : Infinity);

const grows = ({ inputs, outputs }: Node): boolean => {
  const most = Math.max(0, ...inputs.map((v) => (v ? sizeOf(v) : 0)));
  return outputs.some((v) => v && (v.shape?.length ?? 0) > 1 && sizeOf(v) > most);
};

const isVector = ({ constant, shape, producer }: Value, marks: Marks): boolean =>
  (producer !== undefined && marks[producer.place] === SMALL) ||
  (shape !== undefined && shape.length <= 1) ||
  constant?.dtype === 'int64';
