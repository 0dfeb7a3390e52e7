// Non-negative least squares: which x ≥ 0 makes A·x closest to b? In: a small dense system. Out: x. Invariant: the sum of squares
// is at its minimum; columns may depend on each other, then one of the minima is found (an active-set method would have to
// invert what has no inverse).

/** A bound only: each sweep lowers the sum of squares, and a hundred are usual. */
const SWEEPS = 100_000;
const TOLERANCE = 1e-12;

const dot = (a: readonly number[], b: readonly number[]): number =>
  a.reduce((sum, v, i) => sum + v * (b[i] ?? 0), 0);

/** By coordinate descent. @param columns of A, all as long as b */
export function nonNegativeLeastSquares(
  columns: readonly (readonly number[])[],
  b: readonly number[],
): number[] {
  // Columns of length 1, so that one tolerance does for all; one of zeros has no say.
  const lengths = columns.map((column) => Math.sqrt(dot(column, column)));
  const unit = columns.map((column, j) => column.map((v) => v / (lengths[j] || 1)));
  const products = unit.map((column) => unit.map((other) => dot(column, other)));
  const wanted = unit.map((column) => dot(column, b));
  const x = unit.map(() => 0);
  for (let sweep = 0, change = Infinity; sweep < SWEEPS && change > TOLERANCE; sweep++) {
    change = 0;
    for (const [j, row] of products.entries()) {
      if (!row[j]) continue;
      const before = x[j] ?? 0;
      const after = Math.max(0, before + ((wanted[j] ?? 0) - dot(row, x)) / row[j]);
      x[j] = after;
      change = Math.max(change, Math.abs(after - before));
    }
  }
  return x.map((v, j) => v / (lengths[j] || 1));
}
