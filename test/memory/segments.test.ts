import { expect, test } from 'vitest';
import { holdAtBorders } from '../../src/memory/index.js';
import { Sketch, lifetimes } from './support.js';

test('what one segment makes for another is held from the begin of the first to the end of the last', () => {
  const s = new Sketch();
  const x = s.input('x', 4, 1000);
  const a = s.op('a', 'Transpose', x);
  const b = s.op('b', 'Softmax', a);
  const c = s.op('c', 'Concat', b, b);
  const d = s.op('d', 'Transpose', c);
  const run = s.run(s.op('e', 'Exp', d));
  expect(lifetimes(run)).toEqual(['a 0..1', 'b 1..2', 'c 2..3', 'd 3..4']);
  expect(lifetimes(holdAtBorders(run, Int32Array.of(0, 0, 1, 1, 1)))).toEqual([
    'a 0..1',
    'b 0..4',
    'c 2..3',
    'd 3..4',
  ]);
  expect(lifetimes(holdAtBorders(run, Int32Array.of(0, 0, 0, 0, 0)))).toEqual(lifetimes(run));
});
