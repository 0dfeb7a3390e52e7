// Attributes of a node, typed as ONNX types them. Invariant: an attribute keeps its kind (a float 1 is not
// an int 1), so that writing what was read gives the same bytes.

import { DiagnosticError } from '../diagnostics/index.js';
import type { Subgraph } from './body.js';
import type { ConstantData } from './tensor.js';

export type Attribute =
  | { readonly kind: 'int'; readonly value: number }
  | { readonly kind: 'float'; readonly value: number }
  | { readonly kind: 'string'; readonly value: string }
  | { readonly kind: 'ints'; readonly value: readonly number[] }
  | { readonly kind: 'floats'; readonly value: readonly number[] }
  | { readonly kind: 'strings'; readonly value: readonly string[] }
  | { readonly kind: 'tensor'; readonly value: ConstantData }
  | { readonly kind: 'graph'; readonly value: Subgraph }
  | { readonly kind: 'graphs'; readonly value: readonly Subgraph[] }
  /** In the body of a function: the value that the call gives to an attribute of the function. */
  | { readonly kind: 'reference'; readonly value: { readonly name: string; readonly kind: string } }
  /** Sparse tensors, lists of tensors, types: carried as the reader's record, not understood. */
  | { readonly kind: 'opaque'; readonly value: unknown };

export type AttributeMap = Readonly<Record<string, Attribute>>;

/** An attribute of type INT. */
export const int = (value: number): Attribute => ({ kind: 'int', value });
/** An attribute of type FLOAT. */
export const float = (value: number): Attribute => ({ kind: 'float', value });
/** An attribute of type STRING. */
export const string = (value: string): Attribute => ({ kind: 'string', value });
/** An attribute of type INTS. */
export const ints = (value: readonly number[]): Attribute => ({ kind: 'ints', value });
/** An attribute of type FLOATS. */
export const floats = (value: readonly number[]): Attribute => ({ kind: 'floats', value });
/** An attribute of type TENSOR. */
export const tensor = (value: ConstantData): Attribute => ({ kind: 'tensor', value });

interface Readable {
  int: number;
  float: number;
  string: string;
  ints: readonly number[];
  tensor: ConstantData;
}

/** An immutable set of attributes: assign a new one to the node to change it. */
export class Attributes {
  /** A list: few nodes have more than half a dozen, most have none, and a step has a hundred thousand nodes. */
  private readonly list: readonly (readonly [string, Attribute])[];

  /** Of entries with one name the last counts. */
  constructor(entries: AttributeMap | Iterable<readonly [string, Attribute]>) {
    const list: (readonly [string, Attribute])[] = [];
    for (const entry of Symbol.iterator in entries ? entries : Object.entries(entries)) {
      const index = list.findIndex(([name]) => name === entry[0]);
      if (index < 0) list.push(entry);
      else list[index] = entry;
    }
    this.list = list;
  }

  has(name: string): boolean {
    return this.get(name) !== undefined;
  }

  get(name: string): Attribute | undefined {
    for (const [key, attribute] of this.list) if (key === name) return attribute;
    return undefined;
  }

  entries(): Iterable<readonly [string, Attribute]> {
    return this.list;
  }

  get size(): number {
    return this.list.length;
  }

  int(name: string): number | undefined;
  int(name: string, fallback: number): number;
  int(name: string, fallback?: number): number | undefined {
    return this.read(name, 'int') ?? fallback;
  }

  float(name: string, fallback: number): number {
    return this.read(name, 'float') ?? fallback;
  }

  string(name: string, fallback: string): string {
    return this.read(name, 'string') ?? fallback;
  }

  ints(name: string): readonly number[] | undefined {
    return this.read(name, 'ints');
  }

  tensor(name: string): ConstantData | undefined {
    return this.read(name, 'tensor');
  }

  /** A copy with some attributes set, and those given as undefined removed. */
  with(changes: Readonly<Record<string, Attribute | undefined>>): Attributes {
    const map = new Map(this.list);
    for (const [name, value] of Object.entries(changes)) {
      if (value) map.set(name, value);
      else map.delete(name);
    }
    return new Attributes(map);
  }

  private read<K extends keyof Readable>(name: string, kind: K): Readable[K] | undefined {
    const attribute = this.get(name);
    if (!attribute) return undefined;
    const { kind: actual, value } = attribute;
    if (actual !== kind)
      throw new DiagnosticError(
        'model/invalid',
        `attribute ${name}`,
        `its kind is ${actual}, not ${kind}`,
      );
    return value as Readable[K];
  }
}
