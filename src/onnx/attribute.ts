// What the reader remembers of an AttributeProto, and the kinds of attributes there are. Invariant: an attribute
// without a record was made by the compiler, one with a record can be written as the bytes it was read from.

import type { Attribute, SubgraphNames } from '../ir/index.js';
import type { ExternalFiles } from './external.js';
import type { Span } from './wire.js';

/** AttributeProto.AttributeType */
export const ATTRIBUTE_TYPE = {
  float: 1,
  int: 2,
  string: 3,
  tensor: 4,
  graph: 5,
  floats: 6,
  ints: 7,
  strings: 8,
  tensors: 9,
  graphs: 10,
  sparse_tensor: 11,
  sparse_tensors: 12,
  type_proto: 13,
  type_protos: 14,
} as const;

/** Numbers of the fields of AttributeProto that are not decoded as a whole. */
export const ATTRIBUTE = { name: 1, tensor: 5, graph: 6, tensors: 10, graphs: 11 } as const;

/** What the reader knows of an attribute; the value of attributes of kind 'opaque'. */
export interface AttributeRecord {
  readonly name: string;
  readonly span: Span;
  readonly files: ExternalFiles;
  /** Outer values that its subgraphs read, and names they define. */
  readonly names: SubgraphNames | undefined;
  /** Whether weights in it lie in a data file. */
  readonly external: boolean;
}

const records = new WeakMap<Attribute, AttributeRecord>();

/** The record of an attribute that was read from a file. */
export const recordOf = (attribute: Attribute): AttributeRecord | undefined =>
  records.get(attribute);

/** @internal for the reader */
export const remember = (attribute: Attribute, record: AttributeRecord): void => {
  records.set(attribute, record);
};
