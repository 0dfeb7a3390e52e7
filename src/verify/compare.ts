// Distances between two sets of tensors. In: tensors by name, twice. Out: the figures verification judges by.
// Invariant: norms are over all elements of all tensors together; nothing is averaged away.

export type Tensors = ReadonlyMap<string, ArrayLike<number>>;

export interface GradientDistance {
  /** ‖x − y‖ / ‖y‖ over all elements. */
  readonly relL2: number;
  /** Angle between x and y, in degrees: the metric of Gomez et al. 2017, figure 2. */
  readonly angleDegrees: number;
  /** Median over tensors of ‖x_i − y_i‖ / max(‖y_i‖, floor·‖y‖): tensors whose true gradient is zero (a bias before a
   * batch norm) have no relative error of their own. */
  readonly medianTensor: number;
  readonly maxTensor: number;
  readonly worstTensor: string;
}

/** Below this share of the whole gradient's norm a tensor is compared absolutely. */
const TENSOR_FLOOR = 1e-6;

const norm = (x: ArrayLike<number>): number => {
  let sum = 0;
  for (let i = 0; i < x.length; i++) sum += (x[i] ?? 0) ** 2;
  return Math.sqrt(sum);
};

const distance = (x: ArrayLike<number>, y: ArrayLike<number>): number => {
  let sum = 0;
  for (let i = 0; i < y.length; i++) sum += ((x[i] ?? NaN) - (y[i] ?? NaN)) ** 2;
  return Math.sqrt(sum);
};

/** @param floor tensors smaller than floor·‖y‖ are measured against that instead of their own norm */
export function compareGradients(x: Tensors, y: Tensors, floor = TENSOR_FLOOR): GradientDistance {
  let [dot, xx, yy, dd] = [0, 0, 0, 0];
  for (const [name, b] of y) {
    const a = x.get(name);
    if (a?.length !== b.length) throw new Error(`internal error: gradient ${name} is missing`);
    for (let i = 0; i < b.length; i++) {
      const [p, q] = [a[i] ?? NaN, b[i] ?? NaN];
      dot += p * q;
      xx += p * p;
      yy += q * q;
      dd += (p - q) * (p - q);
    }
  }
  const whole = Math.sqrt(yy);
  const errors = [...y].map(([name, b]) => ({
    name,
    error: distance(x.get(name) ?? [], b) / Math.max(norm(b), floor * whole),
  }));
  // NaN sorts last, as the worst there is.
  const rank = (e: number): number => (Number.isNaN(e) ? Infinity : e);
  errors.sort((p, q) =>
    rank(p.error) < rank(q.error) ? -1 : Number(rank(p.error) > rank(q.error)),
  );
  const cosine = dot / Math.sqrt(xx * yy);
  const worst = errors.at(-1);
  return {
    relL2: Math.sqrt(dd) / whole,
    angleDegrees: (Math.acos(Math.min(1, Math.max(-1, cosine))) * 180) / Math.PI,
    medianTensor: errors[Math.floor(errors.length / 2)]?.error ?? 0,
    maxTensor: worst?.error ?? 0,
    worstTensor: worst?.name ?? '',
  };
}

export interface MaxDistance {
  readonly maxAbs: number;
  /** maxAbs / max|y|. */
  readonly maxRel: number;
}

export function maxDistance(x: ArrayLike<number>, y: ArrayLike<number>): MaxDistance {
  let [maxAbs, scale] = [0, 0];
  for (let i = 0; i < y.length; i++) {
    const [p, q] = [x[i] ?? NaN, y[i] ?? NaN];
    const gap = Math.abs(p - q);
    // NaN must not pass as a small distance.
    if (!(gap <= maxAbs)) maxAbs = Number.isNaN(gap) ? Infinity : gap;
    scale = Math.max(scale, Math.abs(q));
  }
  return { maxAbs, maxRel: scale > 0 ? maxAbs / scale : maxAbs };
}
