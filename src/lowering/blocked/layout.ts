// Which values of a step lie in the blocked layout. In: nodes in order. Out: the same graph, computed in blocks where there
// is a rule for it, converted where plain and blocked meet. Invariant: a value has one layout; of the other there is at
// most one copy per unit and phase, so that none is kept from the forward pass to the backward pass.

import { NCHWC, elementCount, int, isStatic } from '../../ir/index.js';
import type { Graph, Node, Value } from '../../ir/index.js';
import { REVNETIFY } from '../../ops/index.js';
import type { Builder } from '../../ops/index.js';
import { applyLowering } from '../definition.js';
import { dimsOf, isMultiple } from './definition.js';
import type { BlockedLowering } from './definition.js';
import { findBlocked } from './registry.js';
import { BlockedSteps, rectify } from './steps.js';

const ONNX_INT64 = 7;

/** Elementwise: the same in any order of the elements, as long as all operands have it. */
const ELEMENTWISE: ReadonlySet<string> = new Set([
  ...[
    'Abs',
    'Add',
    'Clip',
    'Div',
    'Elu',
    'Exp',
    'HardSigmoid',
    'HardSwish',
    'Identity',
    'LeakyRelu',
  ],
  ...['Max', 'Min', 'Mul', 'Neg', 'Relu', 'Sigmoid', 'Softplus', 'Sqrt', 'Sub', 'Sum', 'Tanh'],
  ...['ClipGrad', 'ReluGrad', 'ReluGuarded'],
]);

const isOrdinary = ({ domain }: Node): boolean => domain === '' || domain === REVNETIFY;

const isMap = (value: Value | undefined): value is Value =>
  value?.type?.dtype === 'float32' && value.shape?.length === 4 && isStatic(value.shape);

const sameDims = (a: Value, b: Value): boolean => dimsOf(a).join() === dimsOf(b).join();

const isScalar = ({ shape }: Value): boolean => isStatic(shape) && elementCount(shape) === 1;

/** Whether the unit of a node made the value behind the forward pass: a view, something recomputed, a gradient. */
const isOwn = ({ producer }: Value, node: Node): boolean =>
  producer !== undefined && producer.unit === node.unit && producer.phase !== 'forward';

export interface LayoutOptions {
  readonly block: number;
  /** Values that something outside reads. */
  readonly plain: ReadonlySet<Value>;
  /** Unit → the token that what it recomputes waits for. */
  readonly waits: ReadonlyMap<string, Value>;
}

export class Layout {
  /** Values that lie in blocks. */
  readonly blocked = new Set<Value>();
  private readonly copies = new Map<string, Map<Value, Value>>();
  private readonly zeros = new Map<string, Value>();

  constructor(
    private readonly graph: Graph,
    private readonly root: Builder,
    private readonly options: LayoutOptions,
  ) {}

  /** Computes the node in blocks, or gives it plain operands. */
  visit(node: Node): void {
    if (node.domain === NCHWC || this.probes(node)) return;
    const rule = findBlocked(node);
    if (rule && this.suits(node, rule)) this.lower(node, rule);
    else if (!this.follow(node)) this.supply(node);
  }

  /** Takes the first element of a blocked value, which is that of the plain one. */
  private probes(node: Node): boolean {
    return (
      node.op === 'Slice' &&
      node.domain === '' &&
      isScalar(node.output()) &&
      (node
        .input(1)
        .constant?.load()
        .data.every((start) => start === 0) ??
        false)
    );
  }

  private suits(node: Node, rule: BlockedLowering): boolean {
    return (
      this.isFree(node) &&
      node.inputs.slice(0, rule.maps).every(isMap) &&
      (rule.follows !== true || node.inputs.some((value) => value && this.blocked.has(value))) &&
      rule.applies(node, this.options.block)
    );
  }

  /** Whether its result may lie in blocks. */
  private isFree(node: Node): boolean {
    return !node.outputs.some((value) => value && this.options.plain.has(value));
  }

  private lower(node: Node, rule: BlockedLowering): void {
    const [result] = node.outputs;
    applyLowering(
      this.graph,
      node,
      (ctx) => {
        const s = new BlockedSteps(ctx.b, this.options.block);
        return rule.build({
          ...ctx,
          s,
          blocked: (index) => this.toBlocked(ctx.input(index), node),
          weight: (index, dims) => this.weight(ctx.input(index), dims, node, s),
        });
      },
      this.root,
    );
    if (result && rule.isPlain !== true) this.blocked.add(result);
  }

  /** What moves no element within a block takes blocks as they are, if one operand comes in them. */
  private follow(node: Node): boolean {
    const result = node.outputs[0];
    if (!result || !isMap(result) || !isOrdinary(node) || !this.isFree(node)) return false;
    const maps = node.inputs.filter((value): value is Value => isMap(value) && !isScalar(value));
    if (!maps.some((value) => this.blocked.has(value))) return false;
    if (!this.keepsBlocks(node, result, maps)) return false;
    if (this.rectifies(node)) return true;
    node.inputs.forEach((value, index) => {
      if (value && maps.includes(value)) node.setInput(index, this.toBlocked(value, node));
    });
    this.blocked.add(result);
    return true;
  }

  private keepsBlocks(node: Node, result: Value, maps: readonly Value[]): boolean {
    const { block } = this.options;
    const isWhole = (value: Value): boolean => isMultiple(dimsOf(value)[1], block);
    switch (node.op) {
      case 'Reshape':
        return sameDims(node.input(0), result);
      case 'Concat':
        return node.attributes.int('axis', 0) === 1 && node.inputs.every((v) => v && isWhole(v));
      case 'Slice':
        return isWhole(result) && slicesChannels(node, block);
      default:
        return (
          ELEMENTWISE.has(node.op) &&
          node.inputs.every((v) => !v || isScalar(v) || (maps.includes(v) && sameDims(v, result)))
        );
    }
  }

  /** A Relu that is the only reader of a convolution (or of a batch norm, which ends in one) becomes part of it. */
  private rectifies(node: Node): boolean {
    const [source, result] = [node.input(0), node.output()];
    const conv = source.producer;
    if (node.op !== 'Relu' || conv?.domain !== NCHWC || conv.op !== 'Conv') return false;
    if (source.uses.length !== 1 || this.options.plain.has(source)) return false;
    rectify(conv);
    this.graph.adopt(result, source);
    this.graph.removeNode(node);
    this.blocked.add(result);
    return true;
  }

  /** Plain operands for a node that has no other use for them. */
  private supply(node: Node): void {
    if (node.op === 'Shape' || node.op === 'Size') return;
    node.inputs.forEach((value, index) => {
      if (value && this.blocked.has(value)) node.setInput(index, this.toPlain(value, node));
    });
  }

  private toBlocked(value: Value, node: Node): Value {
    return this.blocked.has(value) ? value : this.copy(value, node, (s, x) => s.toBlocked(x));
  }

  private toPlain(value: Value, node: Node): Value {
    return this.blocked.has(value) ? this.copy(value, node, (s, x) => s.toPlain(x)) : value;
  }

  private copy(value: Value, node: Node, make: (s: BlockedSteps, x: Value) => Value): Value {
    const { phase, unit, origin } = node;
    const key = `${phase} ${unit ?? ''}`;
    const copies = this.copies.get(key) ?? new Map<Value, Value>();
    this.copies.set(key, copies);
    const known = copies.get(value);
    if (known) return known;
    const b = this.root.within({ phase, unit, origin, path: node.name });
    // What a recompute reads as it was stored would be copied once, in the forward pass, and kept.
    const zero = isOwn(value, node) ? undefined : this.zeroOf(node);
    const dims = dimsOf(value);
    const source = zero ? this.view(value, dims, zero, b) : value;
    const made = make(new BlockedSteps(b, this.options.block), source);
    copies.set(value, made);
    return made;
  }

  private weight(value: Value, dims: readonly number[], node: Node, s: BlockedSteps): Value {
    const zero = this.zeroOf(node);
    if (!zero) return s.toBlocked(s.reshape(value, dims));
    const rows = s.toBlocked(this.view(value, dims, zero, s.b));
    // As much as ONNX Runtime knows of a tensor whose shape is computed.
    rows.stated = { dtype: 'float32', shape: undefined };
    return rows;
  }

  /** The same memory under other extents, which are known only when the token is there. */
  private view(value: Value, dims: readonly number[], zero: Value, b: Builder): Value {
    const target = b.op('Add', [zero, b.ints(...dims)], { name: 'dims' });
    const view = b.op('Reshape', [value, target], { name: 'view' });
    view.type = { dtype: 'float32', shape: dims };
    return view;
  }

  /** For what is recomputed: an integer that is 0, known only when the unit's token is there. */
  private zeroOf({ unit = '', phase }: Node): Value | undefined {
    const token = phase === 'recompute' ? this.options.waits.get(unit) : undefined;
    const known = token && this.zeros.get(unit);
    if (!token || known) return known;
    const b = this.root.within({ phase, unit, path: `${phase}/${unit}` });
    const zero = b.op('Cast', [token], { attributes: { to: int(ONNX_INT64) }, name: 'zero' });
    this.zeros.set(unit, zero);
    return zero;
  }
}

/** Whether a Slice takes whole blocks of channels and nothing else away. */
function slicesChannels(node: Node, block: number): boolean {
  const [from, to] = [dimsOf(node.input(0)), dimsOf(node.output())];
  const list = (index: number): number[] => node.inputs[index]?.constant?.load().toArray() ?? [];
  const [starts, axes, steps] = [list(1), list(3), list(4)];
  const at = axes.findIndex((axis) => axis === 1 || axis === -3);
  return (
    from.every((extent, axis) => axis === 1 || extent === to[axis]) &&
    at >= 0 &&
    (starts[at] ?? -1) >= 0 &&
    (starts[at] ?? -1) % block === 0 &&
    steps.every((step) => step === 1)
  );
}
