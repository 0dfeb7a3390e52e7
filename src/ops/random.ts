// Seeded random numbers for samples, initial values and tests. Invariant: the same seed gives the same
// numbers on every machine (integer arithmetic only until the last step).

import { Tensor } from '../ir/index.js';
import type { DataType } from '../ir/index.js';

/** SplitMix32-style generator: small, fast, good enough for test data and initial weights. */
export class Random {
  private state: number;

  constructor(seed: number) {
    this.state = seed >>> 0;
  }

  /** Uniform 32-bit unsigned integer. */
  bits(): number {
    this.state = (this.state + 0x9e3779b9) >>> 0;
    let z = this.state;
    z = Math.imul(z ^ (z >>> 16), 0x85ebca6b);
    z = Math.imul(z ^ (z >>> 13), 0xc2b2ae35);
    return (z ^ (z >>> 16)) >>> 0;
  }

  /** Uniform in [low, high). */
  uniform(low = 0, high = 1): number {
    return low + (high - low) * (this.bits() / 2 ** 32);
  }

  /** Uniform integer in [low, high], both included. */
  integer(low: number, high: number): number {
    return low + Math.floor(this.uniform() * (high - low + 1));
  }

  /** Standard normal (Box–Muller). */
  normal(): number {
    const u = 1 - this.uniform();
    return Math.sqrt(-2 * Math.log(u)) * Math.cos(2 * Math.PI * this.uniform());
  }

  /** A tensor of normal numbers times scale plus shift, rounded to float32 so that every consumer sees the same. */
  tensor(dims: readonly number[], scale = 1, shift = 0, dtype: DataType = 'float32'): Tensor {
    const t = Tensor.zeros(dtype, dims);
    for (let i = 0; i < t.size; i++) t.data[i] = Math.fround(shift + scale * this.normal());
    return t;
  }
}
