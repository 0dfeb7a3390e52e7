// AttributeProto, and the graphs and functions that nodes are made of → plain data. Invariant: reading an attribute
// decodes neither tensors nor graphs in it; a graph is taken apart when someone asks for it.

import { Attributes } from '../ir/index.js';
import type { Attribute, BodyNode, LocalFunction, Subgraph, TensorType } from '../ir/index.js';
import { ATTRIBUTE, ATTRIBUTE_TYPE, remember } from './attribute.js';
import type { AttributeRecord } from './attribute.js';
import { decode, toNumber } from './codec.js';
import type { Messages } from './codec.js';
import type { ExternalFiles } from './external.js';
import { FUNCTION, GRAPH, NODE, SPARSE_INITIALIZER } from './record.js';
import { SparseData } from './sparse.js';
import { collectNames, someTensor } from './subgraph.js';
import { TensorData } from './tensor-data.js';
import { Symbols, readType } from './types.js';
import { concat, damaged, expectWire, inside, payload, scan, text } from './wire.js';
import type { Field, Span } from './wire.js';

const GRAPHS: ReadonlySet<number> = new Set([ATTRIBUTE.graph, ATTRIBUTE.graphs]);
/** Fields that may be large and are not decoded with the rest. */
const BULK: ReadonlySet<number> = new Set([...GRAPHS, ATTRIBUTE.tensor, ATTRIBUTE.tensors, 22, 23]);
const KINDS = new Map<number, string>(
  Object.entries(ATTRIBUTE_TYPE).map(([word, number]) => [number, word]),
);

function readAttribute(field: Field, files: ExternalFiles): { name: string; attribute: Attribute } {
  const span = inside(field);
  const fields = scan(span);
  const bulk = fields.some((f) => BULK.has(f.number));
  const head = bulk ? concat(fields.filter((f) => !BULK.has(f.number))) : concat([span]);
  const message = decode('AttributeProto', head, span.source.label);
  const nested = fields.filter((f) => GRAPHS.has(f.number));
  const names = nested.length
    ? { captures: new Set<string>(), inner: new Set<string>() }
    : undefined;
  if (names) for (const f of nested) collectNames(inside(f), names);
  const record: AttributeRecord = {
    name: message.name ?? '',
    span,
    files,
    names,
    external:
      bulk && someTensor(span, (tensor) => new TensorData(tensor, files).external !== undefined),
  };
  const attribute = toAttribute(message, fields, record);
  remember(attribute, record);
  return { name: record.name, attribute };
}

const utf8 = new TextDecoder();

function toAttribute(
  message: Messages['AttributeProto'],
  fields: readonly Field[],
  record: AttributeRecord,
): Attribute {
  const { span, files } = record;
  const type = message.type ? message.type : guessType(message, fields);
  if (message.refAttrName)
    return {
      kind: 'reference',
      value: { name: message.refAttrName, kind: KINDS.get(type) ?? 'undefined' },
    };
  const find = (number: number): Field => {
    const found = fields.find((f) => f.number === number);
    if (!found) throw damaged(span.source, `attribute ${record.name} has no ${KINDS.get(type)}`);
    return found;
  };
  switch (type) {
    case ATTRIBUTE_TYPE.float:
      return { kind: 'float', value: message.f ?? 0 };
    case ATTRIBUTE_TYPE.int:
      return { kind: 'int', value: toNumber(message.i) };
    case ATTRIBUTE_TYPE.string:
      return { kind: 'string', value: utf8.decode(Uint8Array.from(message.s ?? [])) };
    case ATTRIBUTE_TYPE.floats:
      return { kind: 'floats', value: message.floats ?? [] };
    case ATTRIBUTE_TYPE.ints:
      return { kind: 'ints', value: (message.ints ?? []).map(toNumber) };
    case ATTRIBUTE_TYPE.strings:
      return { kind: 'strings', value: (message.strings ?? []).map((s) => utf8.decode(s)) };
    case ATTRIBUTE_TYPE.tensor:
      return { kind: 'tensor', value: new TensorData(inside(find(ATTRIBUTE.tensor)), files) };
    case ATTRIBUTE_TYPE.graph: {
      const graph = inside(find(ATTRIBUTE.graph));
      return lazily('graph', () => readSubgraph(graph, files));
    }
    case ATTRIBUTE_TYPE.graphs: {
      const graphs = fields.filter((f) => f.number === ATTRIBUTE.graphs);
      return lazily('graphs', () => graphs.map((f) => readSubgraph(inside(f), files)));
    }
    default:
      return { kind: 'opaque', value: record };
  }
}

/** An attribute whose value is made when it is first asked for. */
function lazily<K extends string, T>(
  kind: K,
  make: () => T,
): { readonly kind: K; readonly value: T } {
  let made: { value: T } | undefined;
  return {
    kind,
    get value() {
      return (made ??= { value: make() }).value;
    },
  };
}

/** Files of IR version 1 leave the type out: the one field that is set tells it. */
function guessType(message: Messages['AttributeProto'], fields: readonly Field[]): number {
  const has = (number: number): boolean => fields.some((f) => f.number === number);
  if (has(2)) return ATTRIBUTE_TYPE.float;
  if (has(3)) return ATTRIBUTE_TYPE.int;
  if (has(4)) return ATTRIBUTE_TYPE.string;
  if (has(ATTRIBUTE.tensor)) return ATTRIBUTE_TYPE.tensor;
  if (has(ATTRIBUTE.graph)) return ATTRIBUTE_TYPE.graph;
  if (message.floats?.length) return ATTRIBUTE_TYPE.floats;
  if (message.ints?.length) return ATTRIBUTE_TYPE.ints;
  return message.strings?.length ? ATTRIBUTE_TYPE.strings : 0;
}

/** A NodeProto and where it stands in the file. */
export interface NodeParts extends BodyNode {
  readonly field: Field;
  readonly fields: readonly Field[];
  /** The attributes in the order of the file; two may have one name. */
  readonly list: readonly (readonly [string, Attribute])[];
}

export function readNode(field: Field, files: ExternalFiles): NodeParts {
  expectWire(field, 2);
  const fields = scan(inside(field));
  const inputs: string[] = [];
  const outputs: string[] = [];
  const list: [string, Attribute][] = [];
  let [name, op, domain, overload] = ['', '', '', ''];
  for (const f of fields) {
    if (f.number === NODE.input) inputs.push(text(f));
    else if (f.number === NODE.output) outputs.push(text(f));
    else if (f.number === NODE.name) name = text(f);
    else if (f.number === NODE.op) op = text(f);
    else if (f.number === NODE.domain) domain = text(f);
    else if (f.number === NODE.overload) overload = text(f);
    else if (f.number === NODE.attribute) {
      expectWire(f, 2);
      const { name: key, attribute } = readAttribute(f, files);
      list.push([key, attribute]);
    }
  }
  if (domain === 'ai.onnx') domain = '';
  const attributes = new Attributes(list);
  return { field, fields, list, name, op, domain, overload, inputs, outputs, attributes };
}

/** Without what only the writer needs. */
function readBodyNode(field: Field, files: ExternalFiles): BodyNode {
  const { name, op, domain, overload, inputs, outputs, attributes } = readNode(field, files);
  return { name, op, domain, overload, inputs, outputs, attributes };
}

function readSubgraph(span: Span, files: ExternalFiles): Subgraph {
  const symbols = new Symbols();
  const inputs: { name: string; type: TensorType | undefined }[] = [];
  const outputs: string[] = [];
  const constants: Subgraph['constants'][number][] = [];
  const types = new Map<string, TensorType>();
  const nodes: BodyNode[] = [];
  let graphName = '';
  const info = (field: Field): (typeof inputs)[number] => {
    expectWire(field, 2);
    const message = decode('ValueInfoProto', payload(field), span.source.label);
    return {
      name: message.name ?? '',
      type: readType(message.type, symbols, { zeroIsOpen: false }),
    };
  };
  for (const field of scan(span)) {
    if (field.number === GRAPH.name) graphName = text(field);
    else if (field.number === GRAPH.node) nodes.push(readBodyNode(field, files));
    else if (field.number === GRAPH.input) inputs.push(info(field));
    else if (field.number === GRAPH.output || field.number === GRAPH.info) {
      const { name, type } = info(field);
      if (field.number === GRAPH.output) outputs.push(name);
      if (type) types.set(name, type);
    } else if (field.number === GRAPH.initializer || field.number === SPARSE_INITIALIZER) {
      expectWire(field, 2);
      const dense = field.number === GRAPH.initializer;
      const data = new (dense ? TensorData : SparseData)(inside(field), files);
      constants.push({ name: data.name, data });
    }
  }
  return { name: graphName, inputs, outputs, constants, types, nodes };
}

/** A FunctionProto; its body is read when it is asked for. */
export function readFunction(field: Field, files: ExternalFiles): LocalFunction {
  expectWire(field, 2);
  const fields = scan(inside(field));
  const all = (number: number): string[] =>
    fields.filter((f) => f.number === number).map((f) => text(f));
  const one = (number: number): string => all(number).at(-1) ?? '';
  const opsets = new Map<string, number>();
  const defaults: [string, Attribute][] = [];
  for (const f of fields)
    if (f.number === FUNCTION.opset) {
      expectWire(f, 2);
      const { domain, version } = decode('OperatorSetIdProto', payload(f), f.source.label);
      opsets.set(domain === 'ai.onnx' ? '' : (domain ?? ''), toNumber(version));
    } else if (f.number === FUNCTION.default) {
      const { name, attribute } = readAttribute(f, files);
      defaults.push([name, attribute]);
    }
  let nodes: BodyNode[] | undefined;
  const domain = one(FUNCTION.domain);
  return {
    domain: domain === 'ai.onnx' ? '' : domain,
    name: one(FUNCTION.name),
    overload: one(FUNCTION.overload),
    inputs: all(FUNCTION.input),
    outputs: all(FUNCTION.output),
    attributes: all(FUNCTION.attribute),
    defaults: new Attributes(defaults),
    opsets,
    get nodes() {
      nodes ??= fields.filter((f) => f.number === FUNCTION.node).map((f) => readBodyNode(f, files));
      return nodes;
    },
  };
}
