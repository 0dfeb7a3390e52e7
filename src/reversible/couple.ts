// Residual chains → reversible couplings. In: a run of identity blocks x_k+1 = x_k + f_k(x_k). Out: the run as
// half-couplings s_k+1 = s_k−1 + f_k(s_k) with s_0 = s_1 = the run's input, and the average of the last two
// states in place of the run's result (recipe "rewire"). Invariant: residual functions are not touched; only
// the shortcut operands of the Adds move, so every weight is carried over.
// Source: Gomez et al. 2017, "The Reversible Residual Network", section 3.1; two consecutive half-couplings
// are its y1 = x1 + F(x2), y2 = x2 + G(y1).

import { invariant } from '../diagnostics/index.js';
import type { Graph, Value } from '../ir/index.js';
import type { ResidualBlock } from '../analysis/index.js';
import { Builder } from '../ops/index.js';

/** t = a + f(b): state (a, b) before, (b, t) after. */
export interface HalfCoupling {
  readonly id: string;
  readonly a: Value;
  readonly b: Value;
  /** Value of the residual function f(b). */
  readonly f: Value;
  readonly t: Value;
}

export interface CoupledChain {
  readonly id: string;
  /** Both streams at the start. */
  readonly input: Value;
  readonly couplings: readonly HalfCoupling[];
  /** What the rest of the network reads: the average of the streams. */
  readonly output: Value;
}

/** Rewrites one run of two or more blocks. */
export function coupleRun(graph: Graph, run: readonly ResidualBlock[]): CoupledChain {
  const [first, last] = [run[0], run.at(-1)];
  invariant(first && last && run.length >= 2, 'a chain needs two blocks');
  const states: Value[] = [first.input, first.input, ...run.map((block) => block.output)];
  const state = (k: number): Value => {
    const value = states[k];
    invariant(value, `state ${k}`);
    return value;
  };
  const couplings = run.map((block, index): HalfCoupling => {
    const a = state(index);
    // In networks that activate after the Add, block.input is ReLU(state): the ReLU stays before the
    // function, the shortcut now skips it.
    block.add.setInput(block.shortcutIndex, a);
    return {
      id: block.id,
      a,
      b: state(index + 1),
      f: block.add.input(1 - block.shortcutIndex),
      t: block.output,
    };
  });
  const id = `${first.id}..${last.id}`;
  const builder = new Builder(graph, { phase: 'forward', path: `${last.id}/streams` });
  const before = new Set(last.output.users);
  const sum = builder.op('Add', [state(run.length), last.output], { name: 'sum' });
  const output = builder.op('Mul', [sum, builder.scalar(0.5)], { name: 'average' });
  const index = graph.outputs.indexOf(last.output);
  graph.replaceUses(last.output, output, (use) => before.has(use.node));
  if (index >= 0) graph.outputs[index] = output;
  graph.sort();
  return { id, input: first.input, couplings, output };
}
