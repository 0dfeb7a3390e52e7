// Graph → GraphProto. In: the graph and, if it was read from a file, the record of that file. Out: pieces.
// Invariant: an entity that says what its record says is repeated byte for byte, in its old place unless the
// order of its kind has changed; fields that the IR does not hold stay where they were.

import { namesIn, renamedCaptures } from '../ir/index.js';
import type { BodyNode, Graph, Node, Value } from '../ir/index.js';
import { recordOf } from './attribute.js';
import { decode, encode } from './codec.js';
import { Output } from './output.js';
import { GRAPH, GraphRecord, NODE, NodeRecord, SPARSE_INITIALIZER, ValueRecord } from './record.js';
import { nodeRecords } from './record.js';
import type { Slot } from './record.js';
import { SparseData } from './sparse.js';
import { TensorData } from './tensor-data.js';
import { encodeTensor, wantsMove } from './tensor-write.js';
import type { TensorTarget } from './tensor-write.js';
import { sameType, writeType } from './types.js';
import { payload } from './wire.js';
import type { Field } from './wire.js';
import { hasPlainAttributes, writeBodyNode, writePlainNode } from './write-body.js';

export interface Written {
  /** The content of the message. */
  readonly content: Output;
  /** Whether it differs from the record. */
  readonly changed: boolean;
}

export interface GraphOptions {
  readonly target: TensorTarget;
  /** Write the types of all values, not only those that the file had. */
  readonly valueInfo: boolean;
}

/** One repeated field: its entities in present order, and how each is written. */
interface Section<T> {
  readonly numbers: readonly number[];
  readonly present: readonly T[];
  /** The record's order; the same as present = every entity stays in its slot. */
  readonly before: readonly T[];
  readonly of: (slot: Slot) => T | undefined;
  readonly write: (item: T, slot: Slot | undefined, out: Output) => boolean;
}

export function writeGraph(graph: Graph, options: GraphOptions): Written {
  const record = graph.source instanceof GraphRecord ? graph.source : undefined;
  return new GraphWriter(graph, record, options).write();
}

class GraphWriter {
  private readonly out = new Output();
  private readonly slots: readonly Slot[];
  private changed: boolean;

  constructor(
    private readonly graph: Graph,
    private readonly record: GraphRecord | undefined,
    private readonly options: GraphOptions,
  ) {
    this.slots = record?.slots ?? [];
    this.changed = !record;
  }

  write(): Written {
    const sections = [
      new Placed(this.nodes(), this.slots),
      new Placed(this.constants(), this.slots),
      new Placed(this.values(GRAPH.input, this.graph.inputs), this.slots),
      new Placed(this.values(GRAPH.output, this.graph.outputs), this.slots),
      new Placed(this.values(GRAPH.info, this.describedValues()), this.slots),
    ];
    const renamed = this.graph.name !== this.record?.name;
    if (renamed) this.out.field(GRAPH.name, new TextEncoder().encode(this.graph.name));
    if (renamed) this.changed = true;
    for (const slot of this.slots) {
      const section = sections.find((s) => s.owns(slot));
      if (section) this.changed = section.at(slot, this.out) || this.changed;
      else if (!(renamed && slot.field.number === GRAPH.name)) this.out.add(slot.field);
    }
    for (const section of sections) this.changed = section.rest(this.out) || this.changed;
    return { content: this.out, changed: this.changed };
  }

  private before<T>(numbers: readonly number[], of: (slot: Slot) => T | undefined): T[] {
    const items: T[] = [];
    for (const slot of this.slots) {
      const item = numbers.includes(slot.field.number) ? of(slot) : undefined;
      if (item !== undefined) items.push(item);
    }
    return items;
  }

  private nodes(): Section<Node> {
    const present = [...this.graph.nodes];
    const order = this.record?.order ?? [];
    const same = present.length === order.length && present.every((n, i) => n === order[i]);
    const of = (slot: Slot): Node | undefined => slot.node;
    return {
      numbers: [GRAPH.node],
      present,
      // The file need not be in topological order: what counts is the order after reading.
      before: same ? present : [],
      of,
      write: (node, _slot, out) => writeNode(node, this.options.target, out),
    };
  }

  private constants(): Section<Value> {
    const numbers = [GRAPH.initializer, SPARSE_INITIALIZER];
    const of = (slot: Slot): Value | undefined => slot.value;
    const present = [...this.graph.constants];
    const slotOf = new Map<Value, Slot>();
    for (const slot of this.slots)
      if (slot.value && numbers.includes(slot.field.number)) slotOf.set(slot.value, slot);
    const inFileOrder = this.before(numbers, of);
    return {
      numbers,
      present,
      before: sameItems(present, inFileOrder) ? present : [],
      of,
      write: (value, _slot, out) =>
        writeConstant(value, slotOf.get(value)?.field, this.options.target, out),
    };
  }

  private values(number: number, present: readonly Value[]): Section<Value> {
    const of = (slot: Slot): Value | undefined => slot.value;
    const slots = new Map<Value, Slot>();
    const byName = new Map<string, Slot>();
    for (const slot of this.slots)
      if (slot.value && slot.field.number === number) {
        slots.set(slot.value, slot);
        const { source } = slot.value;
        if (source instanceof ValueRecord) byName.set(source.name, slot);
      }
    const before = this.before([number], of);
    return {
      numbers: [number],
      present,
      before: sameItems(present, before) ? present : [],
      of,
      write: (value, slot, out) =>
        writeInfo(number, value, slot ?? slots.get(value) ?? byName.get(value.name), out),
    };
  }

  /** The values that get a value_info: those that had one and are still there, those whose stated type differs
   * from the inferred one and, if asked for, all others. */
  private describedValues(): Value[] {
    const before = this.before([GRAPH.info], (slot) => slot.value);
    const present = before.length > 0 ? new Set(this.graph.values()) : undefined;
    const had = before.filter((v) => present?.has(v));
    const wanted = (v: Value): boolean =>
      (this.options.valueInfo ? v.type : v.stated) !== undefined;
    const done = new Set([...had, ...this.graph.inputs, ...this.graph.outputs]);
    const rest: Value[] = [];
    for (const { outputs } of this.graph.nodes)
      for (const v of outputs) if (v && wanted(v) && !done.has(v)) rest.push(v);
    return [...had, ...rest];
  }
}

const sameItems = <T>(a: readonly T[], b: readonly T[]): boolean =>
  a.length === b.length && a.every((item, i) => item === b[i]);

/** A section on its way through the slots of the file. */
class Placed<T> {
  private readonly inPlace: boolean;
  private written = false;
  private readonly numbers: ReadonlySet<number>;

  constructor(
    private readonly section: Section<T>,
    slots: readonly Slot[],
  ) {
    this.numbers = new Set(section.numbers);
    const had = slots.some((slot) => this.owns(slot));
    this.inPlace = section.before === section.present && (had || section.present.length === 0);
  }

  owns(slot: Slot): boolean {
    return this.numbers.has(slot.field.number) && this.section.of(slot) !== undefined;
  }

  /** Writes what belongs where a slot of this section was; tells whether that differs. */
  at(slot: Slot, out: Output): boolean {
    const item = this.section.of(slot);
    if (this.inPlace && item !== undefined) {
      this.written = true;
      return this.section.write(item, slot, out);
    }
    return this.rest(out);
  }

  /** Writes everything that has not been written. */
  rest(out: Output): boolean {
    if (this.written || this.inPlace) return false;
    this.written = true;
    for (const item of this.section.present) this.section.write(item, undefined, out);
    return true;
  }
}

const nameOf = (value: Value | undefined): string => value?.name ?? '';

const KNOWN_FIELDS: ReadonlySet<number> = new Set(Object.values(NODE));

/** Appends a node; tells whether it differs from its record. */
function writeNode(node: Node, target: TensorTarget, out: Output): boolean {
  const source = nodeRecords.get(node) ?? node.source;
  const record = source instanceof NodeRecord ? source : undefined;
  if (record && !hasMoved(node, target) && isUntouched(node, record)) {
    out.add(record.field);
    return false;
  }
  const body: BodyNode = {
    name: node.name,
    op: node.op,
    domain: node.domain,
    overload: node.overload,
    inputs: node.inputs.map(nameOf),
    outputs: node.outputs.map(nameOf),
    attributes: node.attributes,
  };
  const others = record?.fields.filter((field) => !KNOWN_FIELDS.has(field.number)) ?? [];
  if (others.length === 0 && hasPlainAttributes(body)) {
    out.message(GRAPH.node, (content) => {
      writePlainNode(body, content);
    });
    return true;
  }
  const content = writeBodyNode(body, target, renamedCaptures(node, capturedNames(node)));
  for (const field of others) content.add(field);
  out.field(GRAPH.node, content);
  return true;
}

/** Whether weights in its attributes are to lie elsewhere from now on. */
function hasMoved(node: Node, target: TensorTarget): boolean {
  for (const [, attribute] of node.attributes.entries()) {
    const from = recordOf(attribute);
    if (from?.external === true && target.relocates(from.files)) return true;
  }
  return false;
}

function isUntouched(node: Node, record: NodeRecord): boolean {
  return (
    node.name === record.irName &&
    node.op === record.op &&
    node.domain === record.domain &&
    node.overload === record.overload &&
    sameItems(node.inputs.map(nameOf), record.inputs) &&
    sameItems(node.outputs.map(nameOf), record.outputs) &&
    sameItems(node.captures.map(nameOf), record.captures) &&
    sameAttributes(node, record)
  );
}

function sameAttributes(node: Node, record: NodeRecord): boolean {
  if (node.attributes === record.attributes) return true;
  if (node.attributes.size !== record.attributes.size) return false;
  return [...node.attributes.entries()].every(([k, a]) => record.attributes.get(k) === a);
}

/** Outer names as the subgraphs of a node spell them. */
function capturedNames(node: Node): Set<string> {
  const names = new Set<string>();
  for (const entry of node.attributes.entries())
    for (const name of (recordOf(entry[1])?.names ?? namesIn([entry])).captures) names.add(name);
  return names;
}

function writeConstant(
  value: Value,
  field: Field | undefined,
  target: TensorTarget,
  out: Output,
): boolean {
  const data = value.constant;
  if (!data)
    throw new Error(`internal error: ${value.name} is listed as a constant and has no data`);
  const named = data instanceof TensorData || data instanceof SparseData;
  const moved = data instanceof TensorData && wantsMove(data, target);
  const record = value.source instanceof ValueRecord ? value.source : undefined;
  if (
    field &&
    named &&
    data.name === value.name &&
    data.span.start === field.from &&
    data.span.source === field.source &&
    !moved
  ) {
    out.add(field);
    return false;
  }
  out.field(GRAPH.initializer, encodeTensor(value.name, data, target, record?.constant));
  return true;
}

/** Appends a ValueInfoProto; tells whether it differs from the one in the slot. */
function writeInfo(number: number, value: Value, slot: Slot | undefined, out: Output): boolean {
  const record = slot?.value?.source;
  if (slot && record instanceof ValueRecord) {
    const typed = value.type === undefined || sameType(value.type, record.type);
    if (typed && value.name === record.name) {
      out.add(slot.field);
      return false;
    }
    const message = decode('ValueInfoProto', payload(slot.field), slot.field.source.label);
    message.name = value.name;
    if (!typed && value.type) message.type = writeType(value.type);
    out.field(number, encode('ValueInfoProto', message));
    return true;
  }
  const known = value.stated ?? value.type;
  const type = known ? { type: writeType(known) } : {};
  out.field(number, encode('ValueInfoProto', { name: value.name, ...type }));
  return true;
}
