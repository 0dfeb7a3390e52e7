// Attributes, and the graphs and functions that nodes are made of → bytes. Invariant: an attribute that was read is
// written as the bytes it was read from, wherever its object ends up, as long as its name and the outer values its
// subgraphs read are unchanged.

import protobuf from 'protobufjs';
import { mapGraphs, renameIn, toInt64 } from '../ir/index.js';
import type { Attribute, BodyNode, LocalFunction, Subgraph } from '../ir/index.js';
import { ATTRIBUTE, ATTRIBUTE_TYPE, recordOf } from './attribute.js';
import { encode, fromBigInt } from './codec.js';
import type { Messages } from './codec.js';
import { Output } from './output.js';
import { FUNCTION, GRAPH, NODE } from './record.js';
import { rewriteAttribute } from './subgraph.js';
import { TensorData } from './tensor-data.js';
import { encodeTensor } from './tensor-write.js';
import type { TensorTarget } from './tensor-write.js';
import { writeType } from './types.js';
import { scan, text } from './wire.js';
import type { Span } from './wire.js';

const utf8 = new TextEncoder();
const bytesOf = (value: string): Uint8Array => utf8.encode(value);
const int64 = (value: number): ReturnType<typeof fromBigInt> => fromBigInt(toInt64(value));

/**
 * An AttributeProto.
 * @param rename outer value as the attribute names it → its present name, where they differ
 */
function writeAttribute(
  name: string,
  attribute: Attribute,
  rename: ReadonlyMap<string, string>,
  target: TensorTarget,
): Output {
  const record = recordOf(attribute);
  if (record) {
    const moved = record.external && target.relocates(record.files);
    const renamed = [...(record.names?.captures ?? [])].some((c) => rename.has(c));
    if (!moved && !renamed) return withName(record.span, record.name, name);
    if (attribute.kind !== 'tensor')
      return rewriteAttribute(record.span, {
        name: bytesOf(name),
        rename,
        tensor: (span) => {
          const data = new TensorData(span, record.files);
          return moved && data.external ? encodeTensor(data.name, data, target.inline) : undefined;
        },
      });
  }
  if (attribute.kind === 'tensor') {
    const head = encode('AttributeProto', { name, type: ATTRIBUTE_TYPE.tensor });
    return new Output()
      .add(head)
      .field(ATTRIBUTE.tensor, encodeTensor('', attribute.value, target.inline));
  }
  const changed = mapGraphs(attribute, (graph) => renameIn(graph, rename));
  if (changed.kind === 'graph' || changed.kind === 'graphs') {
    const { kind } = changed;
    const out = new Output().add(encode('AttributeProto', { name, type: ATTRIBUTE_TYPE[kind] }));
    for (const graph of changed.kind === 'graph' ? [changed.value] : changed.value)
      out.field(ATTRIBUTE[kind], writeSubgraph(graph, target));
    return out;
  }
  return new Output().add(plainAttribute(name, changed));
}

/** Attributes that were encoded before: a training step repeats a few hundred of them for every layer. */
const encoded = new Map<string, Uint8Array>();
const ENCODED_LIMIT = 4096;

function plainAttribute(name: string, attribute: Attribute): Uint8Array {
  const { kind, value } = attribute;
  const isShort = typeof value === 'number' || (kind === 'ints' && value.length <= 16);
  const key = isShort ? `${name}:${kind}:${String(value)}` : '';
  const known = encoded.get(key);
  // A float may be −0, which is written as 0 in the key.
  if (known && !Object.is(value, -0)) return known;
  const bytes = encode('AttributeProto', { name, ...content(attribute) });
  if (isShort && !Object.is(value, -0) && encoded.size < ENCODED_LIMIT) encoded.set(key, bytes);
  return bytes;
}

function content(attribute: Attribute): Messages['AttributeProto'] {
  switch (attribute.kind) {
    case 'int':
      return { type: ATTRIBUTE_TYPE.int, i: int64(attribute.value) };
    case 'float':
      return { type: ATTRIBUTE_TYPE.float, f: attribute.value };
    case 'string':
      return { type: ATTRIBUTE_TYPE.string, s: bytesOf(attribute.value) };
    case 'ints':
      return { type: ATTRIBUTE_TYPE.ints, ints: attribute.value.map(int64) };
    case 'floats':
      return { type: ATTRIBUTE_TYPE.floats, floats: [...attribute.value] };
    case 'strings':
      return { type: ATTRIBUTE_TYPE.strings, strings: attribute.value.map(bytesOf) };
    case 'reference': {
      const { name, kind } = attribute.value;
      const type = Object.entries(ATTRIBUTE_TYPE).find(([word]) => word === kind)?.[1] ?? 0;
      return { type, refAttrName: name };
    }
    default:
      throw new Error('internal error: an opaque attribute that was not read from a file');
  }
}

/** The bytes as they are, or with the name exchanged. */
function withName(span: Span, from: string, to: string): Output {
  if (from === to) return new Output().add(span);
  const out = new Output();
  for (const field of scan(span))
    if (field.number === ATTRIBUTE.name) {
      if (text(field) !== to) out.field(ATTRIBUTE.name, bytesOf(to));
    } else out.add(field);
  return out;
}

const NOTHING: ReadonlyMap<string, string> = new Map();

/** What the compiler notes on a node for itself; no runtime knows such an attribute. */
const isNote = (key: string): boolean => key.startsWith('revnetify.');

/** An attribute that is written from its value alone. */
const isPlain = (attribute: Attribute): boolean => {
  const { kind } = attribute;
  return (
    kind !== 'tensor' && kind !== 'graph' && kind !== 'graphs' && recordOf(attribute) === undefined
  );
};

/** All of a NodeProto but its attributes. */
function writeHead(node: BodyNode, out: protobuf.Writer): void {
  const field = (number: number, text: string): void =>
    void out.uint32(number * 8 + 2).string(text);
  for (const name of node.inputs) field(NODE.input, name);
  for (const name of node.outputs) field(NODE.output, name);
  field(NODE.name, node.name);
  field(NODE.op, node.op);
  if (node.domain) field(NODE.domain, node.domain);
  if (node.overload) field(NODE.overload, node.overload);
}

/** Whether writePlainNode can write it. */
export function hasPlainAttributes({ attributes }: Pick<BodyNode, 'attributes'>): boolean {
  if (attributes.size === 0) return true;
  for (const [, attribute] of attributes.entries()) if (!isPlain(attribute)) return false;
  return true;
}

/** The content of a NodeProto with plain attributes only: the same bytes as from writeBodyNode, many times faster. */
export function writePlainNode(node: BodyNode, out: protobuf.Writer): void {
  writeHead(node, out);
  if (node.attributes.size === 0) return;
  for (const [key, attribute] of node.attributes.entries())
    if (!isNote(key)) out.uint32(NODE.attribute * 8 + 2).bytes(plainAttribute(key, attribute));
}

/** The content of a NodeProto. @param rename for the outer values that its attributes read */
export function writeBodyNode(
  node: BodyNode,
  target: TensorTarget,
  rename: ReadonlyMap<string, string> = NOTHING,
): Output {
  const head = protobuf.Writer.create();
  writeHead(node, head);
  const content = new Output().add(head.finish());
  for (const [key, attribute] of node.attributes.entries())
    if (!isNote(key)) content.field(NODE.attribute, writeAttribute(key, attribute, rename, target));
  return content;
}

/** The content of a GraphProto. */
function writeSubgraph(graph: Subgraph, target: TensorTarget): Output {
  const out = new Output();
  const info = (number: number, name: string, type = graph.types.get(name)): void => {
    const typed = type ? { type: writeType(type) } : {};
    out.field(number, encode('ValueInfoProto', { name, ...typed }));
  };
  for (const node of graph.nodes) out.field(GRAPH.node, writeBodyNode(node, target));
  out.field(GRAPH.name, bytesOf(graph.name));
  for (const { name, data } of graph.constants)
    out.field(GRAPH.initializer, encodeTensor(name, data, target.inline));
  for (const { name, type } of graph.inputs) info(GRAPH.input, name, type);
  for (const name of graph.outputs) info(GRAPH.output, name);
  const said = new Set(graph.outputs);
  for (const name of graph.types.keys()) if (!said.has(name)) info(GRAPH.info, name);
  return out;
}

/** The content of a FunctionProto. */
export function writeFunction(f: LocalFunction, target: TensorTarget): Output {
  const out = new Output().field(FUNCTION.name, bytesOf(f.name));
  for (const name of f.inputs) out.field(FUNCTION.input, bytesOf(name));
  for (const name of f.outputs) out.field(FUNCTION.output, bytesOf(name));
  for (const name of f.attributes) out.field(FUNCTION.attribute, bytesOf(name));
  for (const node of f.nodes) out.field(FUNCTION.node, writeBodyNode(node, target));
  for (const [domain, version] of f.opsets)
    out.field(
      FUNCTION.opset,
      encode('OperatorSetIdProto', { domain, version: fromBigInt(BigInt(version)) }),
    );
  out.field(FUNCTION.domain, bytesOf(f.domain));
  for (const [name, attribute] of f.defaults.entries())
    out.field(FUNCTION.default, writeAttribute(name, attribute, NOTHING, target));
  if (f.overload !== '') out.field(FUNCTION.overload, bytesOf(f.overload));
  return out;
}
