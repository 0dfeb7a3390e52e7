// Type inference of single nodes. In: a node whose operands have types. Out: types on its outputs, and the
// known contents of small integer values (shape arithmetic). Invariant: never guesses; what cannot be known
// stays undefined or a fresh symbol.

import { DiagnosticError } from '../diagnostics/index.js';
import { Tensor, elementCount, isStatic, sameShape } from '../ir/index.js';
import type {
  Attributes,
  ConstantData,
  DataType,
  Dim,
  Node,
  Shape,
  TensorType,
  Value,
} from '../ir/index.js';
import type { InferContext } from './definition.js';
import { broadcastDims, broadcastTo } from './elements.js';
import { findOp, noDefinition } from './registry.js';

/** Contents of small integer values that are not constants: dimensions on their way through a graph. */
export type Contents = WeakMap<Value, readonly Dim[]>;

/** Constants up to this size may be read as contents: shapes, axes, pads. */
const CONTENT_LIMIT = 4096;

/** Booleans too: exporters choose between extents by a mask. */
const CONTENT_TYPES: ReadonlySet<DataType> = new Set(['int64', 'int32', 'bool']);

/** Of constants that were read before: hundreds of nodes share one. */
const elements = new WeakMap<ConstantData, readonly number[]>();

function elementsOf(constant: ConstantData): readonly number[] {
  const known = elements.get(constant) ?? constant.load().toArray();
  elements.set(constant, known);
  return known;
}

class Context implements InferContext {
  private freshCount = 0;

  constructor(
    readonly node: Node,
    private readonly contents: Contents | undefined,
  ) {}

  get attributes(): Attributes {
    return this.node.attributes;
  }
  get inputCount(): number {
    return this.node.inputs.length;
  }
  get outputCount(): number {
    return this.node.outputs.length;
  }
  has(index: number): boolean {
    return this.node.inputs[index] !== undefined;
  }
  type(index: number): TensorType {
    const value = this.node.input(index);
    if (!value.type)
      throw this.unknown(`the type of operand ${index} (${value.name}) is not known`);
    return value.type;
  }
  shape(index: number): Shape {
    const { shape } = this.type(index);
    if (!shape)
      throw this.unknown(
        `the rank of operand ${index} (${this.node.input(index).name}) is not known`,
      );
    return shape;
  }
  staticShape(index: number): readonly number[] {
    const shape = this.shape(index);
    if (!isStatic(shape))
      throw this.unknown(
        `operand ${index} (${this.node.input(index).name}) has shape [${shape.join(',')}]`,
      );
    return shape;
  }
  content(index: number): readonly Dim[] | undefined {
    const value = this.node.inputs[index];
    if (!value) return undefined;
    if (value.constant) {
      const { dtype, dims } = value.constant;
      const size = dims.reduce((n, d) => n * d, 1);
      if (!CONTENT_TYPES.has(dtype) || size > CONTENT_LIMIT) return undefined;
      return elementsOf(value.constant);
    }
    return this.contents?.get(value);
  }
  numbers(index: number): readonly number[] | undefined {
    const content = this.content(index);
    return content && isStatic(content) ? content : undefined;
  }
  fresh(): string {
    return `?${this.node.outputs[0]?.name ?? this.node.name}#${this.freshCount++}`;
  }
  fail(why: string): never {
    throw new DiagnosticError('shape/mismatch', describe(this.node), why);
  }
  private unknown(why: string): DiagnosticError {
    return new DiagnosticError('shape/unknown', describe(this.node), why);
  }
}

const describe = (node: Node): string => `node ${node.name} (${node.op})`;

/** What is wrong with an attribute is said of its node. */
function ofNode<T>(node: Node, read: () => T): T {
  try {
    return read();
  } catch (error) {
    if (!(error instanceof DiagnosticError) || !error.where.startsWith('attribute ')) throw error;
    throw new DiagnosticError(error.code, `${describe(node)}, ${error.where}`, error.why);
  }
}

const isSame = (a: TensorType, b: TensorType): boolean =>
  a.dtype === b.dtype && sameShape(a.shape, b.shape);

/** The context that inference, cost and propagation of one node see. */
export const inferContext = (node: Node, contents?: Contents): InferContext =>
  new Context(node, contents);

/**
 * Types the outputs of one node; its operands must be typed.
 * @throws DiagnosticError op/unsupported, shape/unknown, shape/mismatch
 */
export function inferNode(node: Node, contents?: Contents): void {
  const definition = findOp(node);
  if (!definition) throw new DiagnosticError('op/unsupported', describe(node), noDefinition(node));
  const context = new Context(node, contents);
  const types = ofNode(node, () => definition.infer(context));
  const operand = node.inputs[0]?.type;
  node.outputs.forEach((value, index) => {
    const type = types[index];
    // One object for the types of a chain of elementwise nodes.
    if (value && type) value.type = operand && isSame(type, operand) ? operand : type;
  });
  const content = contents && ofNode(node, () => definition.propagate?.(context));
  const first = node.outputs[0];
  if (content && first) contents.set(first, content);
}

/**
 * Known elements of what only moves the elements of operand 0: `move` is run on their numbers.
 * @param move may return undefined where it does not know how
 */
export function movedContent(
  ctx: InferContext,
  move: (places: Tensor) => Tensor | undefined,
): readonly Dim[] | undefined {
  const content = ctx.content(0);
  const { shape } = ctx.type(0);
  if (!content || !isStatic(shape)) return undefined;
  const places = Tensor.of('int64', shape, [...content.keys()]);
  const moved = move(places);
  return moved && moved.size <= CONTENT_LIMIT
    ? moved.toArray().map((place) => content[place] as Dim)
    : undefined;
}

/** Known elements of operands that are broadcast together, each list as long as the result; undefined where one is not known. */
export function broadcastContents(
  ctx: InferContext,
  operands: readonly number[],
): (readonly Dim[])[] | undefined {
  const known = operands.map((index) => {
    const content = ctx.content(index);
    const { shape } = ctx.type(index);
    return content && isStatic(shape) ? { content, shape } : undefined;
  });
  if (!known.every((operand) => operand !== undefined)) return undefined;
  const dims = broadcastDims(known.map(({ shape }) => shape));
  if (elementCount(dims) > CONTENT_LIMIT) return undefined;
  return known.map(({ content, shape }) => {
    const places = broadcastTo(Tensor.of('int64', shape, [...content.keys()]), dims);
    return places.toArray().map((place) => content[place] as Dim);
  });
}
