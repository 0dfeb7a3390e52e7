// Model → text, close to ONNX's own textual syntax. Out: one node per line, in execution order. Invariant: unless
// constants are elided, parse(print(model)) is a model of equal structure; what a reader recorded of a file and
// opaque attributes (subgraphs) are not part of the text.

import type { Attribute } from './attributes.js';
import type { Graph, Model, Node, Value } from './graph.js';
import type { ConstantData, DataType, Tensor, TensorType } from './tensor.js';

export interface PrintOptions {
  /** Print … in place of constants with more than 16 elements. */
  readonly elide?: boolean;
}

/** Constants up to this size are printed as numbers, larger ones as base64 of their float64 values. */
const SMALL = 16;
export const ELIDED = '…';

/** Element types that ONNX's syntax calls otherwise. */
const SYNTAX: Partial<Record<DataType, string>> = { float32: 'float', float64: 'double' };
export const typeWord = (dtype: DataType): string => SYNTAX[dtype] ?? dtype;

/** Names that need no quotes. */
const BARE = /^[A-Za-z_/][\w./]*$/;
/** Operators that need none: their domain ends at the last dot. */
const BARE_OP = /^[A-Za-z_]\w*$/;

const quote = (name: string): string => (BARE.test(name) ? name : JSON.stringify(name));
const list = (items: readonly string[]): string => items.join(', ');

/** "float[N,64]"; a scalar is "float", an unknown rank "float[]", an unknown type "?". */
function printType(type: TensorType | undefined): string {
  if (!type) return '?';
  const word = typeWord(type.dtype);
  if (!type.shape) return `${word}[]`;
  if (type.shape.length === 0) return word;
  return `${word}[${type.shape.map((d) => (typeof d === 'number' ? String(d) : quote(d))).join(',')}]`;
}

export function print(model: Model, options: PrintOptions = {}): string {
  const { graph } = model;
  const pairs = (map: Iterable<[string, string | number]>): string =>
    list([...map].map(([key, value]) => `${JSON.stringify(key)}: ${JSON.stringify(value)}`));
  const lines = [
    '<',
    `  ir_version: ${model.irVersion},`,
    `  opset_import: [${pairs(model.opsets)}],`,
    `  producer_name: ${JSON.stringify(model.producerName)},`,
    `  metadata_props: [${pairs(model.metadata)}]`,
    '>',
    `${quote(graph.name)} (${list(graph.inputs.map(declaration))}) => (${list(graph.outputs.map((v) => quote(v.name)))})`,
    '<',
    ...declarations(graph, options),
    '>',
    '{',
    ...[...graph.nodes].map((node) => `  ${printNode(node, options)}`),
    '}',
  ];
  return `${lines.join('\n')}\n`;
}

const declaration = (value: Value): string => `${printType(value.type)} ${quote(value.name)}`;

/** Constants with their data, then the known types of results. */
function declarations(graph: Graph, options: PrintOptions): string[] {
  const lines = [...graph.constants].map((value) => {
    const { constant } = value;
    const data = constant ? printData(constant, options) : ELIDED;
    return `  ${declaration(value)} = ${data}`;
  });
  for (const node of graph.nodes)
    for (const value of node.outputs) if (value?.type) lines.push(`  ${declaration(value)}`);
  return lines;
}

function printNode(node: Node, options: PrintOptions = {}): string {
  const outputs = list(node.outputs.map((v) => quote(v?.name ?? '')));
  const attributes = [...node.attributes.entries()].map(
    ([name, attribute]) =>
      `${quote(name)}: ${attribute.kind} = ${printAttribute(attribute, options)}`,
  );
  return [
    `[${quote(node.name)}] ${outputs ? `${outputs} ` : ''}= ${printOperator(node)}`,
    attributes.length > 0 ? ` <${list(attributes)}>` : '',
    ` (${list(node.inputs.map((v) => quote(v?.name ?? '')))})`,
    node.captures.length > 0 ? ` captures (${list(node.captures.map((v) => quote(v.name)))})` : '',
    annotation(node),
  ].join('');
}

/** Phase and origin, which ONNX does not know, follow in a comment that the parser reads. */
function annotation(node: Node): string {
  if (node.phase === 'forward' && node.origin === undefined) return '';
  const origin = node.origin === undefined ? '' : ` from ${JSON.stringify(node.origin)}`;
  return `  #! ${node.phase}${origin}`;
}

function printOperator({ domain, op }: Node): string {
  if (!BARE_OP.test(op) || !(domain === '' || BARE.test(domain)))
    return `${JSON.stringify(domain)}.${JSON.stringify(op)}`;
  return domain === '' ? op : `${domain}.${op}`;
}

function printAttribute(attribute: Attribute, options: PrintOptions): string {
  switch (attribute.kind) {
    case 'int':
    case 'float':
      return printNumber(attribute.value);
    case 'ints':
    case 'floats':
      return `[${list(attribute.value.map(printNumber))}]`;
    case 'string':
      return JSON.stringify(attribute.value);
    case 'strings':
      return `[${list(attribute.value.map((s) => JSON.stringify(s)))}]`;
    case 'tensor': {
      const { dtype, dims } = attribute.value;
      return `${printType({ dtype, shape: dims })} ${printData(attribute.value, options)}`;
    }
    case 'opaque':
      return ELIDED;
  }
}

/** JavaScript's shortest form that reads back as the same number. */
const printNumber = (value: number): string => (Object.is(value, -0) ? '-0' : String(value));

function printData(data: ConstantData, options: PrintOptions): string {
  const size = data.dims.reduce((n, d) => n * d, 1);
  if (options.elide && size > SMALL) return ELIDED;
  let tensor: Tensor;
  try {
    tensor = data.load();
  } catch {
    // Strings and missing weights have no numbers.
    return ELIDED;
  }
  if (size <= SMALL) return `{${list(tensor.toArray().map(printNumber))}}`;
  const { buffer, byteOffset, byteLength } = tensor.data;
  return `base64 "${Buffer.from(buffer, byteOffset, byteLength).toString('base64')}"`;
}
