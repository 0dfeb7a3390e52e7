// Text → Model: the reverse of print.ts. Invariant: what is not understood is refused with its line; elided
// constants become constants that have no data to load.

import { DiagnosticError } from '../diagnostics/index.js';
import type { Attribute } from './attributes.js';
import { Attributes } from './attributes.js';
import { Model } from './graph.js';
import type { Graph, Phase, Value } from './graph.js';
import { ELIDED, typeWord } from './print.js';
import { ELEMENT_BYTES, InlineData, Tensor, elementCount } from './tensor.js';
import type { ConstantData, DataType, Dim, TensorType } from './tensor.js';

const DTYPES = new Map<string, DataType>(
  (Object.keys(ELEMENT_BYTES) as DataType[]).map((dtype) => [typeWord(dtype), dtype]),
);
const PHASES: ReadonlySet<string> = new Set<Phase>(['forward', 'recompute', 'backward', 'update']);

interface Token {
  readonly kind: 'name' | 'string' | 'number' | 'mark' | 'end';
  readonly text: string;
  readonly line: number;
}

const TOKEN =
  /(?<space>\s+|#(?!!)[^\n]*)|(?<string>"(?:[^"\\\n]|\\.)*")|(?<number>-?(?:Infinity|\d[\d.]*(?:e[+-]?\d+)?)|NaN)(?![\w/])|(?<name>[A-Za-z_/][\w./]*)|(?<mark>=>|#!|[<>(){}[\],:=.?…])/y;

/** @throws DiagnosticError model/invalid with the line */
export function parse(text: string): Model {
  return new Parser(text).model();
}

class Parser {
  private readonly tokens: Token[] = [];
  private at = 0;
  private readonly model_ = new Model();
  private readonly values = new Map<string, Value>();
  /** Types of results, declared before the nodes. */
  private readonly types = new Map<string, TensorType>();

  constructor(text: string) {
    let line = 1;
    for (TOKEN.lastIndex = 0; TOKEN.lastIndex < text.length;) {
      const from = TOKEN.lastIndex;
      const groups = TOKEN.exec(text)?.groups;
      if (!groups) throw invalid(line, `unexpected "${text.slice(from, from + 10)}"`);
      for (const kind of ['name', 'string', 'number', 'mark'] as const) {
        const found = groups[kind];
        if (found !== undefined) this.tokens.push({ kind, text: found, line });
      }
      line += text.slice(from, TOKEN.lastIndex).split('\n').length - 1;
    }
    this.tokens.push({ kind: 'end', text: 'the end', line });
  }

  model(): Model {
    const { graph } = this.model_;
    this.header();
    graph.name = this.name();
    this.expect('(');
    this.until(')', () => {
      const type = this.type();
      const name = this.name();
      this.define(name, graph.addInput(name, type));
    });
    this.expect('=>');
    this.expect('(');
    const outputs: string[] = [];
    this.until(')', () => outputs.push(this.name()));
    this.expect('<');
    while (!this.accept('>')) this.declaration(graph);
    this.expect('{');
    while (!this.accept('}')) this.node(graph);
    for (const name of outputs) graph.outputs.push(this.value(name));
    if (this.peek().kind !== 'end') throw this.unexpected();
    return this.model_;
  }

  private header(): void {
    const model = this.model_;
    this.expect('<');
    this.until('>', () => {
      const key = this.name();
      this.expect(':');
      if (key === 'ir_version') model.irVersion = this.number();
      else if (key === 'producer_name') model.producerName = this.string();
      else if (key === 'opset_import') this.pairs((k) => model.opsets.set(k, this.number()));
      else if (key === 'metadata_props') this.pairs((k) => model.metadata.set(k, this.string()));
      else throw this.unexpected();
    });
  }

  private pairs(set: (key: string) => void): void {
    this.expect('[');
    this.until(']', () => {
      const key = this.string();
      this.expect(':');
      set(key);
    });
  }

  private declaration(graph: Graph): void {
    const type = this.type();
    const name = this.name();
    if (!this.accept('=')) {
      if (type) this.types.set(name, type);
      return;
    }
    const data = this.data(type);
    const known = this.values.get(name);
    if (known) graph.attachConstant(known, data);
    else {
      const value = graph.addConstant(name, data);
      value.type = type;
      this.define(name, value);
    }
  }

  private node(graph: Graph): void {
    this.expect('[');
    const name = this.name();
    this.expect(']');
    const outputs: (string | undefined)[] = [];
    while (!this.accept('=')) {
      outputs.push(this.name() || undefined);
      this.accept(',');
    }
    const { domain, op } = this.operator();
    const attributes: [string, Attribute][] = [];
    if (this.accept('<')) this.until('>', () => attributes.push(this.attribute()));
    const inputs = this.operands();
    const captures = this.accept('captures') ? this.operands() : [];
    const { phase, origin } = this.annotation();
    const node = graph.addNode({
      op,
      domain,
      name,
      inputs,
      outputs,
      attributes: new Attributes(attributes),
      phase,
      ...(origin === undefined ? {} : { origin }),
    });
    for (const value of captures) if (value) node.addCapture(value);
    node.outputs.forEach((value, index) => {
      if (!value) return;
      this.define(outputs[index] ?? '', value);
      value.type = this.types.get(value.name);
    });
  }

  private operands(): (Value | undefined)[] {
    const values: (Value | undefined)[] = [];
    this.expect('(');
    this.until(')', () => {
      const name = this.name();
      values.push(name === '' ? undefined : this.value(name));
    });
    return values;
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
    const name = this.name();
    this.expect(':');
    const kind = this.name();
    this.expect('=');
    return [name, this.attributeValue(kind)];
  }

  private attributeValue(kind: string): Attribute {
    const several = <T>(read: () => T): T[] => {
      const items: T[] = [];
      this.expect('[');
      this.until(']', () => items.push(read()));
      return items;
    };
    switch (kind) {
      case 'int':
      case 'float':
        return { kind, value: this.number() };
      case 'ints':
      case 'floats':
        return { kind, value: several(() => this.number()) };
      case 'string':
        return { kind, value: this.string() };
      case 'strings':
        return { kind, value: several(() => this.string()) };
      case 'tensor':
        return { kind, value: this.data(this.type()) };
      default:
        throw invalid(this.peek().line, `attributes of kind ${kind} cannot be read from text`);
    }
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
    } else {
      const numbers: number[] = [];
      this.expect('{');
      this.until('}', () => numbers.push(this.number()));
      elements = Float64Array.from(numbers);
    }
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

  /** Items with commas between them, up to a closing mark. */
  private until(close: string, item: () => void): void {
    if (this.accept(close)) return;
    do item();
    while (this.accept(','));
    this.expect(close);
  }

  private peek(): Token {
    const token = this.tokens[this.at];
    if (!token) throw new Error('internal error: read past the end of the text');
    return token;
  }

  private take(): Token {
    const token = this.peek();
    if (token.kind === 'end') throw this.unexpected();
    this.at++;
    return token;
  }

  private accept(text: string): boolean {
    const token = this.peek();
    if (token.text !== text || token.kind === 'string') return false;
    this.at++;
    return true;
  }

  private expect(text: string): void {
    if (!this.accept(text)) throw this.unexpected(`"${text}"`);
  }

  private unexpected(wanted?: string): DiagnosticError {
    const { text, line } = this.peek();
    return invalid(line, `unexpected ${text}${wanted === undefined ? '' : `, not ${wanted}`}`);
  }

  private name(): string {
    const { kind } = this.peek();
    if (kind === 'string') return this.string();
    if (kind !== 'name') throw this.unexpected('a name');
    return this.take().text;
  }

  private string(): string {
    if (this.peek().kind !== 'string') throw this.unexpected('a quoted string');
    const { text, line } = this.take();
    try {
      return JSON.parse(text) as string;
    } catch {
      throw invalid(line, `${text} is not a valid string`);
    }
  }

  private number(): number {
    if (this.peek().kind !== 'number') throw this.unexpected('a number');
    return Number(this.take().text);
  }
}

function invalid(line: number, why: string): DiagnosticError {
  return new DiagnosticError('model/invalid', `line ${line}`, why, 'correct the text');
}

function elided(dtype: DataType, dims: readonly number[]): ConstantData {
  const fail = (): never => {
    throw new DiagnosticError('model/missing-weights', 'a constant', 'it was elided in the text');
  };
  return { dtype, dims, load: fail, bytes: fail };
}
