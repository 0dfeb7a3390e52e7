// GraphProto → Graph. In: the fields of the graph. Out: values, nodes and use lists, in execution order.
// Invariant: nothing that is large is decoded, every name is defined once, and any order of nodes in the file is
// accepted.

import { DiagnosticError } from '../diagnostics/index.js';
import { Value } from '../ir/index.js';
import type { Graph, Node, TensorType } from '../ir/index.js';
import { recordOf } from './attribute.js';
import { decode } from './codec.js';
import type { ExternalFiles } from './external.js';
import { readNode } from './read-body.js';
import type { NodeParts } from './read-body.js';
import { GRAPH, GraphRecord, NodeRecord, SPARSE_INITIALIZER, ValueRecord } from './record.js';
import { nodeRecords } from './record.js';
import type { Slot } from './record.js';
import { SparseData } from './sparse.js';
import { TensorData } from './tensor-data.js';
import { Symbols, readType } from './types.js';
import { expectWire, inside, payload, scan, text } from './wire.js';
import type { Field } from './wire.js';

/** A node as the file has it, before its operands are looked up. */
interface Draft extends NodeParts {
  readonly captures: Set<string>;
}

export function readGraph(graph: Graph, field: Field, files: ExternalFiles): GraphRecord {
  return new GraphReader(graph, field, files).read();
}

class GraphReader {
  private readonly values = new Map<string, Value>();
  private readonly symbols = new Symbols();
  private readonly drafts = new Map<Field, Draft>();
  private readonly reserved = new Set<string>();
  private readonly slots: Slot[] = [];

  constructor(
    private readonly graph: Graph,
    private readonly field: Field,
    private readonly files: ExternalFiles,
  ) {}

  read(): GraphRecord {
    const fields = scan(inside(this.field));
    const initialized = this.readConstants(fields);
    for (const field of fields) if (field.number === GRAPH.name) this.graph.name = text(field);
    this.readInputs(fields, initialized);
    for (const field of fields) if (field.number === GRAPH.node) this.draft(field);
    const nodes = this.addNodes();
    this.connect(nodes);
    for (const field of fields) this.addSlot(field, initialized, nodes);
    this.orderNodes(nodes);
    for (const [node, draft] of nodes) {
      const irName = node.name;
      const { name, op, domain, overload, inputs, outputs, captures, attributes } = draft;
      const record = new NodeRecord(
        draft.field, draft.fields, name, irName, op, domain, overload, inputs, outputs, [...captures], attributes,
      ); // prettier-ignore
      nodeRecords.set(node, record);
      node.source = record;
    }
    for (const value of this.values.values()) {
      const data = value.constant instanceof TensorData ? value.constant : undefined;
      value.source = new ValueRecord(value.name, value.type, data);
    }
    const record = new GraphRecord(this.field, this.slots, this.graph.name, [...this.graph.nodes]);
    this.graph.source = record;
    return record;
  }

  private invalid(where: string, why: string): DiagnosticError {
    return new DiagnosticError('model/invalid', `${this.field.source.label}, ${where}`, why);
  }

  private define(value: Value, where: string): void {
    if (value.name === '') throw this.invalid(where, 'it defines a value without a name');
    this.values.set(value.name, value);
    this.reserved.add(value.name);
  }

  private expectNew(name: string, where: string): void {
    if (name === '') throw this.invalid(where, 'a value has no name');
    if (this.values.has(name)) throw this.invalid(where, `"${name}" is defined a second time`);
  }

  /** The initializers by field. They become values only after the inputs, of which some may be constants. */
  private readConstants(fields: readonly Field[]): Map<Field, TensorData | SparseData> {
    const found = new Map<Field, TensorData | SparseData>();
    const names = new Set<string>();
    for (const field of fields) {
      const dense = field.number === GRAPH.initializer;
      if (!dense && field.number !== SPARSE_INITIALIZER) continue;
      expectWire(field, 2);
      const data = dense
        ? new TensorData(inside(field), this.files)
        : new SparseData(inside(field), this.files);
      if (data.name === '') throw this.invalid('initializers', 'an initializer has no name');
      if (names.has(data.name))
        throw this.invalid(`initializer ${data.name}`, 'it is defined a second time');
      names.add(data.name);
      found.set(field, data);
    }
    return found;
  }

  private readInputs(
    fields: readonly Field[],
    constants: ReadonlyMap<Field, TensorData | SparseData>,
  ): void {
    const constantNames = new Set([...constants.values()].map((data) => data.name));
    for (const field of fields) {
      if (field.number !== GRAPH.input) continue;
      const { name, type } = this.info(field, (n) => !constantNames.has(n));
      this.expectNew(name, `input ${name}`);
      this.define(this.graph.addInput(name, type), 'graph inputs');
    }
    for (const data of constants.values()) {
      const value = this.values.get(data.name);
      if (!value) this.define(this.graph.addConstant(data.name, data), 'initializers');
      else {
        value.type = { dtype: data.dtype, shape: data.dims };
        this.graph.attachConstant(value, data);
      }
    }
  }

  private info(
    field: Field,
    zeroIsOpen: (name: string) => boolean,
  ): { name: string; type: TensorType | undefined } {
    expectWire(field, 2);
    const message = decode('ValueInfoProto', payload(field), field.source.label);
    const name = message.name ?? '';
    return {
      name,
      type: readType(message.type, this.symbols, { zeroIsOpen: zeroIsOpen(name) }),
    };
  }

  private draft(field: Field): void {
    const parts = readNode(field, this.files);
    const { name, op, outputs, list, attributes } = parts;
    const captures = new Set<string>();
    for (const [, attribute] of list) {
      const names = recordOf(attribute)?.names;
      for (const captured of names?.captures ?? []) captures.add(captured);
      for (const inner of names?.inner ?? []) this.reserved.add(inner);
    }
    const where = `node ${name || `${op || '?'}:${outputs[0] ?? ''}`}`;
    if (op === '') throw this.invalid(where, 'it has no operator');
    if (attributes.size !== list.length) throw this.invalid(where, 'an attribute is given twice');
    if (name) this.reserved.add(name);
    this.drafts.set(field, { ...parts, captures });
  }

  /** Nodes and their results, without operands: the file may name operands before their producers. */
  private addNodes(): Map<Node, Draft> {
    const nodes = new Map<Node, Draft>();
    for (const draft of this.drafts.values()) {
      const { op, domain, overload, name, attributes } = draft;
      const where = `node ${name || `${op}:${draft.outputs[0] ?? ''}`}`;
      const seen = new Set<string>();
      for (const output of draft.outputs) {
        if (output === '') continue;
        this.expectNew(output, where);
        if (seen.has(output)) throw this.invalid(where, `it defines "${output}" twice`);
        seen.add(output);
      }
      const outputs = draft.outputs.map((o) => (o === '' ? undefined : o));
      const node = this.graph.addNode({
        op,
        domain,
        overload,
        name,
        inputs: [],
        outputs,
        attributes,
      });
      for (const value of node.outputs) if (value) this.define(value, where);
      nodes.set(node, draft);
    }
    for (const name of this.reserved) if (!this.values.has(name)) this.graph.uniqueName(name);
    // Names of nodes are made unique here; the file's own names stay in the records.
    const taken = new Set<string>();
    for (const [node, draft] of nodes) {
      const base = draft.name || `${draft.op}:${draft.outputs.find((o) => o !== '') ?? ''}`;
      node.name = draft.name && !taken.has(base) ? base : this.graph.uniqueName(base);
      taken.add(node.name);
    }
    return nodes;
  }

  private connect(nodes: ReadonlyMap<Node, Draft>): void {
    for (const [node, draft] of nodes) {
      const find = (name: string): Value => {
        const value = this.values.get(name);
        if (!value)
          throw this.invalid(`node ${node.name}`, `it reads "${name}", which nothing defines`);
        return value;
      };
      for (const name of draft.inputs) node.addInput(name === '' ? undefined : find(name));
      for (const name of draft.captures) node.addCapture(find(name));
    }
  }

  /** Connects a field with its entity, and takes in outputs and value_info. */
  private addSlot(
    field: Field,
    constants: ReadonlyMap<Field, TensorData | SparseData>,
    nodes: ReadonlyMap<Node, Draft>,
  ): void {
    if (this.nodeOf.size === 0)
      for (const [node, draft] of nodes) this.nodeOf.set(draft.field, node);
    const node = this.nodeOf.get(field);
    const data = constants.get(field);
    if (node) this.slots.push({ field, node });
    else if (data) this.pushValue(field, this.values.get(data.name));
    else if (field.number === GRAPH.input || field.number === GRAPH.info)
      this.pushValue(field, this.typed(field));
    else if (field.number === GRAPH.output) {
      const value = this.typed(field);
      if (!value) {
        const { name } = this.info(field, () => false);
        throw this.invalid(`output ${name}`, 'nothing defines it');
      }
      this.graph.outputs.push(value);
      this.pushValue(field, value);
    } else this.slots.push({ field });
  }

  private readonly nodeOf = new Map<Field, Node>();

  private pushValue(field: Field, value: Value | undefined): void {
    this.slots.push(value ? { field, value } : { field });
  }

  /** The value a ValueInfoProto speaks of, its type filled in where it was not known. */
  private typed(field: Field): Value | undefined {
    const { name, type } = this.info(field, () => false);
    const value = this.values.get(name);
    if (value && type && !value.type?.shape) value.type = type;
    return value;
  }

  private orderNodes(nodes: ReadonlyMap<Node, Draft>): void {
    const done = new Set<Node>();
    for (const node of this.graph.nodes) {
      for (const value of node.reads)
        if (value?.producer && !done.has(value.producer)) {
          this.sort(nodes);
          return;
        }
      done.add(node);
    }
  }

  private sort(nodes: ReadonlyMap<Node, Draft>): void {
    // A cycle is the file's fault, so it is looked for before Graph.sort calls it ours.
    const waiting = new Map<Node, number>();
    const ready: Node[] = [];
    for (const node of nodes.keys()) {
      const producers = new Set(node.reads.map((v) => v?.producer));
      producers.delete(undefined);
      waiting.set(node, producers.size);
      if (producers.size === 0) ready.push(node);
    }
    let sorted = 0;
    for (let node = ready.pop(); node; node = ready.pop()) {
      sorted++;
      waiting.delete(node);
      for (const user of new Set(node.outputs.flatMap((v) => v?.users ?? []))) {
        const left = (waiting.get(user) ?? 0) - 1;
        waiting.set(user, left);
        if (left === 0) ready.push(user);
      }
    }
    if (sorted < nodes.size) {
      const [stuck] = waiting.keys();
      throw this.invalid(`node ${stuck?.name ?? ''}`, 'its result depends on itself');
    }
    this.graph.sort();
  }
}
