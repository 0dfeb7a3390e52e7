// How a unit of the backward pass looks at what it did not compute itself. In: a stored, reconstructed or gradient
// tensor and the token. Out: the same memory under a shape that the executor cannot know before the token is
// there. Invariant: no bytes are copied (Reshape is a view), and no reader runs before the token.
//
// Two things follow. The recomputed nodes wait for the token without touching any data. And ONNX Runtime's
// static planner, which lets a tensor take over the buffer of an earlier one of exactly the same shape and keeps
// that buffer until then, finds no such pair across units: each unit has its own symbol for the batch size.
// Without this, memory is the sum over all shapes of each shape's own peak (ResNet-50, batch 16: 0.8 GB more).

import { elementCount, int, isFloat, isStatic } from '../ir/index.js';
import type { Node, Value } from '../ir/index.js';
import type { Builder } from '../ops/index.js';

const ONNX_INT64 = 7;
/** Smaller tensors (channel statistics, scalars) are read as they are. */
const SMALL = 4096;

export class Views {
  private readonly views = new Map<Value, Value>();
  private readonly made = new Set<Value>();
  private readonly keepShape = new Map<number, Value>();
  private zero: Value | undefined;

  /**
   * @param token float scalar, always 0
   * @param symbol stands for the batch size within the unit; unique in the graph
   */
  constructor(
    private readonly token: Value,
    private readonly symbol: string,
    private readonly b: Builder,
  ) {}

  /** Whether the value already waits for the token. */
  has(value: Value): boolean {
    return this.made.has(value);
  }

  of(value: Value): Value {
    if (this.made.has(value) || !this.applies(value)) return value;
    const known = this.views.get(value);
    if (known) return known;
    const { type } = value;
    const [first, ...rest] = type?.shape ?? [];
    const view = this.b.op('Reshape', [value, this.keep(rest.length + 1)], { name: 'view' });
    view.type = type;
    if (type) view.stated = { dtype: type.dtype, shape: [`${this.symbol}_${first ?? 0}`, ...rest] };
    this.views.set(value, view);
    this.made.add(view);
    return view;
  }

  private applies({ type, constant }: Value): boolean {
    if (!type || constant || !isFloat(type.dtype) || !isStatic(type.shape)) return false;
    return type.shape.length >= 2 && elementCount(type.shape) >= SMALL;
  }

  /** The Reshape target [0, 0, …]: every extent stays as it is. */
  private keep(rank: number): Value {
    const known = this.keepShape.get(rank);
    if (known) return known;
    this.zero ??= this.b.op('Cast', [this.token], {
      attributes: { to: int(ONNX_INT64) },
      name: 'zero',
    });
    const target = this.b.op('Expand', [this.zero, this.b.ints(rank)], { name: 'keep' });
    this.keepShape.set(rank, target);
    return target;
  }
}

/** Lets the nodes of a forward unit read what other units made through views of their own. */
export function viewInputs(nodes: readonly Node[], views: Views): void {
  const inside = new Set(nodes);
  for (const node of nodes)
    node.inputs.forEach((value, index) => {
      if (value && !(value.producer && inside.has(value.producer))) node.setInput(index, views.of(value));
    });
}
