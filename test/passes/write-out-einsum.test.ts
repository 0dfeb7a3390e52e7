// Every kind of Einsum equation, written out, against ONNX Runtime's own Einsum; open extents; refusals; gradients.

import { describe, expect, test } from 'vitest';
import { createState, runPipeline } from '../../passes/index.js';
import { writeOutEinsumPass } from '../../passes/write-out-einsum.js';
import { Model, Tensor, string } from '../../src/ir/index.js';
import type { Dim, Value } from '../../src/ir/index.js';
import { encodeModel } from '../../src/onnx/index.js';
import { Random, interpret } from '../../src/ops/index.js';
import { difference, runBytes } from '../ops/support.js';

const random = new Random(5);

interface Built {
  readonly model: Model;
  readonly inputs: readonly Value[];
}

/** x0, x1, … → Einsum → Relu → y, so that the result is read by another node too. */
function build(equation: string, shapes: readonly (readonly Dim[])[]): Built {
  const model = new Model();
  model.opsets.set('', 17);
  const { graph } = model;
  const inputs = shapes.map((shape, i) => graph.addInput(`x${i}`, { dtype: 'float32', shape }));
  const einsum = graph.addNode({
    op: 'Einsum',
    inputs,
    outputs: ['product'],
    attributes: { equation: string(equation) },
  });
  einsum.name = 'einsum';
  const relu = graph.addNode({ op: 'Relu', inputs: [einsum.output()], outputs: ['y'] });
  graph.outputs.push(einsum.output(), relu.output());
  return { model, inputs };
}

const writeOut = (model: Model): void => runPipeline([writeOutEinsumPass], createState(model));

const EQUATIONS: readonly (readonly [equation: string, shapes: number[][]])[] = [
  [
    'ij,jk->ik',
    [
      [2, 3],
      [3, 4],
    ],
  ],
  [
    'ij,jk',
    [
      [2, 3],
      [3, 4],
    ],
  ],
  [
    'bij,bjk->bik',
    [
      [2, 3, 4],
      [2, 4, 5],
    ],
  ],
  [
    'bij , bkj -> bki',
    [
      [2, 3, 4],
      [2, 5, 4],
    ],
  ],
  [
    'bhid,bhjd->bhij',
    [
      [2, 2, 3, 4],
      [2, 2, 5, 4],
    ],
  ],
  [
    'bqhd,bkhd->bhqk',
    [
      [2, 3, 2, 4],
      [2, 5, 2, 4],
    ],
  ],
  [
    'bhwc,cd->bhwd',
    [
      [2, 3, 2, 4],
      [4, 5],
    ],
  ],
  [
    'dc,nchw->ndhw',
    [
      [5, 4],
      [2, 4, 3, 2],
    ],
  ],
  [
    'nctkv,kvw->nctw',
    [
      [2, 3, 2, 2, 4],
      [2, 4, 5],
    ],
  ],
  [
    'bijc,bjkc->bikc',
    [
      [2, 3, 4, 2],
      [2, 4, 5, 2],
    ],
  ],
  [
    'bhij,bhjc,cd->bhid',
    [
      [2, 2, 3, 4],
      [2, 2, 4, 3],
      [3, 5],
    ],
  ],
  ['i,j->ij', [[3], [4]]],
  ['i,i->', [[3], [3]]],
  ['i,i->i', [[3], [3]]],
  [
    'ij,ij->j',
    [
      [3, 2],
      [3, 2],
    ],
  ],
  [
    'ijk,jl->il',
    [
      [2, 3, 4],
      [3, 5],
    ],
  ],
  [
    'ij,kl->jk',
    [
      [2, 3],
      [4, 2],
    ],
  ],
  [
    '...ij,...jk->...ik',
    [
      [2, 2, 3, 4],
      [2, 2, 4, 5],
    ],
  ],
  [
    '...ij,...jk',
    [
      [2, 3, 4],
      [2, 4, 5],
    ],
  ],
  [
    '...d,de->...e',
    [
      [2, 3, 4],
      [4, 5],
    ],
  ],
  [
    'i...,i...->...',
    [
      [2, 3],
      [2, 3],
    ],
  ],
  ['ij->ji', [[2, 3]]],
  ['ji', [[2, 3]]],
  ['ijk->k', [[2, 3, 4]]],
  ['...i->...', [[2, 3, 4]]],
  ['ij->ij', [[2, 3]]],
];

test.each(EQUATIONS)('%s', async (equation, shapes) => {
  const { model, inputs } = build(equation, shapes);
  const tensors = shapes.map((dims) => random.tensor(dims));
  const feeds = Object.fromEntries(tensors.map((tensor, i) => [`x${i}`, tensor]));
  const want = await runBytes(encodeModel(model).bytes, feeds);
  writeOut(model);
  expect([...model.graph.nodes].some((node) => node.op === 'Einsum')).toBe(false);
  const got = await runBytes(encodeModel(model).bytes, feeds);
  const reference = interpret(
    model.graph,
    new Map(inputs.map((value, i) => [value, tensors[i] as Tensor])),
  );
  expect([...got.keys()].sort()).toEqual(['product', 'y']);
  for (const value of model.graph.outputs) {
    const [expected, actual] = [want.get(value.name), got.get(value.name)];
    if (!expected || !actual) throw new Error(`no ${value.name}`);
    expect(actual.dims).toEqual(expected.dims);
    expect(value.shape).toEqual(expected.dims);
    expect(difference(actual, expected)).toBeLessThan(1e-5);
    const exact = reference.get(value);
    expect(exact && difference(exact, expected)).toBeLessThan(1e-5);
  }
});

describe('open extents', () => {
  const open: readonly (readonly [string, Dim[][]])[] = [
    [
      'bhid,bhjd->bhij',
      [
        ['N', 2, 'S', 4],
        ['N', 2, 'S', 4],
      ],
    ],
    [
      'bqhd,bkhd->bhqk',
      [
        ['N', 'S', 2, 4],
        ['N', 'S', 2, 4],
      ],
    ],
    [
      'bhwc,cd->bhwd',
      [
        ['N', 'H', 'W', 4],
        [4, 5],
      ],
    ],
    [
      'nctkv,kvw->nctw',
      [
        ['N', 3, 2, 2, 4],
        [2, 4, 5],
      ],
    ],
  ];
  test.each(open)('%s', async (equation, shapes) => {
    const { model } = build(equation, shapes);
    const extent: Record<string, number> = { N: 3, S: 5, H: 2, W: 6 };
    const dims = shapes.map((shape) =>
      shape.map((d) => (typeof d === 'number' ? d : (extent[d] ?? 0))),
    );
    const feeds = Object.fromEntries(dims.map((d, i) => [`x${i}`, random.tensor(d)]));
    const want = await runBytes(encodeModel(model).bytes, feeds);
    writeOut(model);
    const got = await runBytes(encodeModel(model).bytes, feeds);
    const [expected, actual] = [want.get('y'), got.get('y')];
    expect(expected && actual && difference(actual, expected)).toBeLessThan(1e-5);
  });

  test('more than one that would have to be joined is refused', () => {
    const { model } = build('nctkv,nkvw->nctw', [
      ['N', 'C', 'T', 2, 4],
      ['N', 2, 4, 5],
    ]);
    expect(() => writeOut(model)).toThrow('shape/unknown');
  });
});

describe('refused with a reason', () => {
  const refused: readonly (readonly [string, string, number[][]])[] = [
    ['ii->i', 'diagonal', [[3, 3]]],
    [
      'ij,jk->ik',
      'rank 3',
      [
        [2, 3, 4],
        [3, 4],
      ],
    ],
    ['ij->ik', 'axis k', [[2, 3]]],
    ['ij,jk->ik', '2 operands', [[2, 3]]],
    ['i?->i', 'cannot be read', [[2, 3]]],
  ];
  test.each(refused)('%s: %s', (equation, why, shapes) => {
    const { model } = build(equation, shapes);
    expect(() => writeOut(model)).toThrow(why);
  });
});
