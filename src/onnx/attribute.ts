// AttributeProto ⇄ Attribute. Invariant: an attribute that was read is written as the bytes it was read from,
// wherever its object ends up, as long as its name and the outer values its subgraphs read are unchanged.

import { invariant } from '../diagnostics/index.js';
import { toInt64 } from '../ir/index.js';
import type { Attribute } from '../ir/index.js';
import { decode, encode, fromBigInt, toNumber } from './codec.js';
import type { Messages } from './codec.js';
import type { ExternalFiles } from './external.js';
import { Output } from './output.js';
import { collectNames, rewriteAttribute, someTensor } from './subgraph.js';
import type { SubgraphNames } from './subgraph.js';
import { TensorData } from './tensor-data.js';
import { encodeTensor } from './tensor-write.js';
import type { TensorTarget } from './tensor-write.js';
import { concat, damaged, inside, scan, text } from './wire.js';
import type { Field, Span } from './wire.js';

/** AttributeProto.AttributeType */
const TYPE = { float: 1, int: 2, string: 3, tensor: 4, floats: 6, ints: 7, strings: 8 } as const;
/** Field numbers: tensors and graphs may be large and are never decoded here. */
const NAME = 1;
const TENSOR = 5;
const GRAPHS: ReadonlySet<number> = new Set([6, 11]);
const BULK: ReadonlySet<number> = new Set([TENSOR, 6, 10, 11, 22, 23]);

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

export function readAttribute(
  field: Field,
  files: ExternalFiles,
): { name: string; attribute: Attribute } {
  const span = inside(field);
  const fields = scan(span);
  const bulk = fields.some((f) => BULK.has(f.number));
  const head = bulk ? concat(fields.filter((f) => !BULK.has(f.number))) : concat([span]);
  const message = decode('AttributeProto', head, span.source.label);
  const nested = fields.filter((f) => GRAPHS.has(f.number));
  const names: SubgraphNames | undefined = nested.length
    ? { captures: new Set(), inner: new Set() }
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
  records.set(attribute, record);
  return { name: record.name, attribute };
}

const utf8 = new TextDecoder();

function toAttribute(
  message: Messages['AttributeProto'],
  fields: readonly Field[],
  record: AttributeRecord,
): Attribute {
  const opaque: Attribute = { kind: 'opaque', value: record };
  if (message.refAttrName) return opaque;
  switch (message.type ? message.type : guessType(message, fields)) {
    case TYPE.float:
      return { kind: 'float', value: message.f ?? 0 };
    case TYPE.int:
      return { kind: 'int', value: toNumber(message.i) };
    case TYPE.string:
      return { kind: 'string', value: utf8.decode(Uint8Array.from(message.s ?? [])) };
    case TYPE.floats:
      return { kind: 'floats', value: message.floats ?? [] };
    case TYPE.ints:
      return { kind: 'ints', value: (message.ints ?? []).map(toNumber) };
    case TYPE.strings:
      return { kind: 'strings', value: (message.strings ?? []).map((s) => utf8.decode(s)) };
    case TYPE.tensor: {
      const tensor = fields.find((f) => f.number === TENSOR);
      if (!tensor) throw damaged(record.span.source, `attribute ${record.name} has no tensor`);
      return { kind: 'tensor', value: new TensorData(inside(tensor), record.files) };
    }
    default:
      return opaque;
  }
}

/** Files of IR version 1 leave the type out: the one field that is set tells it. */
function guessType(message: Messages['AttributeProto'], fields: readonly Field[]): number {
  const has = (number: number): boolean => fields.some((f) => f.number === number);
  if (has(2)) return TYPE.float;
  if (has(3)) return TYPE.int;
  if (has(4)) return TYPE.string;
  if (has(TENSOR)) return TYPE.tensor;
  if (message.floats?.length) return TYPE.floats;
  if (message.ints?.length) return TYPE.ints;
  return message.strings?.length ? TYPE.strings : 0;
}

const int64 = (value: number): ReturnType<typeof fromBigInt> => fromBigInt(toInt64(value));
const bytesOf = (value: string): Uint8Array => new TextEncoder().encode(value);

/**
 * An AttributeProto.
 * @param rename outer value as the file names it → its present name, where they differ
 */
export function writeAttribute(
  name: string,
  attribute: Attribute,
  rename: ReadonlyMap<string, string>,
  target: TensorTarget,
): Output {
  const record = records.get(attribute);
  if (record) {
    const moved = record.external && target.relocates(record.files);
    const renamed = [...(record.names?.captures ?? [])].some((c) => rename.has(c));
    if (!moved && !renamed) return withName(record.span, record.name, name);
    if (attribute.kind !== 'tensor') {
      const rewritten = rewriteAttribute(record.span, {
        rename,
        tensor: (span) => {
          const data = new TensorData(span, record.files);
          return moved && data.external ? encodeTensor(data.name, data, target.inline) : undefined;
        },
      });
      invariant(record.name === name, `attribute ${record.name} is renamed and rewritten at once`);
      return rewritten;
    }
  }
  if (attribute.kind === 'tensor') {
    const head = encode('AttributeProto', { name, type: TYPE.tensor });
    return new Output().add(head).field(TENSOR, encodeTensor('', attribute.value, target.inline));
  }
  return new Output().add(encode('AttributeProto', { name, ...content(attribute) }));
}

function content(attribute: Attribute): Messages['AttributeProto'] {
  switch (attribute.kind) {
    case 'int':
      return { type: TYPE.int, i: int64(attribute.value) };
    case 'float':
      return { type: TYPE.float, f: attribute.value };
    case 'string':
      return { type: TYPE.string, s: bytesOf(attribute.value) };
    case 'ints':
      return { type: TYPE.ints, ints: attribute.value.map(int64) };
    case 'floats':
      return { type: TYPE.floats, floats: [...attribute.value] };
    case 'strings':
      return { type: TYPE.strings, strings: attribute.value.map(bytesOf) };
    default:
      throw new Error('internal error: an opaque attribute that was not read from a file');
  }
}

/** The bytes as they are, or with the name exchanged. */
function withName(span: Span, from: string, to: string): Output {
  if (from === to) return new Output().add(span);
  const out = new Output();
  for (const field of scan(span))
    if (field.number === NAME) {
      if (text(field) !== to) out.field(NAME, bytesOf(to));
    } else out.add(field);
  return out;
}
