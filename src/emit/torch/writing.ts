// What the writer of an operator may ask and say. In: a node whose operands are written already. Out: an expression,
// parts of the module. Invariant: a writer looks at nothing but its node.

import { DiagnosticError } from '../../diagnostics/index.js';
import { isStatic } from '../../ir/index.js';
import type { Attributes, Dim, Node, Shape, Tensor, Value } from '../../ir/index.js';
import type { Code, Reference } from './code.js';

/** How a constant of the model lies in a parameter: as it is, or with its two axes exchanged. */
export type Layout = 'same' | 'transposed' | 'flat';

/** A tensor of a part: which constant of the model it holds. */
export interface Holding {
  /** Its name in the part: weight, bias, running_mean; '' where the part is the tensor itself. */
  readonly name: string;
  readonly value: Value;
  readonly layout: Layout;
}

/** An attribute of the module being written: a layer, a parameter or a buffer. */
export interface Part {
  readonly node: Node;
  /** What it is called where nothing better is known. */
  readonly fallback: string;
  readonly code: Code;
  readonly holds: readonly Holding[];
  /** Written with register_buffer. */
  readonly isBuffer: boolean;
}

/** What a writer works with. */
export interface Writing {
  readonly node: Node;
  readonly attributes: Attributes;
  has(index: number): boolean;
  /** The operand as an expression: a variable, a number, a part of the module. */
  arg(index: number): Code;
  /** Shape of an operand. @throws DiagnosticError shape/unknown */
  shape(index: number): Shape;
  /** Shape of the result. @throws DiagnosticError shape/unknown */
  outShape(): Shape;
  dtype(index: number): string;
  /** Elements of an integer operand that are known, symbols of the batch included. */
  dims(index: number): readonly Dim[] | undefined;
  /** An extent as an expression. */
  extent(dim: Dim): Code;
  /** The constant an operand is. */
  constant(index: number): Value | undefined;
  /** The only element of a constant operand. */
  scalar(index: number): number | undefined;
  /** Whether an operand is a constant that is trained. */
  trained(index: number): boolean;
  /** A tensor that is at hand, for its type and its place. */
  anchor(): Code;
  /** Whether several nodes read this constant. */
  shared(value: Value): boolean;
  /** Adds a layer that holds these constants. */
  layer(fallback: string, code: Code, holds: readonly Holding[]): Code;
  /** Refuses the node. */
  fail(why: string): never;
}

/** The expression of a node's result; of several results, a tuple of them. */
export type Writer = (w: Writing) => Code;

export type Writers = Readonly<Record<string, Writer>>;

export const partOf = (index: number): Reference => ({ kind: 'part', index });

/** Whole numbers of an operand. @throws DiagnosticError */
export function numbers(w: Writing, index: number): readonly number[] {
  const dims = w.dims(index);
  if (!dims || !isStatic(dims)) return w.fail(`operand ${index} is not known beforehand`);
  return dims;
}

/** A constant operand with its elements. */
export const load = (w: Writing, index: number): Tensor | undefined =>
  w.constant(index)?.constant?.load();

export const rankOf = (w: Writing, index = 0): number => w.shape(index).length;

/** An axis counted from 0. */
export const axisOf = (axis: number, rank: number): number => (axis < 0 ? axis + rank : axis);

/** Where operators without a form in PyTorch are to be added. */
export const OPERATOR_FOLDER = 'src/emit/torch/ops/';

export const unsupported = (node: Node, why: string): DiagnosticError =>
  new DiagnosticError(
    'export/operator',
    `node ${node.name} (${node.op})`,
    why,
    `add its form to a file in ${OPERATOR_FOLDER}, or export the model without it`,
  );
