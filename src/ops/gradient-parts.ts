// What gradient rules build their graphs from: constants and shapes like those of a value, the way back from
// a broadcast, refusals. In: a builder and typed values. Out: typed values.

import { DiagnosticError } from '../diagnostics/index.js';
import { Tensor, elementCount, int, isStatic } from '../ir/index.js';
import type { Node, Shape, Value } from '../ir/index.js';
import type { Builder } from './builder.js';
import { elementCode } from './element-types.js';

/** A 0-d constant of the element type of another value. */
export const scalarLike = (b: Builder, value: Value, number: number): Value =>
  b.constant(Tensor.scalar(number, value.type?.dtype ?? 'float32'));

/** The shape of a value as an operand: a constant where it is known, else a Shape node. */
function shapeOperand(b: Builder, value: Value): Value {
  return isStatic(value.shape) ? b.ints(...value.shape) : b.op('Shape', [value]);
}

/** x with the shape of `like`, which has as many elements. */
export function reshapeLike(b: Builder, x: Value, like: Value): Value {
  // An extent of 0 would mean "as the operand has it".
  const attributes = like.shape?.includes(0) ? { allowzero: int(1) } : {};
  return retyped(b.op('Reshape', [x, shapeOperand(b, like)], { attributes }), like);
}

/** x repeated to the shape of `like`. */
export function expandLike(b: Builder, x: Value, like: Value): Value {
  return retyped(b.op('Expand', [x, shapeOperand(b, like)]), like);
}

/** Inference does not see through a Shape node here; the shape is known all the same. */
function retyped(value: Value, like: Value): Value {
  if (value.type) value.type = { dtype: value.type.dtype, shape: like.shape };
  return value;
}

/**
 * The gradient by an operand that was broadcast: summed over every axis along which it was repeated.
 * @param shape shape of the operand
 * @throws DiagnosticError shape/unknown when two symbols leave open whether an axis was repeated
 */
export function unbroadcast(b: Builder, grad: Value, shape: Shape | undefined): Value {
  const full = grad.shape;
  const unknown = (why: string): never => {
    throw new DiagnosticError('shape/unknown', `the gradient ${grad.name}`, why);
  };
  if (!full || !shape) return unknown('the rank is not known, so a broadcast cannot be undone');
  const lead = full.length - shape.length;
  const inner: number[] = [];
  shape.forEach((dim, i) => {
    const wide = full[lead + i];
    if (dim === wide) return;
    if (dim !== 1)
      unknown(`[${full.join(',')}] may or may not be a broadcast of [${shape.join(',')}]`);
    inner.push(lead + i);
  });
  const leading = Array.from({ length: lead }, (_, i) => i);
  let result = grad;
  if (inner.length > 0) {
    result = reduceSum(b, result, [...leading, ...inner], true);
    if (lead > 0)
      result = isStatic(shape)
        ? b.op('Reshape', [result, b.ints(...shape)])
        : b.op('Squeeze', [result, b.ints(...leading)]);
  } else if (lead > 0) result = reduceSum(b, result, leading, false);
  return result;
}

/** Refuses the gradient of a node that has none in the form it is used. */
export function noGradient(node: Node, why: string): never {
  throw new DiagnosticError('op/no-gradient', `node ${node.name} (${node.op})`, why);
}

/** Elements of an operand that must be constant for a gradient to be built. */
export function constantOperand(node: Node, index: number): number[] | undefined {
  const value = node.inputs[index];
  if (!value) return undefined;
  return (
    value.constant?.load().toArray() ??
    noGradient(node, `operand ${index} (${value.name}) is not constant`)
  );
}

/** Static shape of a value that a gradient needs. */
export function knownShape(node: Node, value: Value): readonly number[] {
  const { shape } = value;
  if (isStatic(shape)) return shape;
  throw new DiagnosticError(
    'shape/unknown',
    `node ${node.name} (${node.op})`,
    `its gradient needs the shape of ${value.name}, which is [${shape?.join(',') ?? '…'}]`,
  );
}

/** ReduceSum over constant axes. */
export function reduceSum(b: Builder, x: Value, axes: readonly number[], keep: boolean): Value {
  return b.op('ReduceSum', [x, b.ints(...axes)], {
    attributes: { keepdims: { kind: 'int', value: keep ? 1 : 0 } },
  });
}

/** Guards a node through the float operand with the fewest elements: the cheapest copy there is. */
export function guardSmallest(node: Node, token: Value, b: Builder): void {
  let best = 0;
  let size = Infinity;
  node.inputs.forEach((value, index) => {
    if (value?.type?.dtype !== token.type?.dtype || !isStatic(value?.shape)) return;
    const own = elementCount(value.shape);
    if (own < size) [best, size] = [index, own];
  });
  guardOperand(node, best, token, b);
}

/** Guards a node through one operand of any type: whole numbers plus 0, truth values or false. */
export function guardOperand(node: Node, index: number, token: Value, b: Builder): void {
  const operand = node.input(index);
  const dtype = operand.type?.dtype ?? 'float32';
  const own =
    dtype === token.type?.dtype
      ? token
      : b.op('Cast', [token], {
          attributes: { to: int(elementCode(dtype)) },
          name: 'typed',
        });
  const op = dtype === 'bool' ? 'Or' : 'Add';
  node.setInput(index, b.op(op, [operand, own], { name: 'token' }));
}
