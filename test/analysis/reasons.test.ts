// Why an Add is no residual block, or is one and must be left: the code, and the values and nodes the sentence names.

import { describe, expect, test } from 'vitest';
import { int, ints } from '../../src/ir/index.js';
import type { Value } from '../../src/ir/index.js';
import { examineAdds, isBlock } from '../../src/analysis/index.js';
import { analyseModel } from '../../src/compiler/index.js';
import { Net } from './net.js';

/** "code: sentence" of every Add, in order; of blocks that may be coupled only "block". */
function reasons(net: Net, ...outputs: Value[]): string[] {
  net.blocks(...outputs);
  return examineAdds(net.model.graph).map((examined) => {
    const reason = isBlock(examined) ? examined.obstacle : examined.reason;
    // The nodes of Net are called "Conv:Conv1".
    return reason ? `${reason.code}: ${reason.why.replaceAll(/\b([A-Z]\w+):\1/g, '$1')}` : 'block';
  });
}

type Case = [name: string, make: (net: Net) => Value[], expected: string[]];

/** Half of the tokens' features, as attention does with heads. */
const project = (net: Net, x: Value): Value => net.op('MatMul', [x, net.constant([8, 8])]);

describe('no residual block', () => {
  test.each<Case>([
    [
      'a bias',
      (net) => [net.add(net.conv(net.input()), net.constant([4, 1, 1]))],
      [
        'constant: its operand c2 is a constant: a bias, or a step of a normalisation or an activation',
      ],
    ],
    [
      'x + x',
      (net) => {
        const y = net.conv(net.input());
        return [net.add(y, y)];
      },
      ['twice: both operands are Conv1'],
    ],
    [
      'two inputs',
      (net) => [net.add(net.conv(net.input()), net.conv(net.input(undefined, 'other')))],
      ['origins: Conv1 and Conv3 are computed from no value in common'],
    ],
    [
      'whole numbers',
      (net) => {
        const ids = net.model.graph.addInput('ids', { dtype: 'int64', shape: ['N', 4] });
        return [net.add(ids, net.op('Neg', [ids]))];
      },
      ['integers: ids holds whole numbers, no features'],
    ],
    [
      'GELU by tanh',
      (net) => {
        const y = net.conv(net.input());
        const cube = net.op('Mul', [net.op('Mul', [y, y]), y]);
        return [net.add(y, net.op('Mul', [cube, net.constant([], 0.044715)]))];
      },
      ['weightless: no weights between its operands: a step of an activation or a norm'],
    ],
    [
      'y·σ(y) + tanh(y)',
      (net) => {
        const y = net.conv(net.input());
        return [net.add(net.op('Sigmoid', [y]), net.op('Tanh', [y]))];
      },
      ['weightless: neither operand is computed with weights: a step of an activation'],
    ],
    [
      'highway',
      (net) => {
        const x = net.input();
        const gate = net.op('Sigmoid', [net.conv(x)]);
        const rest = net.op('Sub', [net.constant([], 1), gate]);
        return [net.add(net.op('Mul', [net.conv(x), gate]), net.op('Mul', [x, rest]))];
      },
      ['gated: both operands are products with a gate computed from Sigmoid2'],
    ],
    [
      'two heads of one trunk',
      (net) => {
        const x = net.input();
        const trunk = net.conv(x);
        return [net.op('Mul', [net.add(net.add(net.conv(trunk), x), net.conv(trunk)), trunk])];
      },
      [
        'tapped: Conv1, inside the branch, is also read by Conv6 (Conv) outside',
        'shared: both operands are computed from Conv1, on the way from input',
      ],
    ],
    [
      'a feature pyramid',
      (net) => {
        const x = net.conv(net.input());
        const deep = net.conv(x);
        return [net.add(net.conv(x), net.conv(deep)), net.relu(deep)];
      },
      ['tapped: Conv3, inside the branch, is also read by Relu9 (Relu) outside'],
    ],
    [
      'four operands',
      (net) => {
        const x = net.input();
        const [p, q] = [net.relu(x), net.relu(x)];
        return [net.op('Sum', [p, q, net.relu(p), net.relu(q)])];
      },
      ['operands: it sums 4 operands'],
    ],
  ])('%s', (_name, make, expected) => {
    const net = new Net();
    expect(reasons(net, ...make(net))).toEqual(expected);
  });
});

describe('a residual block that must be left', () => {
  test.each<Case>([
    [
      'broadcast',
      (net) => {
        const x = net.input();
        return [net.add(x, net.conv(net.op('GlobalAveragePool', [x])))];
      },
      [
        'broadcast: the shapes of its operands differ: [N, 4, 8, 8] and [N, 4, 1, 1], axis 2: 8 against 1, axis 3: 8 against 1',
      ],
    ],
    [
      'tapped inside (WaveNet)',
      (net) => {
        const x = net.input();
        const y = net.conv(x);
        return [net.op('Mul', [net.add(x, net.conv(y)), net.conv(y)])];
      },
      ['tapped: Conv1, inside the branch, is also read by Conv6 (Conv) outside'],
    ],
    [
      'an output inside (multi-exit)',
      (net) => {
        const x = net.input();
        const y = net.conv(x);
        return [net.add(x, net.conv(y)), y];
      },
      ['exit: Conv1, inside the branch, is an output of the network'],
    ],
    [
      'parallel, one after the other',
      (net) => {
        const x = net.input();
        return [net.add(net.conv(x), net.add(x, net.conv(x)))];
      },
      [
        'parallel: Add5 and Add4 sum input and parallel branches of it',
        'parallel: Add5 and Add4 sum input and parallel branches of it',
      ],
    ],
    [
      'parallel, three of them',
      (net) => {
        const x = net.input();
        return [net.add(net.add(net.block(x), net.conv(x)), net.conv(x))];
      },
      [
        'parallel: Add5 and Add2 sum input and parallel branches of it',
        'parallel: Add5 and Add2 sum input and parallel branches of it',
        'parallel: Add8 and Add5 sum input and parallel branches of it',
      ],
    ],
    [
      'parallel, together, after one norm (attention and MLP)',
      (net) => {
        const x = net.input();
        const y = net.batchNorm(x);
        return [net.add(net.add(net.conv(y), net.conv(net.relu(net.conv(y)))), x)];
      },
      [
        'parallel: Add13 and Add12 sum input and parallel branches of it',
        'parallel: Add13 and Add12 sum input and parallel branches of it',
      ],
    ],
    [
      'parallel, as one Sum',
      (net) => {
        const x = net.input();
        return [net.op('Sum', [net.conv(x), x, net.conv(x)])];
      },
      ['parallel: it sums input and 2 branches of it: Conv1, Conv3'],
    ],
    [
      'a cache of keys',
      (net) => {
        const x = net.input(['N', 4, 8], 'tokens');
        const past = net.input(['N', 'past', 8], 'past_key');
        const keys = net.op('Concat', [past, project(net, x)], { axis: int(1) });
        const scores = net.op('MatMul', [
          project(net, x),
          net.op('Transpose', [keys], { perm: ints([0, 2, 1]) }),
        ]);
        const read = net.op('MatMul', [net.op('Softmax', [scores], { axis: int(-1) }), keys]);
        return [net.add(x, project(net, read)), keys];
      },
      ['cache: the branch appends to past_key, an input of the network'],
    ],
    [
      'an input beside the first, and a result inside that is read outside',
      (net) => {
        const x = net.input();
        const mask = net.input(['N', 1, 8, 8], 'mask');
        const inner = net.conv(net.op('Mul', [x, mask]));
        net.model.graph.outputs.push(inner);
        return [net.add(x, net.conv(inner))];
      },
      ['exit: Conv2, inside the branch, is an output of the network'],
    ],
  ])('%s', (_name, make, expected) => {
    const net = new Net();
    expect(reasons(net, ...make(net))).toEqual(expected);
  });

  test('an input beside the first is a side input of the block', () => {
    const net = new Net();
    const x = net.input();
    const mask = net.input(['N', 1, 8, 8], 'mask');
    expect(reasons(net, net.add(x, net.conv(net.op('Mul', [x, mask]))))).toEqual(['block']);
  });

  test('a second branch with the shape of a shortcut is a projection, not parallel', () => {
    const net = new Net();
    const x = net.input();
    expect(reasons(net, net.add(net.conv(net.relu(net.conv(x))), net.conv(x)))).toEqual(['block']);
  });
});

describe('in the report', () => {
  const reported = (net: Net, output: Value): string[] => {
    net.model.graph.outputs.push(output);
    const { reports, others } = analyseModel(net.model, { batchNorm: 'keep' });
    return [...reports, ...others].map((r) => `${r.coupled ? 'coupled' : r.code}: ${r.reason}`);
  };

  test('an operator that is not supported is named', () => {
    const net = new Net();
    const x = net.conv(net.input());
    const y = net.model.graph.addNode({ op: 'LSTM', name: 'cell', inputs: [x], outputs: ['h'] });
    expect(reported(net, net.add(x, net.conv(y.output())))).toEqual([
      'operator: its branch holds cell (LSTM), which is not supported',
    ]);
  });

  test('shapes that are not known to be equal are named', () => {
    const net = new Net();
    const x = net.input(['N', 4, 'H', 8]);
    const shape = net.op('Concat', [net.op('Shape', [net.input(undefined, 'other')])], {
      axis: int(0),
    });
    const f = net.op('Reshape', [net.conv(x), shape]);
    expect(reported(net, net.add(x, f))).toEqual([
      'unproved: the shapes of shortcut and branch could not be proved equal: [N, 4, H, 8] and [N, 4, 8, 8], axis 2: H against 8',
    ]);
  });

  test('a block that holds others names them', () => {
    const net = new Net();
    const x = net.conv(net.input());
    const outer = net.add(x, net.block(net.block(net.conv(x))));
    expect(reported(net, outer).at(-1)).toMatch(
      /^nested: its branch holds other residual blocks \(\w+ to \w+, 2 in all\), which are/,
    );
  });
});
