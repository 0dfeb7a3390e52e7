// How a unit of the backward pass looks at what it did not compute itself. In: a stored, reconstructed or gradient
// tensor and the token. Out: the same memory under a shape that the executor cannot know before the token is
// there. Invariant: no bytes are copied (Reshape is a view), and no reader runs before the token.
//
// Two things follow. The recomputed nodes wait for the token without touching any data. And ONNX Runtime's
// static planner, which lets a tensor take over the buffer of an earlier one of exactly the same shape and keeps
// that buffer until then, finds no such pair across units: each unit has its own symbol for the batch size.
// Without this, memory is the sum over all shapes of each shape's own peak (ResNet-50, batch 16: 0.8 GB more).
//
// That planner compares each result of known rank with every tensor that is free: in a step of n nodes n² comparisons,
// none of which finds anything (ResNet-1202: minutes). In a deep step (schedule/deep.ts) views therefore hide the rank
// too, and targets of Reshape are hidden, because they would say it again: then nothing is compared. The price is that
// no kernel works in place (ResNet-50, split: 12 % more), so shallow steps keep symbols.

import { invariant } from '../diagnostics/index.js';
import { Tensor, elementCount, int, isFloat, isStatic } from '../ir/index.js';
import type { Graph, Node, Value } from '../ir/index.js';
import type { Builder, Scope } from '../ops/index.js';

const ONNX_INT64 = 7;
/** Smaller tensors (channel statistics, scalars) are read as they are. */
const SMALL = 4096;

export class Views {
  private readonly views = new Map<Value, Value>();
  private readonly made = new Set<Value>();
  private readonly keepShape = new Map<number, Value>();
  private zero: Value | undefined;
  private first: Value | undefined;

  /**
   * @param token float scalar, always 0
   * @param symbol stands for the batch size within the unit; unique in the graph. undefined: the rank is hidden too
   * @param salt tells views apart that wait for the same token: ONNX Runtime would merge them, and what is computed from
   * them, and hold that from the first unit to the last
   */
  constructor(
    private readonly token: Value,
    private readonly symbol: string | undefined,
    private readonly b: Builder,
    private readonly salt?: number,
  ) {}

  /** Whether the value already waits for the token. */
  has(value: Value): boolean {
    return this.made.has(value);
  }

  of(value: Value): Value {
    if (this.made.has(value) || !isLarge(value)) return value;
    const known = this.views.get(value);
    if (known) return known;
    const rank = value.shape?.length ?? 0;
    const view = this.b.op('Reshape', [value, this.keep(rank)], { name: 'view' });
    state(view, value, this.symbol);
    this.views.set(value, view);
    this.made.add(view);
    return view;
  }

  /** [0], known only when the token is there. */
  private axis(): Value {
    invariant(this.zero, 'the axis is made of the zero');
    this.first ??= this.b.op('Add', [this.zero, this.b.ints(0)], { name: 'axis' });
    return this.first;
  }

  /** A zero for each extent. */
  private spread(zero: Value, rank: number): Value {
    const { salt } = this;
    if (salt === undefined) return this.b.op('Expand', [zero, this.b.ints(rank)], { name: 'keep' });
    const factors = Array.from({ length: rank }, () => salt);
    return this.b.op('Mul', [zero, this.b.ints(...factors)], { name: 'keep' });
  }

  /** The Reshape target [0, 0, …]: every extent stays as it is. */
  private keep(rank: number): Value {
    const known = this.keepShape.get(rank);
    if (known) return known;
    this.zero ??= this.b.op('Cast', [this.token], {
      attributes: { to: int(ONNX_INT64) },
      name: 'zero',
    });
    const zeros = Array.from({ length: rank }, () => 0);
    const target =
      this.symbol === undefined
        ? hiddenTarget(this.b, zeros, this.axis())
        : this.spread(this.zero, rank);
    this.keepShape.set(rank, target);
    return target;
  }
}

/**
 * A target of Reshape whose length no inference knows: which axis of [1, length] goes is said only when it runs. A view,
 * and of unknown rank itself, so that the planner compares it with nothing either.
 */
function hiddenTarget(b: Builder, dims: readonly number[], axis: Value): Value {
  const type = { dtype: 'int64', shape: [dims.length] } as const;
  const row = b.constant(Tensor.of('int64', [1, dims.length], dims), 'target');
  const target = b.op('Squeeze', [row, axis], { name: 'hidden' });
  target.type = type;
  target.stated = { ...type, shape: undefined };
  return target;
}

const isHiddenTarget = ({ stated, producer }: Value): boolean =>
  stated !== undefined && producer?.op === 'Squeeze';

/** Lets the nodes of a forward unit read what other units made through views of their own. */
export function viewInputs(nodes: readonly Node[], views: Views): void {
  const inside = new Set(nodes);
  for (const node of nodes)
    node.inputs.forEach((value, index) => {
      if (value && !(value.producer && inside.has(value.producer)))
        node.setInput(index, views.of(value));
    });
}

function isLarge({ type, constant }: Value): boolean {
  if (!type || constant || !isFloat(type.dtype) || !isStatic(type.shape)) return false;
  return type.shape.length >= 2 && elementCount(type.shape) >= SMALL;
}

/** The view is what the value is, but its file names the batch size by a symbol, or says nothing of the shape. */
function state(view: Value, { type }: Value, symbol: string | undefined): void {
  const [first, ...rest] = type?.shape ?? [];
  view.type = type;
  if (!type) return;
  const shape = symbol === undefined ? undefined : [`${symbol}_${first ?? 0}`, ...rest];
  view.stated = { dtype: type.dtype, shape };
}

const isView = (value: Value): boolean =>
  value.stated !== undefined && value.producer?.op === 'Reshape';

const unitOf = (node: Node): string =>
  `${node.phase === 'forward' ? 'forward' : 'backward'} ${node.unit ?? ''}`;

/** The targets of the views there are: "unit rank" → [0, 0, …]. */
function keepsOf(graph: Graph): Map<string, Value> {
  const keeps = new Map<string, Value>();
  for (const node of graph.nodes)
    if (isView(node.output())) {
      const key = `${unitOf(node)} ${node.output().shape?.length ?? 0}`;
      if (!keeps.has(key)) keeps.set(key, node.input(1));
    }
  return keeps;
}

/**
 * Gives each step of a unit symbols of its own: what stems from one node of the model reads what others made through
 * views. Within a unit the planner would otherwise hold nearly as much as the unit computes (ResNet-50: a tenth of
 * the peak). A view costs no memory, and microseconds.
 * @param graph with every gradient lowered; units have views, with symbols, of what they read from outside
 */
export function viewSteps(graph: Graph, root: Builder): void {
  const keeps = keepsOf(graph);
  const stepOf = (node: Node): string => `${node.phase} ${node.unit ?? ''} ${node.origin ?? ''}`;
  const steps = new Map<string, { symbol: string; views: Map<Value, Value> }>();
  for (const node of [...graph.nodes]) {
    if (node.phase === 'update' || isView(node.output())) continue;
    node.inputs.forEach((value, index) => {
      if (!value || !isLarge(value)) return;
      const source = isView(value) ? value.producer?.input(0) : value;
      if (
        !source ||
        (value === source && (!source.producer || stepOf(source.producer) === stepOf(node)))
      )
        return;
      const keep = keeps.get(`${unitOf(node)} ${value.shape?.length ?? 0}`);
      if (!keep) return;
      const key = stepOf(node);
      let step = steps.get(key);
      if (!step)
        steps.set(key, (step = { symbol: `${node.unit ?? ''}.${steps.size}`, views: new Map() }));
      let view = step.views.get(source);
      if (!view) {
        const b = root.within(scopeOf(node));
        view = b.op('Reshape', [source, keep], { name: 'view' });
        state(view, source, step.symbol);
        step.views.set(source, view);
      }
      node.setInput(index, view);
    });
  }
  graph.removeDead();
}

/**
 * A view of what a Reshape made takes that Reshape's place, and spells its shape: with a target of zeros it would copy the
 * extents of the wrong tensor once ONNX Runtime 1.30 has dropped the Reshape before it.
 */
export function spellViews(graph: Graph, root: Builder): void {
  for (const node of [...graph.nodes]) {
    const view = node.output();
    if (!isView(view) || !isStatic(view.shape)) continue;
    const inner = madeByReshape(node.input(0));
    if (!inner) continue;
    const b = root.within({ ...scopeOf(node), path: node.name });
    const keep = node.input(1);
    const spelled =
      keep.producer && isHiddenTarget(keep)
        ? hiddenTarget(b, view.shape, keep.producer.input(1))
        : b.op('Add', [keep, b.ints(...view.shape)], { name: 'spelled' });
    node.setInput(1, spelled);
    for (let at: Node | undefined = inner; at; at = madeByReshape(node.input(0)))
      node.setInput(0, at.input(0));
  }
  graph.removeDead();
}

/** The Reshape with a constant target that makes the value. */
const madeByReshape = ({ producer }: Value): Node | undefined =>
  producer?.op === 'Reshape' && producer.domain === '' && producer.input(1).constant
    ? producer
    : undefined;

/**
 * Hides how long the target of every Reshape in a unit is, and with it the rank of the result.
 * @param graph with views that hide the rank
 */
export function hideTargets(graph: Graph, root: Builder): void {
  const axes = new Map<string, Value>();
  for (const node of graph.nodes) {
    const keep = isView(node.output()) ? node.input(1) : undefined;
    if (keep?.producer && isHiddenTarget(keep)) axes.set(unitOf(node), keep.producer.input(1));
  }
  const hidden = new Map<string, Value>();
  for (const node of graph.nodes) {
    if (node.op !== 'Reshape' || node.domain !== '' || node.phase === 'update') continue;
    const axis = axes.get(unitOf(node));
    const dims = node.input(1).constant?.load().toArray();
    if (!axis || !dims) continue;
    const key = `${unitOf(node)} ${dims.join()}`;
    const known = hidden.get(key) ?? hiddenTarget(root.within(scopeOf(node)), dims, axis);
    hidden.set(key, known);
    node.setInput(1, known);
  }
  graph.removeDead();
}

/** Where what is made for a node of a unit belongs. */
const scopeOf = ({ phase, unit }: Node): Scope => ({
  phase,
  path: `${phase}/${unit ?? ''}`,
  ...(unit === undefined ? {} : { unit }),
});
