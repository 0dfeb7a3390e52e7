// What the compiler knows about one operator, all of it in one block: types, reference semantics, gradient,
// cost, how it is recomputed, samples to test it with. In: nodes and types. Out: facts and new nodes.
// Invariant: a definition never looks at anything but the node it is given.

import type { Attributes, Dim, Node, Shape, Tensor, TensorType, Value } from '../ir/index.js';
import type { Builder } from './builder.js';
import type { Random } from './random.js';

/** Our own domain: the abstract steps gradients are written in, lowered to ai.onnx before anything is emitted. */
export const REVNETIFY = 'revnetify';

/** The opset every pass works on; see passes/upgrade-opset.ts for why it is this one. */
export const WORKING_OPSET = 17;

/** What type inference and cost may read of a node. */
export interface InferContext {
  readonly node: Node;
  readonly attributes: Attributes;
  readonly inputCount: number;
  readonly outputCount: number;
  /** Whether the operand is given. */
  has(index: number): boolean;
  /** Type of an operand. @throws DiagnosticError shape/unknown when it is not known */
  type(index: number): TensorType;
  /** Shape of an operand. @throws DiagnosticError shape/unknown when its rank is not known */
  shape(index: number): Shape;
  /** Shape with every extent known. @throws DiagnosticError shape/unknown */
  staticShape(index: number): readonly number[];
  /** Elements of a small integer operand as far as they are known: a constant, or dimensions that flowed
   * through Shape, Gather, Concat…; undefined when nothing is known. */
  content(index: number): readonly Dim[] | undefined;
  /** content() when every element is a number. */
  numbers(index: number): readonly number[] | undefined;
  /** A symbol for an extent that cannot be expressed, the same for the same node at each call index. */
  fresh(): string;
  /** Refuses the node. @throws DiagnosticError shape/mismatch */
  fail(why: string): never;
}

/** Operands and attributes for the reference interpreter. All arithmetic is in float64. */
interface EvaluateContext {
  readonly attributes: Attributes;
  readonly inputs: readonly (Tensor | undefined)[];
  readonly outputCount: number;
  input(index: number): Tensor;
}

/** Where a gradient rule reads values and builds nodes. */
export interface GradientContext {
  readonly node: Node;
  readonly attributes: Attributes;
  readonly b: Builder;
  /** Operand of the node being differentiated (its recomputed twin in the backward pass). */
  input(index: number): Value;
  has(index: number): boolean;
  output(index?: number): Value;
  /** Gradient of the loss by output 0 (or index). */
  grad(index?: number): Value;
  hasGrad(index: number): boolean;
  /** Whether the gradient by this operand is needed at all: rules skip the rest. */
  wants(index: number): boolean;
}

/** One axis of an operand or a result. */
export interface AxisRef {
  readonly side: 'in' | 'out';
  readonly index: number;
  readonly axis: number;
}

/** Axes that have one extent whatever it is: a change of one is a change of all. */
export interface AxisLink {
  readonly axes: readonly AxisRef[];
  /** The extent must stay a multiple of this (channels of one group). Default 1. */
  readonly multiple?: number;
}

/** What a new trained constant starts as: drawn for this fan-in (He et al. 2015), a number, or the neutral element. */
export type InitialValue =
  { readonly fanIn: number } | { readonly value: number } | 'ones' | 'zeros';

/** One set of operands to test an operator with. */
export interface OpSample {
  /** What this sample is about: "stride 2, group 4". */
  readonly label: string;
  readonly inputs: readonly (Tensor | undefined)[];
  readonly attributes?: Attributes;
  readonly outputs?: number;
  /** Indices of operands that are constants of the graph, not fed (a Reshape target). */
  readonly constants?: readonly number[];
  /** Operands whose gradient is compared with finite differences; default: every float operand. */
  readonly differentiable?: readonly number[];
}

export interface OpDefinition {
  readonly type: string;
  /** '' = ai.onnx (default) or REVNETIFY. */
  readonly domain?: string;
  /** Output types. Called with operand types known; may return undefined for outputs it cannot type. */
  infer(ctx: InferContext): (TensorType | undefined)[];
  /** Known elements of a small integer output (shape arithmetic). */
  propagate?(ctx: InferContext): readonly Dim[] | undefined;
  /** Reference semantics in float64. */
  evaluate(ctx: EvaluateContext): Tensor[];
  /** Gradients by the operands, undefined where not wanted or zero. Absent: the operator has no gradient. */
  gradient?(ctx: GradientContext): (Value | undefined)[];
  /** True for operators through which no gradient flows by definition (Shape, ArgMax, comparisons). */
  readonly nonDifferentiable?: boolean;
  /**
   * Operands that are trained when they are constants: indices, or 'any' for elementwise operators, where a
   * constant of more than one element is a bias or a scale. Default: none.
   */
  readonly parameters?: readonly number[] | 'any';
  /**
   * How the operator treats the extents of its operands and results, constants included: what has to change with
   * a changed number of channels. An axis that is not named here cannot be changed. Default: operators that keep
   * the shape link every axis of operand 0 and result 0, others none.
   */
  axes?(ctx: InferContext): readonly AxisLink[];
  /** Adapts what repeats an extent (a group count, a Reshape target) once the types have changed. */
  resized?(node: Node, b: Builder): void;
  /** How a trained constant of these dims at operand `index` is initialised. Default: not known. */
  initial?(index: number, dims: readonly number[], node: Node): InitialValue | undefined;
  /** Floating point operations (a multiply-add counts 2). Default 0. */
  flops?(ctx: InferContext): number;
  /** True when the result has the type and shape of operand 0 whatever these are. */
  readonly keepsShape?: boolean;
  /**
   * Makes a recomputed node wait for the token (a scalar that is always 0) through its cheapest operand:
   * Every recomputed node must have the token among its ancestors or the executor merges it with its
   * forward original. Default: Add(operand 0, token), a copy.
   */
  guard?(node: Node, token: Value, b: Builder): void;
  /** True where a recomputed node is guarded even if an operand waits: its values do not depend on that operand. */
  readonly guardAlways?: boolean;
  /** Another operator that recomputes this one more cheaply from small saved outputs. */
  recompute?(node: Node, inputs: readonly (Value | undefined)[], b: Builder, origin: Node): Value[];
  /** Test material; absent only for operators that are tested through another one. */
  samples?(random: Random): OpSample[];
}

/** Identity function that gives a literal its type. */
export const defineOp = (definition: OpDefinition): OpDefinition => definition;
