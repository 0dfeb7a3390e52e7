// Matrix products: MatMul (any rank, broadcast batch axes) and Gemm. In: operands. Out: products. Invariant:
// gradients use only these two operators, transposes and sums, so that every target can run them.

import { Attributes, Tensor, elementCount, float, int, ints } from '../ir/index.js';
import type { Dim, Shape, Value } from '../ir/index.js';
import {
  broadcastShapes,
  guardSmallest,
  outputSize,
  scalarLike,
  unbroadcast,
} from './broadcast.js';
import { inAxis, outAxis } from './axes.js';
import { defineOp } from './definition.js';
import type { AxisLink, InferContext, OpDefinition, OpSample } from './definition.js';
import type { Builder } from './builder.js';
import type { Random } from './random.js';

/* eslint-disable @typescript-eslint/no-non-null-assertion -- inner loops: offsets are in range by construction */

/** out[i,j] += alpha · Σ a[i,k] · b[k,j]; matrices lie at the given offsets with the given row and column steps. */
function product(
  out: Float64Array,
  o: number,
  a: Float64Array,
  [a0, aRow, aCol]: readonly [number, number, number],
  b: Float64Array,
  [b0, bRow, bCol]: readonly [number, number, number],
  [m, k, n]: readonly [number, number, number],
  alpha: number,
): void {
  for (let i = 0; i < m; i++)
    for (let l = 0; l < k; l++) {
      const factor = alpha * a[a0 + i * aRow + l * aCol]!;
      const row = o + i * n;
      for (let j = 0, q = b0 + l * bRow; j < n; j++, q += bCol) out[row + j]! += factor * b[q]!;
    }
}

/** Offsets (in matrices) that a batch of `result` reads of an operand with batch axes `dims`. */
function batchOffsets(result: readonly number[], dims: readonly number[]): number[] {
  let offsets = [0];
  const lead = result.length - dims.length;
  let inner = elementCount(dims);
  result.forEach((extent, axis) => {
    const own = dims[axis - lead] ?? 1;
    inner /= own;
    const step = own === 1 ? 0 : inner;
    const next: number[] = [];
    for (const offset of offsets) for (let i = 0; i < extent; i++) next.push(offset + i * step);
    offsets = next;
  });
  return offsets;
}
/* eslint-enable @typescript-eslint/no-non-null-assertion */

/** Matrix shapes of a MatMul's operands and its batch axes; a 1-D operand counts as a row or a column. */
function matmulShapes(ctx: InferContext): { a: Shape; b: Shape; batch: Shape; k: Dim } {
  const [sa, sb] = [ctx.shape(0), ctx.shape(1)];
  if (sa.length === 0 || sb.length === 0) ctx.fail('MatMul of a scalar');
  const a = sa.length === 1 ? [1, ...sa] : sa;
  const b = sb.length === 1 ? [...sb, 1] : sb;
  const [ka = 1, kb = 1] = [a[a.length - 1], b[b.length - 2]];
  if (typeof ka === 'number' && typeof kb === 'number' && ka !== kb)
    ctx.fail(`inner extents ${ka} and ${kb} differ`);
  const batch = broadcastShapes(ctx, [a.slice(0, -2), b.slice(0, -2)]);
  return { a, b, batch, k: typeof ka === 'number' ? ka : kb };
}

const lastTwo = (rank: number): number[] => {
  const perm = Array.from({ length: rank }, (_, i) => i);
  return [...perm.slice(0, -2), rank - 1, rank - 2];
};

const transpose = (b: Builder, value: Value): Value =>
  b.op('Transpose', [value], { attributes: { perm: ints(lastTwo(value.shape?.length ?? 2)) } });

/** numpy.matmul. */
const matmul = defineOp({
  type: 'MatMul',
  parameters: [0, 1],
  axes: (ctx) => {
    const [a, b] = [ctx.shape(0), ctx.shape(1)];
    if (a.length < 2 || b.length < 2) return [];
    const rank = Math.max(a.length, b.length);
    const batch = Array.from({ length: rank - 2 }, (_, axis): AxisLink => {
      const [own, other] = [axis - rank + a.length, axis - rank + b.length];
      const repeated = ctx.node.outputs[0]?.shape?.[axis] !== 1;
      return {
        axes: [
          outAxis(axis),
          ...(own >= 0 && !(repeated && a[own] === 1) ? [inAxis(0, own)] : []),
          ...(other >= 0 && !(repeated && b[other] === 1) ? [inAxis(1, other)] : []),
        ],
      };
    });
    return [
      ...batch,
      { axes: [inAxis(0, a.length - 2), outAxis(rank - 2)] },
      { axes: [inAxis(0, a.length - 1), inAxis(1, b.length - 2)] },
      { axes: [inAxis(1, b.length - 1), outAxis(rank - 1)] },
    ];
  },
  initial: (index, dims) => ({ fanIn: dims[index === 1 ? dims.length - 2 : dims.length - 1] ?? 1 }),
  infer(ctx) {
    const { a, b, batch } = matmulShapes(ctx);
    const rows = ctx.shape(0).length === 1 ? [] : [a[a.length - 2] ?? 1];
    const columns = ctx.shape(1).length === 1 ? [] : [b[b.length - 1] ?? 1];
    return [{ dtype: ctx.type(0).dtype, shape: [...batch, ...rows, ...columns] }];
  },
  evaluate(ctx) {
    const [x, y] = [ctx.input(0), ctx.input(1)];
    const a = x.dims.length === 1 ? [1, ...x.dims] : x.dims;
    const b = y.dims.length === 1 ? [...y.dims, 1] : y.dims;
    const [m = 1, k = 1] = a.slice(-2);
    const [, n = 1] = b.slice(-2);
    const [ba, bb] = [a.slice(0, -2), b.slice(0, -2)];
    const rank = Math.max(ba.length, bb.length);
    const batch = Array.from({ length: rank }, (_, i) => {
      const [p = 1, q = 1] = [ba[i - rank + ba.length], bb[i - rank + bb.length]];
      return p === 1 ? q : p;
    });
    const dims = [
      ...batch,
      ...(x.dims.length === 1 ? [] : [m]),
      ...(y.dims.length === 1 ? [] : [n]),
    ];
    const out = Tensor.zeros(x.dtype, dims);
    const bOffsets = batchOffsets(batch, bb);
    batchOffsets(batch, ba).forEach((offset, i) => {
      const other = bOffsets[i] ?? 0;
      product(
        out.data,
        i * m * n,
        x.data,
        [offset * m * k, k, 1],
        y.data,
        [other * k * n, n, 1],
        [m, k, n],
        1,
      );
    });
    return [out];
  },
  gradient(ctx) {
    const { b } = ctx;
    const [x, y] = [ctx.input(0), ctx.input(1)];
    const [sx, sy] = [x.shape ?? [], y.shape ?? []];
    // 1-D operands become matrices, so that one rule fits all.
    const unsqueeze = (v: Value, axis: number): Value => b.op('Unsqueeze', [v, b.ints(axis)]);
    const squeeze = (v: Value, axis: number): Value => b.op('Squeeze', [v, b.ints(axis)]);
    const a = sx.length === 1 ? unsqueeze(x, 0) : x;
    const w = sy.length === 1 ? unsqueeze(y, 1) : y;
    let dY = ctx.grad();
    if (sy.length === 1) dY = unsqueeze(dY, -1);
    if (sx.length === 1) dY = unsqueeze(dY, -2);
    const [aShape, wShape] = [a.shape ?? [], w.shape ?? []];
    const dA = (): Value => unbroadcast(b, b.op('MatMul', [dY, transpose(b, w)]), aShape);
    const dW = (): Value => {
      const [rows = 0, columns = 0] = wShape;
      // One matrix for all batches: a product over the joined rows, no batch of products to add up.
      if (
        wShape.length === 2 &&
        aShape.length > 2 &&
        typeof rows === 'number' &&
        typeof columns === 'number'
      )
        return b.op(
          'Gemm',
          [b.op('Reshape', [a, b.ints(-1, rows)]), b.op('Reshape', [dY, b.ints(-1, columns)])],
          { attributes: { transA: int(1) } },
        );
      return unbroadcast(b, b.op('MatMul', [transpose(b, a), dY]), wShape);
    };
    return [
      ctx.wants(0) ? (sx.length === 1 ? squeeze(dA(), 0) : dA()) : undefined,
      ctx.wants(1) ? (sy.length === 1 ? squeeze(dW(), 1) : dW()) : undefined,
    ];
  },
  flops(ctx) {
    const { k } = matmulShapes(ctx);
    return typeof k === 'number' ? 2 * k * outputSize(ctx) : 0;
  },
  guard: guardSmallest,
  samples: (random) => matmulSamples(random),
});

interface GemmAttributes {
  readonly alpha: number;
  readonly beta: number;
  readonly transA: boolean;
  readonly transB: boolean;
}

const gemmAttributes = (attributes: Attributes): GemmAttributes => ({
  alpha: attributes.float('alpha', 1),
  beta: attributes.float('beta', 1),
  transA: attributes.int('transA', 0) !== 0,
  transB: attributes.int('transB', 0) !== 0,
});

const ordered = <T>([rows, columns]: readonly T[], swap: boolean): [T, T] => {
  if (rows === undefined || columns === undefined) throw new Error('internal error: not a matrix');
  return swap ? [columns, rows] : [rows, columns];
};

/** Extents (m, k, n) of a Gemm. */
function gemmShape(ctx: InferContext): [Dim, Dim, Dim] {
  const { transA, transB } = gemmAttributes(ctx.attributes);
  if (ctx.shape(0).length !== 2 || ctx.shape(1).length !== 2) ctx.fail('Gemm takes matrices');
  const [m, ka] = ordered(ctx.shape(0), transA);
  const [kb, n] = ordered(ctx.shape(1), transB);
  if (typeof ka === 'number' && typeof kb === 'number' && ka !== kb)
    ctx.fail(`inner extents ${ka} and ${kb} differ`);
  return [m, typeof ka === 'number' ? ka : kb, n];
}

/** Y = alpha · A' · B' + beta · C, where ' is the optional transpose and C broadcasts to Y. */
const gemm = defineOp({
  type: 'Gemm',
  parameters: [1, 2],
  axes: (ctx) => {
    const { transA, transB } = gemmAttributes(ctx.attributes);
    const [row, inner] = transA ? [1, 0] : [0, 1];
    const [depth, column] = transB ? [1, 0] : [0, 1];
    const columns = [inAxis(1, column), outAxis(1)];
    const rows = [inAxis(0, row), outAxis(0)];
    const bias = ctx.node.inputs[2]?.shape;
    if (bias && bias.at(-1) !== 1) columns.push(inAxis(2, bias.length - 1));
    if (bias?.length === 2 && bias[0] !== 1) rows.push(inAxis(2, 0));
    return [{ axes: rows }, { axes: [inAxis(0, inner), inAxis(1, depth)] }, { axes: columns }];
  },
  initial: (index, dims, node) =>
    index === 1
      ? { fanIn: dims[gemmAttributes(node.attributes).transB ? 1 : 0] ?? 1 }
      : index === 2
        ? 'zeros'
        : undefined,
  infer(ctx) {
    const [m, , n] = gemmShape(ctx);
    if (ctx.has(2)) {
      const c = ctx.shape(2);
      [m, n].slice(-c.length || 2).forEach((extent, i) => {
        const own = c[i] ?? 1;
        if (own !== 1 && typeof own === 'number' && typeof extent === 'number' && own !== extent)
          ctx.fail(`C [${c.join(',')}] does not broadcast to [${m},${n}]`);
      });
    }
    return [{ dtype: ctx.type(0).dtype, shape: [m, n] }];
  },
  evaluate(ctx) {
    const [x, y] = [ctx.input(0), ctx.input(1)];
    const { alpha, beta, transA, transB } = gemmAttributes(ctx.attributes);
    const [m, k] = ordered(x.dims, transA);
    const [, n] = ordered(y.dims, transB);
    const out = Tensor.zeros(x.dtype, [m, n]);
    const c = ctx.inputs[2];
    if (c) {
      const [rows = 1, columns = 1] = [1, 1, ...c.dims].slice(-2);
      for (let i = 0; i < out.size; i++) {
        const row = rows === 1 ? 0 : Math.floor(i / n);
        const column = columns === 1 ? 0 : i % n;
        out.data[i] = beta * (c.data[row * columns + column] ?? NaN);
      }
    }
    product(
      out.data,
      0,
      x.data,
      transA ? [0, 1, m] : [0, k, 1],
      y.data,
      transB ? [0, 1, k] : [0, n, 1],
      [m, k, n],
      alpha,
    );
    return [out];
  },
  gradient(ctx) {
    const { b } = ctx;
    const { alpha, beta, transA, transB } = gemmAttributes(ctx.attributes);
    const [x, y, dY] = [ctx.input(0), ctx.input(1), ctx.grad()];
    const times = (p: Value, q: Value, tp: boolean, tq: boolean): Value =>
      b.op('Gemm', [p, q], {
        attributes: { alpha: float(alpha), transA: int(tp ? 1 : 0), transB: int(tq ? 1 : 0) },
      });
    const dC = (): Value => {
      const reduced = unbroadcast(b, dY, ctx.input(2).shape ?? []);
      return beta === 1 ? reduced : b.op('Mul', [reduced, scalarLike(b, reduced, beta)]);
    };
    return [
      !ctx.wants(0)
        ? undefined
        : transA
          ? times(y, dY, transB, true)
          : times(dY, y, false, !transB),
      !ctx.wants(1)
        ? undefined
        : transB
          ? times(dY, x, true, transA)
          : times(x, dY, !transA, false),
      ctx.has(2) && ctx.wants(2) ? dC() : undefined,
    ];
  },
  flops(ctx) {
    const [, k] = gemmShape(ctx);
    return typeof k === 'number' ? 2 * k * outputSize(ctx) : 0;
  },
  guard: guardSmallest,
  samples: (random) => gemmSamples(random),
});

function matmulSamples(random: Random): OpSample[] {
  const shapes: [number[], number[]][] = [
    [
      [3, 4],
      [4, 5],
    ],
    [
      [2, 3, 4],
      [4, 5],
    ],
    [
      [2, 3, 4],
      [2, 4, 5],
    ],
    [
      [2, 1, 3, 4],
      [3, 4, 2],
    ],
    [
      [4, 3],
      [2, 3, 5],
    ],
    [
      [1, 3, 4],
      [2, 4, 3],
    ],
    [[4], [4, 3]],
    [[3, 4], [4]],
    [[4], [4]],
    [[4], [2, 4, 3]],
    [[2, 3, 4], [4]],
    [
      [2, 2, 3, 4],
      [4, 3],
    ],
  ];
  return shapes.map(([a, b]) => ({
    label: `[${a.join(',')}] x [${b.join(',')}]`,
    inputs: [random.tensor(a), random.tensor(b)],
  }));
}

function gemmSamples(random: Random): OpSample[] {
  const samples: OpSample[] = [];
  for (const transA of [0, 1])
    for (const transB of [0, 1])
      samples.push({
        label: `transA ${transA}, transB ${transB}, no C`,
        inputs: [random.tensor(transA ? [4, 3] : [3, 4]), random.tensor(transB ? [5, 4] : [4, 5])],
        attributes: new Attributes({ transA: int(transA), transB: int(transB), alpha: float(0.5) }),
      });
  for (const c of [[5], [1, 5], [3, 1], [3, 5], [1], []])
    samples.push({
      label: `C [${c.join(',')}]`,
      inputs: [random.tensor([3, 4]), random.tensor([5, 4]), random.tensor(c)],
      attributes: new Attributes({ transB: int(1), alpha: float(1.5), beta: float(0.25) }),
    });
  return samples;
}

export const matmulOps: readonly OpDefinition[] = [matmul, gemm];
