// Text → Model: the reverse of print.ts. Invariant: what is not understood is refused with its line; elided
// constants become constants that have no data to load.

import { DiagnosticError } from '../diagnostics/index.js';
import type { Attribute } from './attributes.js';
import { Attributes } from './attributes.js';
import { namesIn } from './body.js';
import type { BodyNode, LocalFunction, Subgraph } from './body.js';
import type { Graph } from './graph.js';
import { Model } from './model.js';
import type { Phase, Value } from './node.js';
import { ELIDED, typeWord } from './print.js';
import { ELEMENT_BYTES, InlineData, Tensor, elementCount } from './tensor.js';
import type { ConstantData, DataType, Dim, TensorType } from './tensor.js';
import { TokenReader, invalid } from './tokens.js';

const DTYPES = new Map<string, DataType>(
  (Object.keys(ELEMENT_BYTES) as DataType[]).map((dtype) => [typeWord(dtype), dtype]),
);
const PHASES: ReadonlySet<string> = new Set<Phase>(['forward', 'recompute', 'backward', 'update']);

/** @throws DiagnosticError model/invalid with the line */
export function parse(text: string): Model {
  return new Parser(text).model();
}

interface Declared {
  readonly name: string;
  readonly type: TensorType | undefined;
  /** Of a constant. */
  readonly data: ConstantData | undefined;
}

class Parser extends TokenReader {
  private readonly model_ = new Model();
  private readonly values = new Map<string, Value>();

  model(): Model {
    const { graph } = this.model_;
    this.header();
    graph.name = this.name();
    for (const { name, type } of this.several('(', ')', () => this.typedName()))
      this.define(name, graph.addInput(name, type));
    this.expect('=>');
    const outputs = this.several('(', ')', () => this.name());
    /** Types of results, declared before the nodes. */
    const types = new Map<string, TensorType>();
    this.expect('<');
    while (!this.accept('>')) this.declare(graph, types);
    this.expect('{');
    while (!this.accept('}')) this.node(graph, types);
    for (const name of outputs) graph.outputs.push(this.value(name));
    const functions: LocalFunction[] = [];
    while (this.peek().kind !== 'end') functions.push(this.function());
    this.model_.functions = functions;
    return this.model_;
  }

  private header(): void {
    const model = this.model_;
    this.expect('<');
    this.until('>', () => {
      const key = this.key();
      if (key === 'ir_version') model.irVersion = this.number();
      else if (key === 'producer_name') model.producerName = this.string();
      else if (key === 'opset_import') this.pairs((k) => model.opsets.set(k, this.number()));
      else if (key === 'metadata_props') this.pairs((k) => model.metadata.set(k, this.string()));
      else throw this.unexpected();
    });
  }

  private key(): string {
    const key = this.name();
    this.expect(':');
    return key;
  }

  private pairs(set: (key: string) => void): void {
    this.several('[', ']', () => {
      const key = this.string();
      this.expect(':');
      set(key);
    });
  }

  private typedName(): { name: string; type: TensorType | undefined } {
    const type = this.type();
    return { name: this.name(), type };
  }

  private declaration(): Declared {
    const { name, type } = this.typedName();
    return { name, type, data: this.accept('=') ? this.data(type) : undefined };
  }

  private declare(graph: Graph, types: Map<string, TensorType>): void {
    const { name, type, data } = this.declaration();
    if (!data) {
      if (type) types.set(name, type);
      return;
    }
    const known = this.values.get(name);
    if (known) graph.attachConstant(known, data);
    else {
      const value = graph.addConstant(name, data);
      value.type = type;
      this.define(name, value);
    }
  }

  private node(graph: Graph, types: ReadonlyMap<string, TensorType>): void {
    const parts = this.bodyNode();
    const captures = this.accept('captures') ? this.several('(', ')', () => this.name()) : [];
    const { phase, origin } = this.annotation();
    const node = graph.addNode({
      ...parts,
      inputs: parts.inputs.map((name) => (name === '' ? undefined : this.value(name))),
      outputs: parts.outputs.map((name) => name || undefined),
      phase,
      ...(origin === undefined ? {} : { origin }),
    });
    // The order is that in which the graphs inside read them.
    const { captures: read } = namesIn(parts.attributes.entries());
    for (const name of new Set([...read, ...captures])) node.addCapture(this.value(name));
    node.outputs.forEach((value, index) => {
      if (!value) return;
      this.define(parts.outputs[index] ?? '', value);
      value.type = types.get(value.name);
    });
  }

  /** A node by names, up to its operands. */
  private bodyNode(): BodyNode {
    this.expect('[');
    const name = this.name();
    this.expect(']');
    const outputs: string[] = [];
    while (!this.accept('=')) {
      outputs.push(this.name());
      this.accept(',');
    }
    const { domain, op } = this.operator();
    const overload = this.accept(':') ? this.name() : '';
    const attributes: [string, Attribute][] = [];
    if (this.accept('<')) this.until('>', () => attributes.push(this.attribute()));
    const inputs = this.several('(', ')', () => this.name());
    return { name, op, domain, overload, inputs, outputs, attributes: new Attributes(attributes) };
  }

  private operator(): { domain: string; op: string } {
    if (this.peek().kind === 'string') {
      const domain = this.string();
      this.expect('.');
      return { domain, op: this.string() };
    }
    const text = this.name();
    const dot = text.lastIndexOf('.');
    return { domain: dot < 0 ? '' : text.slice(0, dot), op: text.slice(dot + 1) };
  }

  private annotation(): { phase: Phase; origin: string | undefined } {
    if (!this.accept('#!')) return { phase: 'forward', origin: undefined };
    const phase = this.name();
    if (!PHASES.has(phase)) throw this.unexpected();
    return { phase: phase as Phase, origin: this.accept('from') ? this.string() : undefined };
  }

  private attribute(): [string, Attribute] {
    const name = this.key();
    const kind = this.name();
    this.expect('=');
    if (this.accept('@')) return [name, { kind: 'reference', value: { name: this.name(), kind } }];
    return [name, this.attributeValue(kind)];
  }

  private attributeValue(kind: string): Attribute {
    const list = <T>(read: () => T): T[] => this.several('[', ']', read);
    switch (kind) {
      case 'int':
      case 'float':
        return { kind, value: this.number() };
      case 'ints':
      case 'floats':
        return { kind, value: list(() => this.number()) };
      case 'string':
        return { kind, value: this.string() };
      case 'strings':
        return { kind, value: list(() => this.string()) };
      case 'tensor':
        return { kind, value: this.data(this.type()) };
      case 'graph':
        return { kind, value: this.subgraph() };
      case 'graphs':
        return { kind, value: list(() => this.subgraph()) };
      default:
        throw invalid(this.peek().line, `attributes of kind ${kind} cannot be read from text`);
    }
  }

  private subgraph(): Subgraph {
    const name = this.name();
    const inputs = this.several('(', ')', () => this.typedName());
    this.expect('=>');
    const outputs = this.several('(', ')', () => this.name());
    const constants: Subgraph['constants'][number][] = [];
    const types = new Map<string, TensorType>();
    this.expect('<');
    while (!this.accept('>')) {
      const { name, type, data } = this.declaration();
      if (data) constants.push({ name, data });
      else if (type) types.set(name, type);
    }
    return { name, inputs, outputs, constants, types, nodes: this.bodyNodes() };
  }

  private bodyNodes(): BodyNode[] {
    const nodes: BodyNode[] = [];
    this.expect('{');
    while (!this.accept('}')) nodes.push(this.bodyNode());
    return nodes;
  }

  private function(): LocalFunction {
    let [domain, overload] = ['', ''];
    const opsets = new Map<string, number>();
    this.expect('<');
    this.until('>', () => {
      const key = this.key();
      if (key === 'domain') domain = this.string();
      else if (key === 'overload') overload = this.string();
      else if (key === 'opset_import') this.pairs((k) => opsets.set(k, this.number()));
      else throw this.unexpected();
    });
    const name = this.name();
    const attributes = this.several('<', '>', () => this.name());
    const defaults = this.several('<', '>', () => this.attribute());
    const inputs = this.several('(', ')', () => this.name());
    this.expect('=>');
    const outputs = this.several('(', ')', () => this.name());
    const about = { domain, name, overload, inputs, outputs, attributes, opsets };
    return { ...about, defaults: new Attributes(defaults), nodes: this.bodyNodes() };
  }

  private type(): TensorType | undefined {
    if (this.accept('?')) return undefined;
    const { text, line } = this.peek();
    const dtype = DTYPES.get(this.name());
    if (!dtype) throw invalid(line, `"${text}" is no element type`);
    if (!this.accept('[')) return { dtype, shape: [] };
    const shape: Dim[] = [];
    this.until(']', () => shape.push(this.peek().kind === 'number' ? this.number() : this.name()));
    return { dtype, shape: shape.length > 0 ? shape : undefined };
  }

  private data(type: TensorType | undefined): ConstantData {
    const { line } = this.peek();
    const dims = type?.shape?.filter((d) => typeof d === 'number');
    if (!type || !dims || dims.length !== type.shape?.length)
      throw invalid(line, 'a constant needs an element type and fixed dims');
    if (this.accept(ELIDED)) return elided(type.dtype, dims);
    let elements: Float64Array;
    if (this.accept('base64')) {
      const bytes = Uint8Array.from(Buffer.from(this.string(), 'base64'));
      if (bytes.length % 8 !== 0) throw invalid(line, 'the base64 text is cut off');
      elements = new Float64Array(bytes.buffer);
    } else elements = Float64Array.from(this.several('{', '}', () => this.number()));
    if (elements.length !== elementCount(dims))
      throw invalid(line, `${elements.length} elements for shape [${dims.join()}]`);
    return new InlineData(new Tensor(type.dtype, dims, elements));
  }

  private define(name: string, value: Value): void {
    if (this.values.has(name) || value.name !== name)
      throw invalid(this.peek().line, `"${name}" is defined a second time`);
    this.values.set(name, value);
  }

  private value(name: string): Value {
    const value = this.values.get(name);
    if (!value) throw invalid(this.peek().line, `nothing before this line defines "${name}"`);
    return value;
  }
}

function elided(dtype: DataType, dims: readonly number[]): ConstantData {
  const fail = (): never => {
    throw new DiagnosticError('model/missing-weights', 'a constant', 'it was elided in the text');
  };
  return { dtype, dims, load: fail, bytes: fail };
}
