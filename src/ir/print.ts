// Model → text, close to ONNX's own textual syntax. Out: one node per line, in execution order. Invariant: unless
// constants are elided, parse(print(model)) is a model of equal structure, subgraphs and functions included; what a
// reader recorded of a file beyond that and opaque attributes are not part of the text.

import type { Attribute, Attributes } from './attributes.js';
import { mapAttributes, mapGraphs, renameIn, renamedCaptures } from './body.js';
import type { BodyNode, LocalFunction, Subgraph } from './body.js';
import type { Graph } from './graph.js';
import type { Model } from './model.js';
import type { Node, Value } from './node.js';
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
  const lines = [
    '<',
    `  ir_version: ${model.irVersion},`,
    `  opset_import: [${pairs(model.opsets)}],`,
    `  producer_name: ${JSON.stringify(model.producerName)},`,
    `  metadata_props: [${pairs(model.metadata)}]`,
    '>',
    `${quote(graph.name)} (${list(graph.inputs.map(declaration))}) => (${names(graph.outputs.map(nameOf))})`,
    '<',
    ...declarations(graph, options),
    '>',
    '{',
    ...[...graph.nodes].map((node) => `  ${printNode(node, options)}`),
    '}',
    ...model.functions.flatMap((f) => printFunction(f, options)),
  ];
  return `${lines.join('\n')}\n`;
}

const pairs = (map: Iterable<[string, string | number]>): string =>
  list([...map].map(([key, value]) => `${JSON.stringify(key)}: ${JSON.stringify(value)}`));
const names = (items: readonly string[]): string => list(items.map(quote));
const nameOf = (value: Value | undefined): string => value?.name ?? '';

const declaration = ({ name, type }: { name: string; type: TensorType | undefined }): string =>
  `${printType(type)} ${quote(name)}`;

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

function printNode(node: Node, options: PrintOptions): string {
  const rename = renamedCaptures(node);
  const { name, op, domain, overload } = node;
  const [inputs, outputs] = [node.inputs.map(nameOf), node.outputs.map(nameOf)];
  const attributes = mapAttributes(node.attributes, (attribute) =>
    mapGraphs(attribute, (graph) => renameIn(graph, rename)),
  );
  const captures = [...new Set(node.captures.map(nameOf))];
  return [
    printBodyNode({ name, op, domain, overload, inputs, outputs, attributes }, options, '  '),
    captures.length > 0 ? ` captures (${names(captures)})` : '',
    annotation(node),
  ].join('');
}

function printBodyNode(node: BodyNode, options: PrintOptions, indent: string): string {
  const outputs = names(node.outputs);
  const attributes = printAttributes(node.attributes, options, indent);
  return [
    `[${quote(node.name)}] ${outputs ? `${outputs} ` : ''}= ${printOperator(node)}`,
    attributes === '' ? '' : ` <${attributes}>`,
    ` (${names(node.inputs)})`,
  ].join('');
}

const printAttributes = (attributes: Attributes, options: PrintOptions, indent: string): string =>
  list(
    [...attributes.entries()].map(([name, attribute]) => {
      const { kind, value } = attribute;
      const said = kind === 'reference' ? value.kind : kind;
      return `${quote(name)}: ${said} = ${printAttribute(attribute, options, indent)}`;
    }),
  );

/** Phase and origin, which ONNX does not know, follow in a comment that the parser reads. */
function annotation(node: Node): string {
  if (node.phase === 'forward' && node.origin === undefined) return '';
  const origin = node.origin === undefined ? '' : ` from ${JSON.stringify(node.origin)}`;
  return `  #! ${node.phase}${origin}`;
}

function printOperator({ domain, op, overload }: BodyNode): string {
  const suffix = overload === '' ? '' : `:${quote(overload)}`;
  if (!BARE_OP.test(op) || !(domain === '' || BARE.test(domain)))
    return `${JSON.stringify(domain)}.${JSON.stringify(op)}${suffix}`;
  return (domain === '' ? op : `${domain}.${op}`) + suffix;
}

function printAttribute(attribute: Attribute, options: PrintOptions, indent: string): string {
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
    case 'graph':
      return printSubgraph(attribute.value, options, indent);
    case 'graphs':
      return `[${list(attribute.value.map((graph) => printSubgraph(graph, options, indent)))}]`;
    case 'reference':
      return `@${quote(attribute.value.name)}`;
    case 'opaque':
      return ELIDED;
  }
}

/** A graph in the middle of a line that begins with `indent`. */
function printSubgraph(graph: Subgraph, options: PrintOptions, indent: string): string {
  const inner = `${indent}  `;
  const declared = [
    ...graph.constants.map(({ name, data }) => {
      const type = { dtype: data.dtype, shape: data.dims };
      return `${declaration({ name, type })} = ${printData(data, options)}`;
    }),
    ...[...graph.types].map(([name, type]) => declaration({ name, type })),
  ];
  return [
    `${quote(graph.name)} (${list(graph.inputs.map(declaration))}) => (${names(graph.outputs)})`,
    `${indent}<`,
    ...declared.map((line) => inner + line),
    `${indent}>`,
    `${indent}{`,
    ...graph.nodes.map((node) => inner + printBodyNode(node, options, inner)),
    `${indent}}`,
  ].join('\n');
}

function printFunction(f: LocalFunction, options: PrintOptions): string[] {
  const about = [
    `domain: ${JSON.stringify(f.domain)}`,
    ...(f.overload === '' ? [] : [`overload: ${JSON.stringify(f.overload)}`]),
    `opset_import: [${pairs(f.opsets)}]`,
  ];
  return [
    `<${list(about)}>`,
    `${quote(f.name)} <${names(f.attributes)}> <${printAttributes(f.defaults, options, '')}> (${names(f.inputs)}) => (${names(f.outputs)})`,
    '{',
    ...f.nodes.map((node) => `  ${printBodyNode(node, options, '  ')}`),
    '}',
  ];
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
