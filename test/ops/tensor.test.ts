// Symbolic extents through the operators that move, pick and compute shapes: the batch symbol has to come
// out of every chain that exporters write.

import { describe, expect, test } from 'vitest';
import { Graph, InlineData, Tensor, int, ints, string, tensor } from '../../src/ir/index.js';
import type { AttributeMap, Dim, Node, Shape, Value } from '../../src/ir/index.js';
import {
  Builder,
  divideDims,
  findOp,
  inferNode,
  multiplyDims,
  unbroadcast,
} from '../../src/ops/index.js';
import type { Contents } from '../../src/ops/index.js';

/** Makes typed nodes whose contents are followed, as infer-types does over a whole graph. */
class Chain {
  readonly graph = new Graph();
  private readonly contents: Contents = new WeakMap<Value, readonly Dim[]>();

  input(...shape: Dim[]): Value {
    return this.graph.addInput('x', { dtype: 'float32', shape });
  }
  ints(...values: number[]): Value {
    return this.graph.addConstant('c', new InlineData(Tensor.ints(values)));
  }
  index(value: number): Value {
    return this.graph.addConstant('c', new InlineData(Tensor.scalar(value, 'int64')));
  }
  op(type: string, inputs: readonly (Value | undefined)[], attributes: AttributeMap = {}): Value {
    const node = this.graph.addNode({ op: type, inputs, outputs: ['v'], attributes });
    inferNode(node, this.contents);
    return node.output();
  }
  content(value: Value): readonly Dim[] | undefined {
    return this.contents.get(value);
  }
}

const AXIS0 = { axis: int(0) };

describe('chains of exporters keep the batch symbol', () => {
  test('Shape, Gather, Unsqueeze, Concat, Reshape (torch view)', () => {
    const c = new Chain();
    const x = c.input('N', 64, 7, 7);
    const batch = c.op('Gather', [c.op('Shape', [x]), c.index(0)], AXIS0);
    const list = c.op('Concat', [c.op('Unsqueeze', [batch, c.ints(0)]), c.ints(-1)], AXIS0);
    expect(c.content(list)).toEqual(['N', -1]);
    expect(c.op('Reshape', [x, list]).shape).toEqual(['N', 3136]);
  });

  test('Shape, Slice, Squeeze, Cast, Concat, Reshape (tf2onnx)', () => {
    const c = new Chain();
    const x = c.input('N', 8, 4);
    const part = c.op('Slice', [c.op('Shape', [x]), c.ints(0), c.ints(1), c.ints(0)]);
    const batch = c.op('Squeeze', [c.op('Cast', [part], { to: int(7) })]);
    const list = c.op('Concat', [c.op('Unsqueeze', [batch, c.ints(0)]), c.ints(2, 16)], AXIS0);
    expect(c.op('Reshape', [x, list]).shape).toEqual(['N', 2, 16]);
  });

  test('heads of attention: batch times heads and back', () => {
    const c = new Chain();
    const x = c.input('N', 197, 768);
    const heads = c.op('Reshape', [x, c.ints(0, 197, 12, 64)]);
    const moved = c.op('Transpose', [heads], { perm: ints([0, 2, 1, 3]) });
    const flat = c.op('Reshape', [moved, c.ints(-1, 197, 64)]);
    expect(flat.shape).toEqual(['12*N', 197, 64]);
    const batch = c.op('Div', [
      c.op('Gather', [c.op('Shape', [flat]), c.index(0)], AXIS0),
      c.index(12),
    ]);
    expect(c.content(batch)).toEqual(['N']);
    expect(c.op('Reshape', [flat, c.ints(-1, 12, 197, 64)]).shape).toEqual(['N', 12, 197, 64]);
  });

  test('windows: products of symbols are told apart from their factors', () => {
    const c = new Chain();
    const x = c.input('N', 'S', 8);
    const flat = c.op('Reshape', [x, c.ints(-1, 8)]);
    expect(flat.shape).toEqual(['N*S', 8]);
    const shape = c.op('Shape', [x]);
    expect(c.op('Reshape', [flat, shape]).shape).toEqual(['N', 'S', 8]);
    const count = c.op('ReduceProd', [shape], { keepdims: int(1) });
    expect(c.op('Reshape', [x, count]).shape).toEqual(['8*N*S']);
  });

  test('Expand by way of ConstantOfShape, Equal and Where (torch expand)', () => {
    const c = new Chain();
    const x = c.input('N', 4);
    const token = c.graph.addConstant('token', new InlineData(Tensor.zeros('float32', [1, 1, 4])));
    const batch = c.op('Gather', [c.op('Shape', [x]), c.index(0)], AXIS0);
    const wanted = c.op(
      'Concat',
      [c.op('Unsqueeze', [batch, c.ints(0)]), c.ints(-1), c.ints(-1)],
      AXIS0,
    );
    const ones = c.op('ConstantOfShape', [c.ints(3)], {
      value: tensor(new InlineData(Tensor.ints([1]))),
    });
    const keep = c.op('Equal', [wanted, c.op('Mul', [ones, c.ints(-1)])]);
    const target = c.op('Where', [keep, ones, wanted]);
    expect(c.content(target)).toEqual(['N', 1, 1]);
    const tokens = c.op('Expand', [token, target]);
    expect(tokens.shape).toEqual(['N', 1, 4]);
    const patches = c.op('Reshape', [c.input('N', 196 * 4), c.ints(0, 196, 4)]);
    expect(c.op('Concat', [tokens, patches], { axis: int(1) }).shape).toEqual(['N', 197, 4]);
  });

  test('Range over an extent, Shape with start and end, Size', () => {
    const c = new Chain();
    const x = c.input('N', 'T', 8);
    const length = c.op('Squeeze', [c.op('Shape', [x], { start: int(1), end: int(2) })]);
    expect(c.op('Range', [c.index(0), length, c.index(1)]).shape).toEqual(['T']);
    expect(c.content(c.op('Size', [x]))).toEqual(['8*N*T']);
  });

  test('Flatten and Concat of what is not known', () => {
    const c = new Chain();
    const x = c.input('N', 512, 1, 1);
    expect(c.op('Flatten', [x]).shape).toEqual(['N', 512]);
    const [first] = c.op('Concat', [x, x], AXIS0).shape ?? [];
    expect(typeof first).toBe('string');
    expect(first).not.toBe('N');
  });
});

describe('broadcasting of symbols', () => {
  const add = (a: Shape, b: Shape): Shape | undefined => {
    const c = new Chain();
    return c.op('Add', [c.input(...a), c.input(...b)]).shape;
  };
  test('equal symbols stay', () => expect(add(['N', 'C'], ['N', 'C'])).toEqual(['N', 'C']));
  test('a symbol beside 1 stays', () => expect(add(['N', 1], ['C'])).toEqual(['N', 'C']));
  test('a number above 1 wins', () => expect(add(['N', 3], ['M', 1, 'C'])?.[2]).toBe(3));
  test('two symbols give a third', () => {
    const [dim] = add(['N'], ['M']) ?? [];
    expect([typeof dim, dim === 'N', dim === 'M']).toEqual(['string', false, false]);
  });
  test('numbers that do not fit are refused', () => {
    expect(() => add([2], [3])).toThrow('shape/mismatch');
  });
  test('operands of two types are refused', () => {
    const c = new Chain();
    expect(() => c.op('Add', [c.input(1), c.ints(1)])).toThrow('shape/mismatch');
  });
});

describe('slices of symbols', () => {
  const far = 2 ** 63;
  const sliced = (dim: Dim, start: number, end: number, step = 1): Dim | undefined => {
    const c = new Chain();
    const lists = [start, end, 0, step].map((n) => c.ints(n));
    return c.op('Slice', [c.input(dim), ...lists]).shape?.[0];
  };
  test('all of it', () => expect(sliced('N', 0, far)).toBe('N'));
  test('part of it is something else', () => {
    expect(sliced('N', 1, far)).not.toBe('N');
    expect(sliced('N', 0, -1)).not.toBe('N');
    expect(sliced('N', 0, far, 2)).not.toBe('N');
    expect(sliced('N', 0, 4)).not.toBe(4);
  });
});

describe('the algebra of extents', () => {
  test('products have one form', () => {
    expect(multiplyDims(['S', 2, 'N', 3])).toBe('6*N*S');
    expect(multiplyDims(['2*N', '3*S'])).toBe('6*N*S');
    expect(multiplyDims(['N', 0])).toBe(0);
    expect(multiplyDims([])).toBe(1);
  });
  test('quotients are exact or unknown', () => {
    expect(divideDims('6*N*S', '2*S')).toBe('3*N');
    expect(divideDims('N*N', 'N')).toBe('N');
    expect(divideDims('3*N', 2)).toBeUndefined();
    expect(divideDims('N', 'S')).toBeUndefined();
    expect(divideDims(6, 0)).toBeUndefined();
  });
});

describe('unbroadcast', () => {
  const shapes = (grad: Shape, shape: Shape): { shape: Shape | undefined; ops: string[] } => {
    const graph = new Graph();
    const b = new Builder(graph, { phase: 'backward', path: 'g' });
    const g = graph.addInput('g', { dtype: 'float32', shape: grad });
    const result = unbroadcast(b, g, shape);
    return { shape: result.shape, ops: [...graph.nodes].map((n) => n.op) };
  };
  test('nothing to do', () => {
    expect(shapes(['N', 3], ['N', 3])).toEqual({ shape: ['N', 3], ops: [] });
  });
  test('new axes', () => {
    expect(shapes(['N', 4, 3], [3])).toEqual({ shape: [3], ops: ['ReduceSum'] });
  });
  test('repeated axes', () => {
    expect(shapes(['N', 4, 3], ['N', 1, 3])).toEqual({ shape: ['N', 1, 3], ops: ['ReduceSum'] });
  });
  test('both', () => {
    expect(shapes(['N', 4, 3], [4, 1]).shape).toEqual([4, 1]);
    expect(shapes(['N', 'C', 3], ['C', 1]).shape).toEqual(['C', 1]);
  });
  test('what may or may not be repeated is refused', () => {
    expect(() => shapes(['?0'], ['N'])).toThrow('shape/unknown');
  });
});

describe('gradients that are refused', () => {
  /** Asks for the gradient of a node by its first operand. */
  const differentiate = (b: Builder, node: Node): (Value | undefined)[] | undefined =>
    findOp(node)?.gradient?.({
      node,
      attributes: node.attributes,
      b,
      input: (i) => node.input(i),
      has: (i) => node.inputs[i] !== undefined,
      output: (i) => node.output(i),
      grad: (i) => node.output(i),
      hasGrad: () => true,
      wants: (i) => i === 0,
    });
  const setting = (...shape: Dim[]): { b: Builder; x: Value } => {
    const graph = new Graph();
    const b = new Builder(graph, { phase: 'forward', path: 'p' });
    return { b, x: graph.addInput('x', { dtype: 'float32', shape }) };
  };

  test('Dropout in training mode says how to export without it', () => {
    const { b, x } = setting(2);
    const mode = b.constant(Tensor.scalar(1, 'bool'));
    const node = b.node('Dropout', [x, b.scalar(0.5), mode]);
    expect(() => differentiate(b, node)).toThrow(/op\/no-gradient[\s\S]*model\.eval\(\)/);
  });

  test('Pad by reflection', () => {
    const { b, x } = setting(4);
    const node = b.node('Pad', [x, b.ints(1, 1)], { attributes: { mode: string('reflect') } });
    expect(node.output().shape).toEqual([6]);
    expect(() => differentiate(b, node)).toThrow(/op\/no-gradient[\s\S]*reflect/);
  });

  test('a slice whose bounds are computed, or whose operand has no known shape', () => {
    const { b, x } = setting(4);
    const end = b.op('Shape', [x]);
    const node = b.node('Slice', [x, b.ints(0), end]);
    expect(() => differentiate(b, node)).toThrow('op/no-gradient');
    const open = setting('N');
    const other = open.b.node('Slice', [open.x, open.b.ints(0), open.b.ints(1)]);
    expect(() => differentiate(open.b, other)).toThrow('shape/unknown');
  });
});
