// Files of versions to come: unknown fields of every wire type at every level of a model, enum values nobody has
// heard of, and the messages that came after the decoder these tests compare with. What is read is written back
// byte for byte, and what an edit does not touch stays.

import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { decodeModel, encodeModel } from '../../src/onnx/index.js';
import { encodeSample, field, floats, join, varint, varintField } from './helpers.js';

/** Message → field number → the message that lies there. Every message that a ModelProto may hold. */
const MESSAGES: Readonly<Record<string, Readonly<Record<number, string>>>> = {
  Model: { 7: 'Graph', 8: 'Opset', 14: 'Entry', 20: 'Training', 25: 'Function', 26: 'Device' },
  Opset: {},
  Entry: {},
  Device: {},
  Training: { 1: 'Graph', 2: 'Graph', 3: 'Entry', 4: 'Entry' },
  Function: { 7: 'Node', 9: 'Opset', 11: 'Attribute', 12: 'Info', 14: 'Entry' },
  Graph: {
    1: 'Node',
    5: 'Tensor',
    11: 'Info',
    12: 'Info',
    13: 'Info',
    14: 'Annotation',
    15: 'Sparse',
    16: 'Entry',
  },
  Annotation: { 2: 'Entry' },
  Node: { 5: 'Attribute', 9: 'Entry', 10: 'NodeDevice' },
  NodeDevice: { 2: 'Sharding' },
  Sharding: { 3: 'IntList', 4: 'ShardedDim' },
  IntList: {},
  ShardedDim: { 1: 'SimpleDim' },
  SimpleDim: {},
  Attribute: {
    5: 'Tensor',
    6: 'Graph',
    10: 'Tensor',
    11: 'Graph',
    14: 'Type',
    15: 'Type',
    22: 'Sparse',
    23: 'Sparse',
  },
  Info: { 2: 'Type', 4: 'Entry' },
  Tensor: { 3: 'Segment', 13: 'Entry', 16: 'Entry' },
  Segment: {},
  Sparse: { 1: 'Tensor', 2: 'Tensor' },
  Type: { 1: 'TensorType', 4: 'Holder', 5: 'MapType', 7: 'Opaque', 8: 'TensorType', 9: 'Holder' },
  TensorType: { 2: 'Shape' },
  Holder: { 1: 'Type' },
  MapType: { 2: 'Type' },
  Opaque: {},
  Shape: { 1: 'Dim' },
  Dim: {},
};

const entry = join(field(1, 'k'), field(2, 'v'));
const tensorType = field(1, join(varintField(1, 1), field(2, field(1, field(2, 'N')))));

/** Known content that the sample lacks, so that every message above occurs; enum values of no version among it. */
const MORE: Readonly<Record<string, Uint8Array>> = {
  Model: join(field(26, field(1, 'device')), field(20, field(4, entry))),
  Function: join(
    field(9, varintField(2, 13)),
    field(11, join(field(1, 'a'), varintField(20, 1))),
    field(12, join(field(1, 'b'), field(2, tensorType))),
    field(14, entry),
    field(7, join(field(1, 'a'), field(2, 'b'), field(4, 'Neg'))),
  ),
  Graph: field(16, entry),
  Node: join(
    field(9, entry),
    field(
      10,
      join(
        field(1, 'device'),
        field(
          2,
          join(
            field(1, 'x'),
            field(3, varintField(1, 1)),
            field(4, field(1, join(varintField(1, 2), varintField(3, 2)))),
          ),
        ),
      ),
    ),
  ),
  Info: field(4, entry),
  Tensor: join(field(16, entry), field(3, varintField(1, 0))),
};

/** The sample, and nodes whose attributes hold every kind there is, in types of no version too. */
function seedModel(): Uint8Array {
  const sparse = join(
    field(1, join(varintField(1, 1), varintField(2, 1), field(8, 'sp'), field(9, floats(3)))),
    field(2, join(varintField(1, 1), varintField(2, 7), field(9, new Uint8Array(8)))),
    varintField(3, 4),
  );
  const tensor = join(varintField(1, 1), varintField(2, 99), field(9, new Uint8Array(3)));
  const graph = join(field(1, join(field(1, 'x'), field(2, 'o'), field(4, 'Neg'))), field(2, 'g'));
  const types = join(
    field(14, field(4, field(1, tensorType))),
    field(15, field(5, join(varintField(1, 7), field(2, tensorType)))),
    field(15, field(9, field(1, field(8, varintField(1, 99))))),
    field(15, field(7, field(1, 'domain'))),
  );
  const attribute = (name: string, content: Uint8Array, type: number): Uint8Array =>
    field(5, join(field(1, name), content, varintField(20, type)));
  const node = field(
    1,
    join(
      field(1, 'x'),
      field(2, 'q'),
      field(4, 'Every'),
      attribute('t', field(5, tensor), 4),
      attribute('ts', field(10, tensor), 9),
      attribute('gs', field(11, graph), 10),
      attribute('sp', field(22, sparse), 11),
      attribute('sps', field(23, sparse), 12),
      attribute('types', types, 14),
      attribute('new', field(4001, 'value'), 77),
    ),
  );
  const odd = field(
    5,
    join(varintField(1, 1), varintField(2, 99), field(8, 'odd'), varintField(14, 7)),
  );
  return rewrite(encodeSample(), 'Model', (name, content) =>
    name === 'Graph' && content.includes('a graph')
      ? Buffer.concat([content, node, field(15, sparse), odd])
      : content,
  );
}

/** Takes a message apart and puts it together again, each nested message through `change` (from within outwards). */
function rewrite(
  bytes: Uint8Array,
  message: string,
  change: (message: string, content: Buffer) => Uint8Array,
): Uint8Array {
  const parts: Uint8Array[] = [];
  let at = 0;
  const number = (): number => {
    let [value, scale] = [0, 1];
    for (;;) {
      const byte = bytes[at++] ?? 0;
      value += (byte & 127) * scale;
      if (byte < 128) return value;
      scale *= 128;
    }
  };
  while (at < bytes.length) {
    const start = at;
    const tag = number();
    const [id, wire] = [Math.floor(tag / 8), tag % 8];
    if (wire === 2) {
      const length = number();
      const content = bytes.subarray(at, (at += length));
      const inner = MESSAGES[message]?.[id];
      parts.push(
        inner === undefined
          ? bytes.subarray(start, at)
          : field(id, rewrite(content, inner, change)),
      );
    } else {
      if (wire === 0) number();
      else at += wire === 1 ? 8 : 4;
      parts.push(bytes.subarray(start, at));
    }
  }
  return change(message, Buffer.concat(parts));
}

const MARK = 'from the future';

/** Fields of every wire type with numbers that no message uses. */
const unknownField: fc.Arbitrary<Uint8Array> = fc.letrec<{ any: Uint8Array }>((tie) => ({
  any: fc
    .tuple(
      fc.constantFrom(4000, 19_000, 2 ** 29 - 1, 50),
      fc.oneof(
        { depthSize: 'small' },
        fc.record({ wire: fc.constant(0), content: fc.nat().map(varint) }),
        // A varint in more bytes than it needs.
        fc.record({ wire: fc.constant(0), content: fc.constant(Uint8Array.of(129, 128, 128, 0)) }),
        fc.record({ wire: fc.constant(1), content: fc.uint8Array({ minLength: 8, maxLength: 8 }) }),
        fc.record({ wire: fc.constant(5), content: fc.uint8Array({ minLength: 4, maxLength: 4 }) }),
        fc.record({
          wire: fc.constant(2),
          content: fc.uint8Array({ maxLength: 200 }).map((b) => join(varint(b.length), b)),
        }),
        fc.record({
          wire: fc.constant(3),
          content: fc.array(tie('any'), { maxLength: 3 }).map((parts) => join(...parts)),
        }),
      ),
    )
    .map(([id, { wire, content }]) =>
      join(varint(id * 8 + wire), content, wire === 3 ? varint(id * 8 + 4) : new Uint8Array()),
    ),
})).any;

/** The seed with unknown fields before and behind the content of every message; counts the messages. */
function futureModel(unknown: readonly Uint8Array[]): {
  bytes: Uint8Array;
  messages: Map<string, number>;
} {
  const messages = new Map<string, number>();
  let next = 0;
  const bytes = rewrite(seedModel(), 'Model', (message, content) => {
    messages.set(message, (messages.get(message) ?? 0) + 1);
    const extra = MORE[message] ?? new Uint8Array();
    // What MORE adds is not walked again, so its own messages get their fields here.
    const more = rewrite(extra, message, (inner, within) => {
      if (inner !== message) messages.set(inner, (messages.get(inner) ?? 0) + 1);
      return inner === message ? within : join(within, field(4002, MARK));
    });
    const pick = (): Uint8Array => unknown[next++ % unknown.length] ?? new Uint8Array();
    return join(pick(), content, more, pick(), field(4002, MARK));
  });
  return { bytes, messages };
}

const count = (bytes: Uint8Array): number =>
  Buffer.from(bytes).toString('latin1').split(MARK).length - 1;

describe('a model of the future', () => {
  test('holds every message there is', () => {
    const { messages } = futureModel([new Uint8Array()]);
    expect([...messages.keys()].sort()).toEqual(Object.keys(MESSAGES).sort());
  });

  test('is written back byte for byte', () => {
    fc.assert(
      fc.property(fc.array(unknownField, { minLength: 1, maxLength: 20 }), (unknown) => {
        const { bytes } = futureModel(unknown);
        return Buffer.from(encodeModel(decodeModel(bytes)).bytes).equals(bytes);
      }),
      { numRuns: 200, seed: 1 },
    );
  });

  test('keeps in an edit what the edit does not touch', () => {
    fc.assert(
      fc.property(fc.array(unknownField, { minLength: 1, maxLength: 20 }), (unknown) => {
        const { bytes } = futureModel(unknown);
        const model = decodeModel(bytes);
        for (const node of model.graph.nodes) if (node.op === 'Elu') node.name = 'renamed';
        // A sparse weight under another name is written as a dense one.
        for (const value of model.graph.values())
          if (value.name !== 'sp') value.name = `${value.name}.new`;
        expect(count(encodeModel(model).bytes)).toBe(count(bytes));
      }),
      { numRuns: 50, seed: 2 },
    );
  });
});
