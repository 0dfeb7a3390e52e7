// Running sums and triangles: CumSum, Trilu, EyeLike. In: a tensor. Out: sums along an axis, the elements on one side of
// a diagonal, or a diagonal of ones. Invariant: each is linear in its operand, and its gradient is an operator of the
// same kind.

import { Attributes, Tensor, elementCount, int } from '../ir/index.js';
import { normalizeAxis } from './broadcast.js';
import { defineOp } from './definition.js';
import type { OpDefinition, OpSample } from './definition.js';
import { impossible } from './elements.js';
import { elementCode, elementType } from './element-types.js';
import type { Random } from './random.js';

// ---- CumSum

/** Sums along an axis from its front, or from its back where `reverse`; without the element itself where `exclusive`. */
function runningSums(x: Tensor, axis: number, exclusive: boolean, reverse: boolean): Tensor {
  const extent = x.dims[axis] as number;
  const inner = elementCount(x.dims.slice(axis + 1));
  const out = Tensor.zeros(x.dtype, x.dims);
  for (let start = 0; start < x.size; start += extent * inner)
    for (let k = 0; k < inner; k++) {
      let sum = 0;
      for (let i = 0; i < extent; i++) {
        const at = start + (reverse ? extent - 1 - i : i) * inner + k;
        const own = x.data[at] as number;
        out.data[at] = exclusive ? sum : sum + own;
        sum += own;
      }
    }
  return out;
}

const cumSum = defineOp({
  type: 'CumSum',
  infer: (ctx) => {
    const { shape } = ctx.type(0);
    const axis = ctx.numbers(1)?.[0];
    if (shape && axis !== undefined) normalizeAxis(axis, shape.length, (why) => ctx.fail(why));
    return [ctx.type(0)];
  },
  evaluate: (ctx) => {
    const x = ctx.input(0);
    const axis = normalizeAxis(ctx.input(1).data[0] as number, x.dims.length, impossible);
    const flag = (name: string): boolean => ctx.attributes.int(name, 0) === 1;
    return [runningSums(x, axis, flag('exclusive'), flag('reverse'))];
  },
  gradient: (ctx) => {
    if (!ctx.wants(0)) return [undefined];
    const reverse = int(1 - ctx.attributes.int('reverse', 0));
    const attributes = ctx.attributes.with({ reverse });
    return [ctx.b.op('CumSum', [ctx.grad(), ctx.input(1)], { attributes })];
  },
  keepsShape: true,
  samples: (random) => cumSumSamples(random),
});

const cumSumSamples = (random: Random): OpSample[] =>
  [0, 1, 2, 3].map((flags) => ({
    label: `exclusive ${flags >> 1}, reverse ${flags & 1}`,
    inputs: [random.tensor([2, 3, 4]), Tensor.scalar([1, -1, 0, 2][flags] ?? 0, 'int64')],
    constants: flags % 2 === 0 ? [1] : [],
    attributes: new Attributes({ exclusive: int(flags >> 1), reverse: int(flags & 1) }),
  }));

// ---- Trilu

const trilu = defineOp({
  type: 'Trilu',
  infer: (ctx) => {
    const { shape } = ctx.type(0);
    if (shape && shape.length < 2) ctx.fail(`its operand has rank ${shape.length}`);
    return [ctx.type(0)];
  },
  evaluate: (ctx) => {
    const x = ctx.input(0);
    const [rows, columns] = x.dims.slice(-2) as [number, number];
    const k = ctx.inputs[1]?.data[0] ?? 0;
    const upper = ctx.attributes.int('upper', 1) === 1;
    const kept = (i: number): number => {
      const shift = (i % columns) - (Math.floor(i / columns) % rows);
      return (upper ? shift >= k : shift <= k) ? (x.data[i] as number) : 0;
    };
    return [new Tensor(x.dtype, x.dims, Float64Array.from(x.data.keys(), kept))];
  },
  gradient: (ctx) => {
    if (!ctx.wants(0)) return [undefined];
    const operands = ctx.has(1) ? [ctx.grad(), ctx.input(1)] : [ctx.grad()];
    return [ctx.b.op('Trilu', operands, { attributes: ctx.attributes })];
  },
  keepsShape: true,
  samples: (random) => [
    { label: 'upper', inputs: [random.tensor([3, 4])] },
    {
      label: 'lower',
      inputs: [random.tensor([2, 3, 3])],
      attributes: new Attributes({ upper: int(0) }),
    },
    {
      label: 'upper, above the diagonal',
      inputs: [random.tensor([2, 4, 3]), Tensor.scalar(1, 'int64')],
      constants: [1],
    },
    {
      label: 'lower, fed diagonal',
      inputs: [random.tensor([3, 4]), Tensor.scalar(-1, 'int64')],
      attributes: new Attributes({ upper: int(0) }),
    },
  ],
});

// ---- EyeLike

const eyeLike = defineOp({
  type: 'EyeLike',
  infer: (ctx) => {
    const { dtype, shape } = ctx.type(0);
    if (shape && shape.length !== 2) ctx.fail(`its operand has rank ${shape.length}, not 2`);
    const given = ctx.attributes.int('dtype');
    return [{ dtype: given === undefined ? dtype : elementType(given), shape }];
  },
  evaluate: (ctx) => {
    const { dtype, dims } = ctx.input(0);
    const given = ctx.attributes.int('dtype');
    const k = ctx.attributes.int('k', 0);
    const out = Tensor.zeros(given === undefined ? dtype : elementType(given), dims);
    const [rows, columns] = dims as [number, number];
    for (let row = 0; row < rows; row++)
      if (row + k >= 0 && row + k < columns) out.data[row * columns + row + k] = 1;
    return [out];
  },
  nonDifferentiable: true,
  samples: (random) => [
    { label: 'square', inputs: [random.tensor([3, 3])] },
    {
      label: 'below the diagonal, as integers',
      inputs: [random.tensor([3, 4])],
      attributes: new Attributes({ k: int(-1), dtype: int(elementCode('int64')) }),
    },
  ],
});

export const tensorScanOps: readonly OpDefinition[] = [cumSum, trilu, eyeLike];
