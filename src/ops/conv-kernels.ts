// Reference loops of convolution and its two transposes in float64. In: dense arrays and a geometry. Out: a
// dense array. Invariant: all three walk the same runs, so that each is the exact adjoint of the others.

import { convRuns } from './conv-geometry.js';
import type { ConvGeometry } from './conv-geometry.js';

/** Calls visit(data offset of X, of Y, of W, runs) for every (image, output channel, input channel, tap). */
function walk(
  g: ConvGeometry,
  visit: (x: number, y: number, w: number, runs: Int32Array, step: number) => void,
): void {
  const { taps, step, inputSize, outputSize } = convRuns(g);
  const perGroupIn = g.inChannels / g.group;
  const perGroupOut = g.outChannels / g.group;
  for (let n = 0; n < g.batch; n++)
    for (let m = 0; m < g.outChannels; m++) {
      const first = Math.floor(m / perGroupOut) * perGroupIn;
      const y = (n * g.outChannels + m) * outputSize;
      for (let c = 0; c < perGroupIn; c++) {
        const x = (n * g.inChannels + first + c) * inputSize;
        const w = (m * perGroupIn + c) * taps.length;
        taps.forEach((runs, t) => visit(x, y, w + t, runs, step));
      }
    }
}

/* eslint-disable @typescript-eslint/no-non-null-assertion -- inner loops: offsets are in range by construction */

/** Y[n,m,i] = Σ W[m,c,t] · X[n,c,s·i + d·t − p] */
export function correlate(g: ConvGeometry, x: Float64Array, w: Float64Array): Float64Array {
  const out = new Float64Array(g.batch * g.outChannels * g.output.reduce((a, b) => a * b, 1));
  walk(g, (x0, y0, w0, runs, step) => {
    const weight = w[w0]!;
    for (let r = 0; r < runs.length; r += 3) {
      const a = y0 + runs[r]!;
      const b = x0 + runs[r + 1]!;
      const length = runs[r + 2]!;
      for (let i = 0, j = b; i < length; i++, j += step) out[a + i]! += weight * x[j]!;
    }
  });
  return out;
}

/** dX[n,c,s·i + d·t − p] = Σ W[m,c,t] · dY[n,m,i] */
export function scatter(g: ConvGeometry, dy: Float64Array, w: Float64Array): Float64Array {
  const out = new Float64Array(g.batch * g.inChannels * g.input.reduce((a, b) => a * b, 1));
  walk(g, (x0, y0, w0, runs, step) => {
    const weight = w[w0]!;
    for (let r = 0; r < runs.length; r += 3) {
      const a = y0 + runs[r]!;
      const b = x0 + runs[r + 1]!;
      const length = runs[r + 2]!;
      for (let i = 0, j = b; i < length; i++, j += step) out[j]! += weight * dy[a + i]!;
    }
  });
  return out;
}

/** dW[m,c,t] = Σ X[n,c,s·i + d·t − p] · dY[n,m,i] */
export function pair(g: ConvGeometry, x: Float64Array, dy: Float64Array): Float64Array {
  const taps = g.kernel.reduce((a, b) => a * b, 1);
  const out = new Float64Array(((g.outChannels * g.inChannels) / g.group) * taps);
  walk(g, (x0, y0, w0, runs, step) => {
    let sum = 0;
    for (let r = 0; r < runs.length; r += 3) {
      const a = y0 + runs[r]!;
      const b = x0 + runs[r + 1]!;
      const length = runs[r + 2]!;
      for (let i = 0, j = b; i < length; i++, j += step) sum += x[j]! * dy[a + i]!;
    }
    out[w0]! += sum;
  });
  return out;
}

/** Adds one number per channel to data [batch, channels, size]. */
export function addBias(data: Float64Array, bias: Float64Array, size: number): void {
  const channels = bias.length;
  for (let i = 0; i < data.length; i++) data[i]! += bias[Math.floor(i / size) % channels]!;
}
