// Damaged and strange ONNX files. In: valid files and a random generator. Out: other bytes: cut off, flipped, spliced, or
// with fields of the protobuf removed, repeated, moved and changed while every length stays right. Invariant: the same
// generator state gives the same bytes.

import type { Random } from '../../src/ops/index.js';

/** Field number → what lies in it, for the messages a model is made of. */
interface Message {
  readonly [number: number]: Message;
}

const dim: Message = {};
const type: Message = { 1: { 2: { 1: dim } } };
const info: Message = { 2: type };
const tensor: Message = { 13: {} };
const graph: Record<number, Message> = { 5: tensor, 11: info, 12: info, 13: info };
const attribute: Message = { 5: tensor, 6: graph };
const node: Message = { 5: attribute };
graph[1] = node;
const model: Message = { 7: graph, 8: {}, 14: {}, 25: { 7: node, 9: {} } };

interface Field {
  readonly number: number;
  readonly wire: number;
  /** Of wire type 0. */
  value: bigint;
  /** Of the others. */
  bytes: Uint8Array;
  /** Where the bytes are a message. */
  fields: Field[] | undefined;
}

function readFields(bytes: Uint8Array, message: Message): Field[] {
  let at = 0;
  const varint = (): bigint => {
    let value = 0n;
    for (let shift = 0n; ; shift += 7n) {
      const byte = bytes[at++] ?? 0;
      value |= BigInt(byte & 127) << shift;
      if (byte < 128) return value;
    }
  };
  const take = (length: number): Uint8Array => bytes.subarray(at, (at += length));
  const fields: Field[] = [];
  while (at < bytes.length) {
    const key = Number(varint());
    const [number, wire] = [key >> 3, key & 7];
    const field: Field = { number, wire, value: 0n, bytes: new Uint8Array(), fields: undefined };
    if (wire === 0) field.value = varint();
    else field.bytes = take(wire === 2 ? Number(varint()) : wire === 1 ? 8 : 4);
    const inner = message[number];
    if (wire === 2 && inner) field.fields = readFields(field.bytes, inner);
    fields.push(field);
  }
  return fields;
}

function varintBytes(value: bigint): number[] {
  const out: number[] = [];
  for (value = BigInt.asUintN(64, value); value > 127n; value >>= 7n)
    out.push(Number(value & 127n) | 128);
  return [...out, Number(value)];
}

function writeFields(fields: readonly Field[]): Uint8Array {
  const parts: Uint8Array[] = [];
  for (const field of fields) {
    const key = varintBytes(BigInt(field.number * 8 + field.wire));
    if (field.wire === 0) parts.push(Uint8Array.from([...key, ...varintBytes(field.value)]));
    else {
      const content = field.fields ? writeFields(field.fields) : field.bytes;
      const length = field.wire === 2 ? varintBytes(BigInt(content.length)) : [];
      parts.push(Uint8Array.from([...key, ...length]), content);
    }
  }
  return new Uint8Array(Buffer.concat(parts));
}

const pick = <T>(random: Random, items: readonly T[]): T | undefined =>
  items[random.integer(0, items.length - 1)];

/** Numbers at which something changes. */
const EDGES = [
  0n,
  1n,
  2n,
  3n,
  7n,
  16n,
  255n,
  65536n,
  2n ** 31n - 1n,
  2n ** 31n,
  2n ** 62n,
  -1n,
  -2n,
];
const WORDS = [
  '',
  'Add',
  'Reshape',
  'Identity',
  'Loop',
  'Relu',
  'Conv',
  'x',
  'axis',
  'ai.onnx',
  '\u0000',
];

/** Every field with the list it lies in. */
function allFields(fields: Field[]): { readonly list: Field[]; readonly field: Field }[] {
  return fields.flatMap((field) => [
    { list: fields, field },
    ...(field.fields ? allFields(field.fields) : []),
  ]);
}

const isText = (bytes: Uint8Array): boolean =>
  bytes.length < 100 && bytes.every((byte) => byte >= 32 && byte < 127);

/** Changes one field anywhere; messages near the root are not chosen more often than others. */
function changeField(fields: Field[], random: Random): void {
  const all = allFields(fields);
  const chosen = pick(random, all);
  if (!chosen) return;
  const { list, field } = chosen;
  const at = list.indexOf(field);
  switch (random.integer(0, 5)) {
    case 0:
      list.splice(at, 1);
      return;
    case 1:
      list.splice(at, 0, structuredClone(field));
      return;
    case 2:
      list.splice(random.integer(0, list.length - 1), 0, ...list.splice(at, 1));
      return;
    case 3: {
      // The content of a field of the same kind elsewhere: names that repeat, circles, types that do not fit.
      const other = pick(
        random,
        all.filter(({ field: f }) => f.number === field.number && f.wire === field.wire),
      );
      if (!other) return;
      field.value = other.field.value;
      field.bytes = other.field.bytes;
      field.fields = structuredClone(other.field.fields);
      return;
    }
    default:
      changeContent(
        field,
        all.map((entry) => entry.field),
        random,
      );
  }
}

function changeContent(field: Field, all: readonly Field[], random: Random): void {
  if (field.wire === 0) {
    const edge = pick(random, EDGES) ?? 0n;
    field.value = random.bits() % 3 === 0 ? field.value + (edge % 3n) : edge;
  } else if (field.fields) changeField(field.fields, random);
  else if (field.wire === 2 && isText(field.bytes)) {
    const texts = all.filter((f) => f.wire === 2 && !f.fields && isText(f.bytes));
    const word = pick(random, texts)?.bytes ?? field.bytes;
    field.bytes =
      random.bits() % 2 === 0 ? word : new TextEncoder().encode(pick(random, WORDS) ?? '');
  } else field.bytes = changeBytes(field.bytes, random);
}

const flip = (bytes: Uint8Array, at: number, bit: number): void => {
  bytes[at] = (bytes[at] ?? 0) ^ (1 << bit);
};

const SPECIAL = [0, 1, 0x7f, 0x80, 0xc0, 0xff];

/** Changes bytes without regard to what they mean. */
function changeBytes(bytes: Uint8Array, random: Random): Uint8Array {
  const copy = Uint8Array.from(bytes);
  const place = (): number => random.integer(0, Math.max(0, bytes.length - 1));
  const [from, to] = [place(), place()].sort((a, b) => a - b) as [number, number];
  switch (random.integer(0, 5)) {
    case 0:
      return copy.subarray(0, place());
    case 1:
      for (let n = random.integer(1, 8); n > 0; n--) flip(copy, place(), random.integer(0, 7));
      return copy;
    case 2:
      for (let n = random.integer(1, 8); n > 0; n--) copy[place()] = pick(random, SPECIAL) ?? 0;
      return copy;
    case 3:
      return concat(copy.subarray(0, from), copy.subarray(to));
    case 4:
      return concat(copy.subarray(0, to), copy.subarray(from));
    default:
      return concat(copy, copy.subarray(from, to));
  }
}

const concat = (...parts: readonly Uint8Array[]): Uint8Array =>
  new Uint8Array(Buffer.concat(parts));

/** @param files valid models; the first changes are made to one of them, and parts of another may get in */
export function mutate(files: readonly Uint8Array[], random: Random): Uint8Array {
  let bytes = pick(random, files) ?? new Uint8Array();
  const how = random.integer(0, 9);
  if (how >= 3) {
    const fields = readFields(bytes, model);
    for (let n = random.integer(1, 4); n > 0; n--) changeField(fields, random);
    bytes = writeFields(fields);
  }
  if (how <= 3) bytes = changeBytes(bytes, random);
  if (how === 2) {
    const other = pick(random, files) ?? bytes;
    const at = random.integer(0, other.length);
    const cut = random.integer(0, bytes.length);
    bytes = concat(
      bytes.subarray(0, cut),
      other.subarray(at, at + random.integer(0, 2000)),
      bytes.subarray(cut),
    );
  }
  return bytes;
}
