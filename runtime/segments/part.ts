// One segment of a step as a model of its own. In: its nodes, and the types of what it reads. Out: what it reads and writes,
// a text that is the same for segments that compute the same, and the model's bytes. Invariant: operands and results are
// numbered in the order the segment meets them, so that the model of one segment serves all with its text.

import { Model, executionOrder, isLeaf } from '../../src/ir/index.js';
import type { Attribute, ConstantData, Graph, Node, Value } from '../../src/ir/index.js';
import { encodeModel } from '../../src/onnx/index.js';

/** What is known of a tensor that a segment reads. */
export interface PartType {
  readonly dtype: 'float32' | 'int64' | 'int32' | 'bool';
  readonly dims: readonly number[];
}

export interface Segment {
  /** In the order they run. */
  readonly nodes: readonly Node[];
  /** What is made elsewhere, and constants that are fed, in the order of their first readers. */
  readonly inputs: readonly Value[];
  /** What is read elsewhere or is a result of the step. */
  readonly outputs: readonly Value[];
}

/** Names in a segment's model. */
export const inputName = (index: number): string => `x${index}`;
export const outputName = (index: number): string => `y${index}`;

/**
 * The segments of a step.
 * @param order its nodes in the order they run @param numbers of their segments @param results what the caller fetches
 */
export function segmentsOf(
  order: readonly Node[],
  numbers: Int32Array,
  results: ReadonlySet<string>,
): Segment[] {
  const nodes: Node[][] = [];
  const own = new Map<Node, number>();
  order.forEach((node, index) => {
    const number = numbers[index] ?? 0;
    (nodes[number] ??= []).push(node);
    own.set(node, number);
  });
  return nodes.map((all, number) => {
    const inputs = new Set<Value>();
    const outputs: Value[] = [];
    for (const node of all) {
      for (const value of node.reads)
        if (value && isInput(value) && !(value.producer && own.get(value.producer) === number))
          inputs.add(value);
      for (const value of node.outputs)
        if (value && (results.has(value.name) || value.users.some((n) => own.get(n) !== number)))
          outputs.push(value);
    }
    return { nodes: all, inputs: [...inputs], outputs };
  });
}

/**
 * Constants are part of a segment, but for rows of floats: a segment's only peculiarity may be the numbers in one (those that
 * keep batch norms apart, for which no kernel cares).
 */
const isInput = ({ constant }: Value): boolean =>
  !constant || (constant.dtype === 'float32' && constant.dims.length > 0);

/** Texts of constants: there are few, and many nodes read them. */
export class ConstantTexts {
  private readonly texts = new WeakMap<ConstantData, string>();

  of(constant: ConstantData): string {
    let text = this.texts.get(constant);
    if (text === undefined) {
      const { dtype, dims } = constant;
      text = `${dtype}[${dims.join()}]${Buffer.from(constant.bytes()).toString('base64')}`;
      this.texts.set(constant, text);
    }
    return text;
  }
}

/** The same for segments that compute the same, of whatever shapes. */
export function structureOf({ nodes, inputs, outputs }: Segment, constants: ConstantTexts): string {
  const names = new Map<Value, string>();
  inputs.forEach((value, index) => names.set(value, inputName(index)));
  const lines: string[] = [];
  let made = 0;
  for (const node of nodes) {
    const read = node.reads.map((value) => {
      if (!value) return '';
      // Two constants with the same content need not be one: see the running averages of batch norms.
      if (value.constant && !names.has(value)) {
        lines.push(constants.of(value.constant));
        names.set(value, `c${names.size}`);
      }
      return names.get(value);
    });
    const written = node.outputs.map((value) => {
      if (!value) return '';
      const name = `v${made++}`;
      names.set(value, name);
      return name;
    });
    const attributes = [...node.attributes.entries()].map(
      ([name, attribute]) => `${name}=${attributeText(attribute, constants)}`,
    );
    lines.push(
      `${node.domain}|${node.op}|${node.overload}|${attributes.join()}|${read.join()}|${written.join()}`,
    );
  }
  lines.push(outputs.map((value) => names.get(value)).join());
  return lines.join('\n');
}

function attributeText(attribute: Attribute, constants: ConstantTexts): string {
  const { kind, value } = attribute;
  if (kind === 'tensor') return constants.of(value);
  // JSON has no infinite numbers.
  if (kind === 'float' || kind === 'floats') return `${kind} ${[value].flat().map(String).join()}`;
  return `${kind} ${JSON.stringify(value)}`;
}

/**
 * Which input each output may be written over: that of a sum or difference of two tensors of one shape, behind which no
 * node of the segment reads the input. @param order the segment's nodes as its session runs them
 */
export function overwrites(
  { inputs, outputs }: Segment,
  order: readonly Node[],
): (number | undefined)[] {
  const position = new Map(order.map((node, index) => [node, index]));
  const indices = new Map(inputs.map((value, index) => [value, index]));
  /** Of an input, through views of it. */
  const lastRead = (value: Value): number =>
    value.users.reduce((last, user) => {
      const at = position.get(user);
      if (at === undefined) return last;
      const view = isView(user) ? user.outputs[0] : undefined;
      return Math.max(last, at, view ? lastRead(view) : 0);
    }, -1);
  const source = (value: Value): Value =>
    value.producer && position.has(value.producer) && isView(value.producer)
      ? source(value.producer.inputs[0] ?? value)
      : value;
  const results = new Set(outputs.map((value) => source(value)));
  return outputs.map(({ producer }) => {
    if (!producer || producer.domain !== '' || !['Add', 'Sub'].includes(producer.op))
      return undefined;
    const operand = producer.inputs
      .map((value) => value && source(value))
      .find(
        (value) =>
          value &&
          indices.has(value) &&
          !value.constant &&
          !results.has(value) &&
          lastRead(value) === position.get(producer),
      );
    return operand && indices.get(operand);
  });
}

/** What ONNX Runtime lets look at its operand's memory, or may. */
const VIEWS = new Set([
  'Reshape',
  'Squeeze',
  'Unsqueeze',
  'Flatten',
  'Identity',
  'Cast',
  'Dropout',
]);

const isView = ({ op, domain }: Node): boolean => domain === '' && VIEWS.has(op);

/** Whether a segment can stand on its own: nodes with graphs inside, and attributes that are not understood, cannot. */
export const isPlain = ({ nodes }: Segment): boolean =>
  nodes.every(
    (node) =>
      node.captures.length === 0 &&
      [...node.attributes.entries()].every(
        ([, { kind }]) => kind !== 'graph' && kind !== 'graphs' && kind !== 'opaque',
      ),
  );

interface EncodedSegment {
  readonly bytes: Uint8Array;
  /** The segment's nodes as a session of these bytes runs them. */
  readonly order: readonly Node[];
}

/** @param source the step; its nodes are numbered (`place`) as they stand in its file */
export function encodeSegment(
  source: Model,
  { nodes, inputs, outputs }: Segment,
  types: readonly PartType[],
): EncodedSegment {
  const model = new Model();
  model.irVersion = source.irVersion;
  for (const [domain, version] of source.opsets) model.opsets.set(domain, version);
  model.functions = source.functions;
  const { graph } = model;
  graph.name = 'segment';
  const values = new Map<Value, Value>();
  inputs.forEach((value, index) => {
    const type = types[index];
    values.set(
      value,
      graph.addInput(inputName(index), type && { dtype: type.dtype, shape: type.dims }),
    );
  });
  const results = new Map(outputs.map((value, index) => [value, outputName(index)]));
  const copyOf = (value: Value): Value => {
    const known = values.get(value);
    if (known) return known;
    if (!value.constant) throw new Error(`internal error: ${value.name} is not of this segment`);
    const constant = graph.addConstant(`c:${value.name}`, value.constant);
    values.set(value, constant);
    return constant;
  };
  const copies = nodes.map((node) => {
    const copy = graph.addNode({
      op: node.op,
      domain: node.domain,
      overload: node.overload,
      name: node.name,
      inputs: node.inputs.map((value) => value && copyOf(value)),
      outputs: node.outputs.map((value) => value && (results.get(value) ?? `v:${value.name}`)),
      attributes: node.attributes,
    });
    node.outputs.forEach((value, index) => {
      const made = copy.outputs[index];
      if (value && made) values.set(value, made);
    });
    return copy;
  });
  for (const value of outputs) graph.outputs.push(copyOf(value));
  inFileOrder(graph, nodes, copies);
  const originals = new Map(copies.map((copy, index) => [copy, nodes[index]]));
  const order = executionOrder(graph).flatMap((copy) => originals.get(copy) ?? []);
  return { bytes: encodeModel(model, { external: 'never' }).bytes, order };
}

/**
 * The executor walks back from the nodes nobody reads, the last in the file first, and among operands takes the producer
 * that is latest in the file first: inner nodes stand as they stood in the step, the others the last to run first.
 */
function inFileOrder(graph: Graph, nodes: readonly Node[], copies: readonly Node[]): void {
  const all = copies.map((copy, index) => ({ copy, index, place: nodes[index]?.place ?? 0 }));
  const inner = all.filter(({ copy }) => !isLeaf(copy)).sort((a, b) => a.place - b.place);
  const last = all.filter(({ copy }) => isLeaf(copy)).sort((a, b) => b.index - a.index);
  graph.reorder([...inner, ...last].map(({ copy }) => copy));
}
