// Where a stretch is cut: between wide layers, at what is narrow, and only when that makes the peak smaller.

import { describe, expect, test } from 'vitest';
import { Graph } from '../../src/ir/index.js';
import type { Node, Value } from '../../src/ir/index.js';
import { cutStretch, interiorBytes } from '../../src/schedule/index.js';

/** Relu after Relu, with results of these numbers of float32 elements. */
function chain(widths: readonly number[]): Node[] {
  const graph = new Graph();
  let x: Value = graph.addInput('x', { dtype: 'float32', shape: [1] });
  for (const width of widths) {
    x = graph.addNode({ op: 'Relu', inputs: [x], outputs: [`y${graph.nodes.size}`] }).output();
    x.type = { dtype: 'float32', shape: [width] };
  }
  graph.outputs.push(x);
  return [...graph.nodes];
}

const lengths = (widths: readonly number[], floor: number): number[] =>
  cutStretch(chain(widths), floor).map((part) => part.length);

describe('cutStretch', () => {
  test('cuts behind narrow results', () => {
    expect(lengths([100, 100, 1, 100, 100, 1, 100, 100], 0)).toEqual([3, 3, 2]);
  });
  test('leaves alone what is no larger than the floor', () => {
    const widths = [100, 100, 1, 100, 100];
    expect(lengths(widths, interiorBytes(chain(widths)))).toEqual([5]);
    expect(lengths(widths, 800)).toEqual([3, 2]);
  });
  test('does not cut where storing the boundary costs what the cut saves', () => {
    expect(lengths([1, 100, 1], 400)).toEqual([3]);
  });
  test('counts what lies across a cut from further back', () => {
    const widths = [300, 100, 1, 100, 100, 100, 100];
    expect(lengths(widths, 0).length).toBeGreaterThan(1);
    const nodes = chain(widths);
    const [first, last] = [nodes[0], nodes.at(-1)];
    if (!first || !last) throw new Error('empty');
    last.addInput(first.output());
    // The narrow result is not all that would have to be stored: 401 + 301 elements against 701.
    expect(cutStretch(nodes, 0)).toHaveLength(1);
  });
});
