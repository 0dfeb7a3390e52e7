// Lifetimes of buffers in small graphs, worked out by hand from the executor's rules.

import { describe, expect, test } from 'vitest';
import { Tensor, executionOrder, ints } from '../../src/ir/index.js';
import type { Value } from '../../src/ir/index.js';
import { plannerShapes, profile } from '../../src/memory/index.js';
import { Sketch, lifetimes, names } from './support.js';

describe('views and in-place results', () => {
  test('a view keeps the buffer of its operand, under another shape', () => {
    const s = new Sketch();
    const a = s.op('a', 'Exp', s.input('x', 4, 1000));
    const v = s.op('v', 'Reshape', a, s.b.ints(1000, 4));
    const b = s.op('b', 'Exp', v);
    const run = s.run(s.op('c', 'Exp', b));
    expect(names(run)).toEqual(['a', 'v', 'b', 'c']);
    expect(lifetimes(run)).toEqual(['a+v 0..2', 'b 2..3']);
  });

  test('a view of an input takes no memory and keeps none', () => {
    const s = new Sketch();
    const v = s.op('v', 'Reshape', s.input('x', 4, 1000), s.b.ints(1000, 4));
    const run = s.run(s.op('c', 'Relu', v));
    expect(lifetimes(run)).toEqual([]);
  });

  test('Relu overwrites what nobody else reads', () => {
    const s = new Sketch();
    const a = s.op('a', 'Exp', s.input('x', 4, 1000));
    const r = s.op('r', 'Relu', a);
    const run = s.run(s.op('c', 'Exp', r));
    expect(lifetimes(run)).toEqual(['a+r 0..2']);
  });

  test('Relu leaves alone what is read again', () => {
    const s = new Sketch();
    const a = s.op('a', 'Exp', s.input('x', 4, 1000));
    const r = s.op('r', 'Relu', a);
    const run = s.run(s.op('c', 'Add', a, r));
    expect(lifetimes(run)).toEqual(['a 0..2', 'r 1..2']);
  });

  test('Relu does not overwrite an input', () => {
    const s = new Sketch();
    const r = s.op('r', 'Relu', s.input('x', 4, 1000));
    const run = s.run(s.op('c', 'Exp', r));
    expect(lifetimes(run)).toEqual(['r 0..1']);
  });

  test('Add never works in place', () => {
    const s = new Sketch();
    const x = s.input('x', 4, 1000);
    const sum = s.op('sum', 'Add', s.op('a', 'Exp', x), s.op('b', 'Neg', x));
    const run = s.run(s.op('c', 'Exp', sum));
    expect(lifetimes(run).find((line) => line.includes('sum'))).toBe('sum 2..3');
  });
});

test('what nobody reads is never given back', () => {
  const s = new Sketch();
  const a = s.op('a', 'Exp', s.input('x', 4, 1000));
  s.op('unread', 'Neg', a);
  const b = s.op('b', 'Neg', s.op('c', 'Exp', a));
  const run = s.run(b);
  const end = run.order.length;
  expect(lifetimes(run).find((line) => line.includes('unread'))).toMatch(
    new RegExp(` \\d..${end}$`),
  );
});

describe('buffers taken over by shape', () => {
  /** a dies early; much later b has the same shape; g needs memory in between. */
  function gap(viewed: (s: Sketch, x: Value, target: Value, which: string) => Value): Sketch {
    const s = new Sketch();
    const x = s.input('x', 4, 1000);
    const target = s.graph.addInput('target', { dtype: 'int64', shape: [2] });
    const a = s.op('a', 'Exp', viewed(s, x, target, 'a'));
    const early = s.sum('early', a);
    const g = s.op('g', 'Add', s.input('y', 8, 3000), early);
    const late = s.sum('late', g);
    const b = s.op('b', 'Add', viewed(s, x, target, 'b'), late);
    s.graph.outputs.push(s.sum('end', b));
    return s;
  }

  test('the buffer is held until the last tensor in it has been read', () => {
    const run = gap((_, x) => x).run();
    expect(names(run)).toEqual(['a', 'early', 'g', 'late', 'b', 'end']);
    expect(lifetimes(run)).toEqual(['a+b 0..5', 'g 2..3']);
    // While g is made: a, though nobody reads it any more, the sum of one element, g.
    const { live, activationBytes, peakNode } = profile(run, () => 'activation');
    expect(live[2]).toBe(16_000 + 4 + 96_000);
    expect(activationBytes).toBe(112_004);
    expect(peakNode).toBe('test/g');
  });

  test('another symbol for the batch size prevents it', () => {
    const run = gap((s, x, target, which) => s.view(`view.${which}`, x, target, which)).run();
    // Of the operands of b, the view stands last in the file.
    expect(names(run)).toEqual(['view.b', 'view.a', 'a', 'early', 'g', 'late', 'b', 'end']);
    expect(lifetimes(run)).toEqual(['a 2..3', 'g 4..5', 'b 6..7']);
    expect(profile(run, () => 'activation').activationBytes).toBe(96_004);
  });

  test('the same symbol does not', () => {
    const run = gap((s, x, target, which) => s.view(`view.${which}`, x, target, 'N')).run();
    expect(lifetimes(run)).toEqual(['a+b 2..7', 'g 4..5']);
  });

  test('of two that fit, the one freed last is taken', () => {
    const s = new Sketch();
    const x = s.input('x', 4, 1000);
    const first = s.op('first', 'Exp', x);
    const second = s.op('second', 'Exp', first);
    const third = s.op('third', 'Exp', second);
    const total = s.sum('total', third);
    const run = s.run(s.sum('end', s.op('fourth', 'Add', x, total)));
    // third takes what first lay in; then second is freed, then third: fourth takes the latter.
    expect(lifetimes(run)).toEqual(['first+third+fourth 0..5', 'second 1..2']);
  });

  test('a result that is preallocated takes none over', () => {
    const s = new Sketch();
    const a = s.op('a', 'Exp', s.input('x', 4, 1000));
    const total = s.sum('total', a);
    const run = s.run(s.op('c', 'Add', s.input('y', 4, 1000), total));
    expect(lifetimes(run)).toEqual(['a 0..1']);
  });
});

describe('shapes the planner knows', () => {
  function keys(dims: readonly number[]): { key: string | undefined; after: unknown } {
    const s = new Sketch();
    const target = s.graph.addInput('target', { dtype: 'int64', shape: [3] });
    const v = s.view('v', s.input('x', 2, 3, 4), target, 'N');
    const r = s.op('r', 'Reshape', v, s.b.constant(Tensor.ints(dims)));
    const relu = s.op('relu', 'Relu', r);
    s.graph.outputs.push(relu);
    return { key: plannerShapes(executionOrder(s.graph))(relu), after: relu.shape };
  }

  test('0 keeps the symbol, and types are put back', () =>
    expect(keys([0, 12])).toEqual({ key: '4:N,12', after: [2, 12] }));
  test('−1 loses it', () => expect(keys([-1, 4])).toEqual({ key: undefined, after: [6, 4] }));
  test('−1 does not find it again', () =>
    expect(keys([-1, 3, 4])).toEqual({ key: undefined, after: [2, 3, 4] }));
  test('plain numbers end it', () => expect(keys([6, 4])).toEqual({ key: '4:6,4', after: [6, 4] }));
});

test('a Transpose of the last two axes is part of the product that reads it', () => {
  const s = new Sketch();
  const x = s.op('x', 'Exp', s.input('in', 2, 30, 20));
  const t = s.b.op('Transpose', [x], { name: 't', attributes: { perm: ints([0, 2, 1]) } });
  const run = s.run(s.op('product', 'MatMul', x, t));
  expect(names(run)).toEqual(['x', 'product']);
  expect(lifetimes(run)).toEqual(['x 0..1']);
});

test('a Transpose that is read otherwise stays', () => {
  const s = new Sketch();
  const x = s.op('x', 'Exp', s.input('in', 2, 30, 20));
  const t = s.b.op('Transpose', [x], { name: 't', attributes: { perm: ints([0, 2, 1]) } });
  const run = s.run(s.op('product', 'MatMul', x, t), s.op('other', 'Exp', t));
  expect(names(run)).toContain('t');
});
