// Rewrites: what matches, what does not and why, and what is left of the graph.

import { describe, expect, test } from 'vitest';
import { InlineData, Model, Tensor, float, int, ints, string } from '../../src/ir/index.js';
import type { AttributeMap, Value } from '../../src/ir/index.js';
import { assertValid } from '../../src/ir/verify.js';
import { inferTypes } from '../../src/analysis/index.js';
import { defineRewrite, runPipeline } from '../../src/rewrite/index.js';
import type { Outcome, PatternFunction, Rewrite, RewriteInit } from '../../src/rewrite/index.js';

/** A graph written down node by node. */
class Sketch {
  readonly model = new Model();
  readonly x: Value;

  constructor() {
    this.model.opsets.set('', 17);
    this.x = this.model.graph.addInput('x', { dtype: 'float32', shape: ['N', 4] });
  }

  op(op: string, inputs: readonly (Value | undefined)[], attributes: AttributeMap = {}): Value {
    const { graph } = this.model;
    const [domain, type] = op.includes('.') ? op.split('.') : ['', op];
    return graph
      .addNode({
        op: type ?? op,
        domain: domain ?? '',
        inputs,
        attributes,
        outputs: [`${op}${graph.nodes.size}`],
      })
      .output();
  }

  constant(...values: number[]): Value {
    const data = new InlineData(Tensor.of('float32', [values.length], values));
    return this.model.graph.addConstant('c', data);
  }

  out(...values: Value[]): this {
    this.model.graph.outputs.push(...values);
    inferTypes(this.model.graph);
    assertValid(this.model);
    return this;
  }

  get ops(): string[] {
    return [...this.model.graph.nodes].map((node) => node.op);
  }
}

const matching = (match: PatternFunction, more: Partial<RewriteInit> = {}): Rewrite =>
  defineRewrite({
    name: 'mine',
    summary: 'is tested',
    match,
    replace: ({ x }, { build }) => build.op('Sigmoid', [x]),
    ...more,
  });

/** Applies it with the verifier after it; what it says of itself. */
function apply(rewrite: Rewrite, { model }: Sketch): Outcome | undefined {
  let said: Outcome | undefined;
  const hear = { afterPass: (_: string, __: Model, ___: number, o?: Outcome) => void (said = o) };
  runPipeline([rewrite], { model }, [hear]);
  return said;
}

/** Why it does not match, one reason per candidate. */
const reasons = (
  match: PatternFunction,
  { model }: Sketch,
  more: Partial<RewriteInit> = {},
): string[] =>
  matching(match, more)
    .attempts(model.graph)
    .map((a) => (a.matched ? 'matched' : a.reason));

describe('what matches', () => {
  test('operands of commutative operators in either order', () => {
    for (const swap of [false, true]) {
      const s = new Sketch();
      const [a, b] = [s.op('Relu', [s.x]), s.op('Tanh', [s.x])];
      s.out(s.op('Add', swap ? [b, a] : [a, b]));
      expect(reasons((op, { x }) => op.Add(op.Tanh(x), op.Relu(x)), s)).toEqual(['matched']);
      expect(reasons((op, { x }) => op.Sub(op.Tanh(x), op.Relu(x)), s)).toEqual([]);
    }
    const s = new Sketch();
    s.out(s.op('Sub', [s.op('Relu', [s.x]), s.x]));
    expect(reasons((op, { x }) => op.Sub(x, op.Relu(x)), s)).toEqual([
      'operand 1 of Sub is an input of the graph, not Relu',
    ]);
  });

  test('a variable stands for one value', () => {
    const s = new Sketch();
    const other = s.op('Neg', [s.x]);
    s.out(s.op('Mul', [s.op('Sigmoid', [other]), s.x]), s.op('Mul', [s.x, s.op('Sigmoid', [s.x])]));
    expect(reasons((op, { x }) => op.Mul(x, op.Sigmoid(x)), s)).toEqual([
      'x would stand for two values',
      'matched',
    ]);
  });

  test('a part that is used twice is one node', () => {
    const s = new Sketch();
    const once = s.op('Relu', [s.x]);
    s.out(s.op('Add', [once, once]), s.op('Add', [s.op('Relu', [s.x]), s.op('Relu', [s.x])]));
    const pattern: PatternFunction = (op, { x }) => {
      const relu = op.Relu(x);
      return op.Add(relu, relu);
    };
    expect(reasons(pattern, s)).toEqual(['matched', 'two results are not of the same Relu']);
  });

  test('numbers are constants', () => {
    const s = new Sketch();
    s.out(
      s.op('Mul', [s.x, s.constant(0.1, 0.1, 0.1, 0.1)]),
      s.op('Mul', [s.x, s.constant(0.1, 0.1, 0.1, 0.2)]),
      s.op('Mul', [s.x, s.x]),
    );
    const no = 'operand 1 of Mul is not the constant 0.1';
    expect(reasons((op, { x }) => op.Mul(x, 0.1), s)).toEqual(['matched', no, no]);
  });

  test('attributes: equal, or as a function says', () => {
    const s = new Sketch();
    s.out(
      s.op('LeakyRelu', [s.x], { alpha: float(0.1) }),
      s.op('LeakyRelu', [s.x]),
      s.op('Clip', [s.x], { kind: string('a'), axes: ints([0, 1]), axis: int(1) }),
    );
    expect(reasons((op, { x }) => op.LeakyRelu(x, { alpha: 0.1 }), s)).toEqual([
      'matched',
      'attribute alpha of LeakyRelu is not given',
    ]);
    const [given, absent] = reasons(
      (op, { x }) => op.LeakyRelu(x, { alpha: (a) => a === undefined }),
      s,
    );
    expect(given).toMatch(/^attribute alpha of LeakyRelu is 0\.1/);
    expect(absent).toBe('matched');
    expect(reasons((op, { x }) => op.Clip(x, { kind: 'a', axes: [0, 1], axis: 1 }), s)).toEqual([
      'matched',
    ]);
    expect(reasons((op, { x }) => op.Clip(x, { axes: [0] }), s)).toEqual([
      'attribute axes of Clip is [0,1]',
    ]);
  });

  test('operands that are left out, and more than the pattern has', () => {
    const s = new Sketch();
    s.out(s.op('Clip', [s.x, undefined, s.constant(1)]), s.op('Clip', [s.x, s.constant(0)]));
    expect(reasons((op, { x, max }) => op.Clip(x, undefined, max), s)).toEqual([
      'matched',
      'operand 1 of Clip is given',
    ]);
    expect(reasons((op, { x }) => op.Clip(x), s)).toEqual([
      'Clip has 3 operands, the pattern 1',
      'Clip has 2 operands, the pattern 1',
    ]);
    expect(reasons((op, { x, min, max }) => op.Clip(x, min, max), s)).toEqual([
      'operand 1 of Clip is left out',
      'operand 2 of Clip is left out',
    ]);
  });

  test('other domains and other results of a node', () => {
    const s = new Sketch();
    const { graph } = s.model;
    const split = graph.addNode({ op: 'Split', inputs: [s.x], outputs: ['a', 'b'] });
    s.out(s.op('my.Relu', [s.x]), s.op('Sub', [split.output(0), split.output(1)]));
    const own: PatternFunction = (op, { x }) => (op['my.Relu'] ?? op.Relu)(x);
    expect(reasons(own, s)).toEqual(['matched']);
    expect(reasons((op, { x }) => op.Relu(x), s)).toEqual([]);
    const parts: PatternFunction = (op, { x }) => {
      const both = op.Split(x);
      return op.Sub(both, both.output(1));
    };
    expect(reasons(parts, s)).toEqual(['matched']);
    expect(reasons((op, { x }) => op.Sub(op.Split(x).output(1), op.Split(x)), s)).toEqual([
      'operand 0 of Sub is result 0 of Split',
    ]);
  });
});

describe('what is inside a match belongs to it', () => {
  const pattern: PatternFunction = (op, { x }) => op.Relu(op.Neg(x));

  test('not if something outside reads it', () => {
    const s = new Sketch();
    const inner = s.op('Neg', [s.x]);
    s.out(s.op('Relu', [inner]), s.op('Tanh', [inner]));
    expect(reasons(pattern, s)).toEqual([
      'the result of Neg inside the match is also read by a Tanh outside',
    ]);
  });
  test('not if it is a graph output', () => {
    const s = new Sketch();
    const inner = s.op('Neg', [s.x]);
    s.out(s.op('Relu', [inner]), inner);
    expect(reasons(pattern, s)).toEqual(['the result of Neg inside the match is a graph output']);
  });
  test('not if a subgraph reads the result', () => {
    const s = new Sketch();
    const y = s.op('Relu', [s.op('Neg', [s.x])]);
    const loop = s.op('Loop', []);
    loop.producer?.addCapture(y);
    s.out(loop);
    expect(reasons(pattern, s)).toEqual(['the result of Relu is read by a subgraph']);
  });
  test('not if check says why not', () => {
    const s = new Sketch();
    s.out(s.op('Relu', [s.op('Neg', [s.x])]));
    expect(reasons(pattern, s, { check: () => 'Tuesday' })).toEqual(['Tuesday']);
    expect(reasons(pattern, s, { check: () => false })).toEqual(['check refused it']);
  });
});

describe('what is left', () => {
  test('applies until nothing matches, and keeps the names of outputs', () => {
    const s = new Sketch();
    let y = s.x;
    for (let i = 0; i < 7; i++) y = s.op('Relu', [y]);
    s.out(y);
    const { name } = y;
    const once = matching((op, { x }) => op.Relu(op.Relu(x)), {
      replace: ({ x }, { build }) => build.op('Relu', [x]),
    });
    expect(apply(once, s)?.changes).toBe(6);
    expect(s.ops).toEqual(['Relu']);
    expect(s.model.graph.outputs.map((v) => v.name)).toEqual([name]);
  });

  test('says what it did not change, as data', () => {
    const s = new Sketch();
    s.out(s.op('Relu', [s.x]), s.op('Relu', [s.op('Neg', [s.x])]));
    expect(
      apply(
        matching((op, { x }) => op.Relu(op.Tanh(x))),
        s,
      ),
    ).toEqual({
      changes: 0,
      reasons: new Map([
        ['operand 0 of Relu is an input of the graph, not Tanh', 1],
        ['Neg stands where the pattern has Tanh', 1],
      ]),
    });
  });

  test.each(['input', 'constant', 'other output'])('a graph output replaced by an %s', (kind) => {
    const s = new Sketch();
    const other = kind === 'constant' ? s.constant(1, 2, 3, 4) : s.x;
    const tanh = s.op('Tanh', [other]);
    const source = kind === 'other output' ? tanh : other;
    const y = s.op('Identity', [s.op('Dropout', [source])]);
    s.out(...(kind === 'other output' ? [tanh] : []), y);
    const { name } = y;
    const names = s.model.graph.outputs.map((v) => v.name);
    apply(
      matching((op, { x }) => op.Identity(op.Dropout(x)), { replace: ({ x }) => x as Value }),
      s,
    );
    expect(s.model.graph.outputs.map((v) => v.name)).toEqual(names);
    expect(names).toContain(name);
    expect(s.ops).not.toContain('Dropout');
  });

  test('several results are replaced by a list', () => {
    const s = new Sketch();
    const split = s.model.graph.addNode({ op: 'Split', inputs: [s.x], outputs: ['a', 'b'] });
    s.out(s.op('Neg', [split.output(0)]), s.op('Relu', [split.output(1)]));
    apply(
      matching((op, { x }) => op.Split(x), {
        replace: ({ x }, { build }) => [build.op('Tanh', [x]), build.op('Sigmoid', [x])],
      }),
      s,
    );
    expect(s.ops).toEqual(['Tanh', 'Neg', 'Sigmoid', 'Relu']);
  });

  test('parts by their label, and the node they came from as origin', () => {
    const s = new Sketch();
    s.out(s.op('Relu', [s.op('LeakyRelu', [s.x], { alpha: float(0.5) })]));
    const seen: number[] = [];
    apply(
      matching((op, { x }) => op.Relu(op.LeakyRelu(x).as('leaky')), {
        check: (_, place) => {
          seen.push(place.node('leaky').attributes.float('alpha', 0));
          return true;
        },
      }),
      s,
    );
    expect(seen).toEqual([0.5]);
    const [node] = s.model.graph.nodes;
    expect([node?.op, node?.origin]).toEqual(['Sigmoid', 'Relu:Relu1']);
  });
});
