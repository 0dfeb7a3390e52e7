// How far a float64 evaluation of ours is from PyTorch's. In: tensors by name. Out: the worst of them.

import type { Evaluation } from '../autodiff/support.js';
import type { Batch } from './python.js';

/** The batch an evaluation was fed. */
export function batchOf({ state, feeds }: Evaluation): Batch {
  const { images, labels } = state.loss ?? {};
  const [x, y] = [images && feeds.get(images), labels && feeds.get(labels)];
  if (!x || !y) throw new Error('a step without a batch');
  return { images: x, labels: y.toArray() };
}

/** Largest ‖x − y‖ / ‖y‖ of any tensor; tensors below 1e-9 of the whole are measured against that. */
export function worstTensor(
  x: ReadonlyMap<string, Float64Array>,
  y: ReadonlyMap<string, Float64Array>,
): [number, string] {
  const norm = (v: Float64Array): number => Math.hypot(...v);
  const whole = Math.hypot(...[...y.values()].map(norm));
  let worst: [number, string] = [0, ''];
  for (const [name, b] of y) {
    const a = x.get(name);
    if (a?.length !== b.length) throw new Error(`${name} is missing`);
    const error = norm(a.map((v, i) => v - (b[i] ?? NaN))) / Math.max(norm(b), 1e-9 * whole);
    if (!(error <= worst[0])) worst = [error, name];
  }
  return worst;
}
