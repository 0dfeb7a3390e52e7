// Builds nodes with their types. In: operator names and operands. Out: values in the graph. Invariant: every
// value it makes has a type, so that gradient rules and lowerings can read shapes as they go.

import { Attributes, InlineData, NCHWC, Tensor } from '../ir/index.js';
import type { Attribute, DataType, Graph, Node, Phase, Value } from '../ir/index.js';
import { inferNode } from './infer.js';
import { REVNETIFY } from './definition.js';

export interface BuildOptions {
  readonly attributes?: Readonly<Record<string, Attribute | undefined>> | Attributes;
  /** How many outputs; default 1. */
  readonly outputs?: number;
  /** Base of the output name and of the node name; default the operator. */
  readonly name?: string;
}

/** Where new nodes belong: their phase, the node they stem from, the prefix of their names. */
export interface Scope {
  readonly phase: Phase;
  /** Prefix of node and value names, e.g. "backward/layer3.7". */
  readonly path: string;
  readonly origin?: string | undefined;
  readonly unit?: string | undefined;
}

/** Domains by the prefix that operators are written with. */
const DOMAINS = new Map([
  ['revnetify', REVNETIFY],
  ['nchwc', NCHWC],
]);

/** What makes two small constants the same. */
const keyOf = (
  dtype: DataType,
  dims: readonly number[],
  elements: { join(separator: string): string },
): string => `${dtype}[${dims.join(',')}]${elements.join(',')}`;

const NONE = new Attributes({});

function attributesOf(given: BuildOptions['attributes']): Attributes {
  if (given === undefined) return NONE;
  if (given instanceof Attributes) return given;
  const present: [string, Attribute][] = [];
  for (const name in given) {
    const attribute = given[name];
    if (attribute) present.push([name, attribute]);
  }
  return new Attributes(present);
}

/** Makes nodes and constants in one graph; every value it makes has a type. */
export class Builder {
  /** Small constants already made, by content. Shared by all builders of one graph. */
  private readonly constants: Map<string, Value>;

  constructor(
    readonly graph: Graph,
    readonly scope: Scope,
    shared?: Builder,
  ) {
    this.constants = shared?.constants ?? new Map<string, Value>();
  }

  /** The same graph and constants, another scope. */
  within(scope: Partial<Scope>): Builder {
    return new Builder(this.graph, { ...this.scope, ...scope }, this);
  }

  /** A node; operators of our own domain are written "revnetify.ConvGradInput", those of blocked layouts "nchwc.Conv". */
  node(type: string, inputs: readonly (Value | undefined)[], options: BuildOptions = {}): Node {
    const dot = type.indexOf('.');
    const domain = dot < 0 ? undefined : DOMAINS.get(type.slice(0, dot));
    const op = domain === undefined ? type : type.slice(dot + 1);
    const { phase, path, origin, unit } = this.scope;
    const base = `${path}/${options.name ?? op}`;
    const outputs = [base];
    for (let i = 1; i < (options.outputs ?? 1); i++) outputs.push(`${base}.${i}`);
    // Spelled out: a step has a hundred thousand nodes, and objects of one form.
    const node = this.graph.addNode({
      op,
      domain: domain ?? '',
      inputs,
      outputs,
      attributes: attributesOf(options.attributes),
      phase,
      origin,
      unit,
    });
    node.name = node.output().name;
    inferNode(node);
    return node;
  }

  /** A node with one output: that output. */
  op(type: string, inputs: readonly (Value | undefined)[], options: BuildOptions = {}): Value {
    return this.node(type, inputs, options).output();
  }

  /** A constant; equal small ones are made once. */
  constant(tensor: Tensor, name = 'const'): Value {
    if (tensor.size > 64) return this.freshConstant(tensor, name);
    return this.shared(keyOf(tensor.dtype, tensor.dims, tensor.data), () => tensor, name);
  }

  /** A larger constant, made once per graph and key. */
  shared(key: string, make: () => Tensor, name = key): Value {
    let value = this.constants.get(key);
    if (value?.constant === undefined) {
      value = this.freshConstant(make(), name);
      this.constants.set(key, value);
    }
    return value;
  }

  /** A constant that is shared with nothing, whatever its content. */
  freshConstant(tensor: Tensor, name = 'const'): Value {
    return this.graph.addConstant(name, new InlineData(tensor));
  }

  /** A 0-d float32 constant. */
  scalar(value: number): Value {
    return this.shared(keyOf('float32', [], [value]), () => Tensor.scalar(value), 'const');
  }

  /** A 1-d int64 constant. */
  ints(...values: number[]): Value {
    const key = keyOf('int64', [values.length], values);
    return this.shared(key, () => Tensor.ints(values), 'const');
  }
}
