// What the reader remembers of a file so that the writer can repeat it: byte ranges, and what each of them
// said. Invariant: records are never changed after reading; the writer compares the IR with them.

import type { Attributes, LocalFunction, Node, TensorType, Value } from '../ir/index.js';
import type { ExternalFiles } from './external.js';
import type { TensorData } from './tensor-data.js';
import type { ByteSource, Field } from './wire.js';

/** Field numbers of the parts of GraphProto and ModelProto that the IR holds. */
export const GRAPH = { node: 1, name: 2, initializer: 5, input: 11, output: 12, info: 13 } as const;
export const SPARSE_INITIALIZER = 15;
export const MODEL = {
  irVersion: 1,
  producer: 2,
  graph: 7,
  opset: 8,
  metadata: 14,
  function: 25,
} as const;
export const NODE = {
  input: 1,
  output: 2,
  name: 3,
  op: 4,
  attribute: 5,
  domain: 7,
  overload: 8,
} as const;
export const FUNCTION = {
  name: 1,
  input: 4,
  output: 5,
  attribute: 6,
  node: 7,
  opset: 9,
  domain: 10,
  default: 11,
  overload: 13,
} as const;

export class NodeRecord {
  constructor(
    readonly field: Field,
    readonly fields: readonly Field[],
    /** As in the file: possibly empty. */
    readonly name: string,
    /** As given to the IR node: unique. */
    readonly irName: string,
    readonly op: string,
    readonly domain: string,
    readonly overload: string,
    readonly inputs: readonly string[],
    readonly outputs: readonly string[],
    readonly captures: readonly string[],
    readonly attributes: Attributes,
  ) {}
}

/** Name and type of a value after reading. */
export class ValueRecord {
  constructor(
    readonly name: string,
    readonly type: TensorType | undefined,
    readonly constant: TensorData | undefined,
  ) {}
}

/** One field of the GraphProto and the entity it stands for, if the IR has one. */
export interface Slot {
  readonly field: Field;
  readonly node?: Node;
  readonly value?: Value;
}

export class GraphRecord {
  constructor(
    readonly field: Field,
    readonly slots: readonly Slot[],
    readonly name: string,
    /** The order of the nodes in the IR after reading. */
    readonly order: readonly Node[],
  ) {}
}

export class ModelRecord {
  constructor(
    readonly source: ByteSource,
    readonly fields: readonly Field[],
    readonly graph: GraphRecord,
    readonly files: ExternalFiles,
    /** The file it was read from. */
    readonly path: string | undefined,
    readonly irVersion: number,
    readonly producerName: string,
    readonly opsets: ReadonlyMap<string, number>,
    readonly metadata: ReadonlyMap<string, string>,
    readonly functions: ReadonlyMap<LocalFunction, Field>,
  ) {}
}

/** Records by node: Node.source is cleared by edits, but what an edit does not touch is still to be kept. */
export const nodeRecords = new WeakMap<Node, NodeRecord>();
