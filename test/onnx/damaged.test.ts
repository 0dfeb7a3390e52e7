// Whatever the bytes are: a model or a DiagnosticError, in bounded time.

import { describe, expect, test } from 'vitest';
import { DiagnosticError } from '../../src/diagnostics/index.js';
import type { Model } from '../../src/ir/index.js';
import { decodeModel, encodeModel } from '../../src/onnx/index.js';
import { encodeSample, field, join, sampleModel, utf8, varintField } from './helpers.js';

/** The code of the error, or the model. Any other exception fails the test. */
function outcome(bytes: Uint8Array): string | Model {
  try {
    return decodeModel(bytes);
  } catch (error) {
    if (error instanceof DiagnosticError) return error.code;
    throw error;
  }
}

/** A generator of the same numbers in every run. */
function generator(seed: number): (below: number) => number {
  let state = seed;
  return (below) => {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    return Math.floor((state / 2 ** 32) * below);
  };
}

test('not ONNX at all', () => {
  const zip = Uint8Array.of(0x50, 0x4b, 3, 4, 20, 0, 0, 0, 8, 0);
  const texts = [
    '{"a": 1}',
    'hello world\n',
    '\n',
    '# ONNX\n'.repeat(1000),
    '<html></html>',
    '8',
    '\0',
  ];
  for (const bytes of [new Uint8Array(0), zip, ...texts.map(utf8)])
    expect(outcome(bytes)).toBe('model/not-onnx');
});

test('a model cut off at every possible length', () => {
  const bytes = encodeSample();
  // What follows the graph and the operator sets can be missing without a trace.
  const whole = new Set<number>();
  const { metadataProps, functions, trainingInfo, ...head } = sampleModel();
  whole.add(encodeSample(head).length);
  whole.add(encodeSample({ ...head, metadataProps: metadataProps ?? [] }).length);
  whole.add(
    encodeSample({ ...head, metadataProps: metadataProps ?? [], trainingInfo: trainingInfo ?? [] })
      .length,
  );
  expect(functions).toHaveLength(1);
  for (let length = 1; length < bytes.length; length++) {
    const got = outcome(bytes.subarray(0, length));
    if (whole.has(length)) expect(typeof got).toBe('object');
    else expect(got, `length ${length}`).toBe('model/damaged');
  }
});

test('random bytes', () => {
  const random = generator(1);
  for (let i = 0; i < 3000; i++) {
    const bytes = Uint8Array.from({ length: random(200) }, () => random(256));
    expect(['model/not-onnx', 'model/damaged']).toContain(outcome(bytes));
  }
});

describe('damage in the middle', () => {
  const bytes = encodeSample();
  const exercise = (damagedBytes: Uint8Array): void => {
    const model = outcome(damagedBytes);
    if (typeof model === 'string') return;
    // What reads must write back, and its weights load or say why not.
    expect(Buffer.from(encodeModel(model).bytes).equals(damagedBytes)).toBe(true);
    for (const value of model.graph.constants) {
      try {
        value.constant?.load();
      } catch (error) {
        if (!(error instanceof DiagnosticError)) throw error;
      }
    }
  };

  test('every byte set to extremes', () => {
    for (let at = 0; at < bytes.length; at++)
      for (const value of [0, 1, 0x7f, 0x80, 0xff]) {
        const copy = bytes.slice();
        copy[at] = value;
        exercise(copy);
      }
  });

  test('several random bytes', () => {
    const random = generator(2);
    for (let i = 0; i < 3000; i++) {
      const copy = bytes.slice();
      for (let n = random(4); n >= 0; n--) copy[random(copy.length)] = random(256);
      exercise(copy);
    }
  });

  test('pieces cut out', () => {
    const random = generator(3);
    for (let i = 0; i < 1000; i++) {
      const from = random(bytes.length);
      exercise(join(bytes.slice(0, from), bytes.slice(from + 1 + random(20))));
    }
  });
});

describe('depth bombs', () => {
  const model = (graph: Uint8Array): Uint8Array =>
    join(varintField(1, 8), field(8, varintField(2, 13)), field(7, graph));
  const nest = (depth: number, wrap: (inner: Uint8Array) => Uint8Array): Uint8Array => {
    let inner: Uint8Array = new Uint8Array(0);
    for (let i = 0; i < depth; i++) inner = wrap(inner);
    return inner;
  };

  test('graphs in graphs', () => {
    const graph = nest(1000, (g) =>
      field(1, join(field(4, 'If'), field(5, join(field(1, 'b'), field(6, g))))),
    );
    expect(outcome(model(graph))).toBe('model/damaged');
  });

  test('types in types', () => {
    const type = nest(2000, (t) => field(4, field(1, t)));
    expect(outcome(model(field(11, join(field(1, 'x'), field(2, type)))))).toBe('model/damaged');
  });

  test('groups in groups', () => {
    const open = new Uint8Array(50_000).fill(8 * 8 + 3 - 0);
    expect(outcome(model(field(1, join(field(4, 'Relu'), open))))).toBe('model/damaged');
  });
});

test('numbers without an end do not hang', () => {
  const endless = new Uint8Array(2_000_000).fill(0xff);
  const tensor = join(varintField(1, 8), varintField(2, 7), field(7, endless), field(8, 'w'));
  const bytes = join(varintField(1, 8), field(8, varintField(2, 13)), field(7, field(5, tensor)));
  const got = outcome(bytes);
  if (typeof got === 'string') throw new Error(got);
  const start = performance.now();
  expect(() => [...got.graph.constants][0]?.constant?.load()).toThrow(/^model\/damaged/);
  expect(performance.now() - start).toBeLessThan(1000);
});
