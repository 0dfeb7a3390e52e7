// How long each form of a convolution's gradient takes in ONNX Runtime. In: a geometry. Out: a time for each form that
// applies, and how far their results lie apart. Invariant: all get the same data; of the result only a sample leaves the
// session, since copying all of it out would take time that a step does not spend.

import type { Runtime } from '../../runtime/index.js';
import { settingsOf } from '../../runtime/session.js';
import { Model, elementCount } from '../../src/ir/index.js';
import type { Value } from '../../src/ir/index.js';
import { Steps } from '../../src/lowering/conv-form.js';
import type { ConvForm } from '../../src/lowering/conv-form.js';
import { WEIGHT_FORMS } from '../../src/lowering/conv-weight.js';
import { INPUT_FORMS } from '../../src/lowering/conv.js';
import type { ConvCosts } from '../../src/lowering/conv-terms.js';
import { encodeModel } from '../../src/onnx/index.js';
import type { ConvGeometry } from '../../src/ops/conv-geometry.js';
import { Builder, Random, WORKING_OPSET } from '../../src/ops/index.js';
import type { Row } from './conv-fit.js';
import { GEOMETRIES } from './conv-geometries.js';

export const GRADIENTS = ['dX', 'dW'] as const;
export type Gradient = (typeof GRADIENTS)[number];

/** Every form of a gradient that target cpu has. */
export const FORMS: Readonly<Record<Gradient, readonly ConvForm[]>> = {
  dX: INPUT_FORMS.filter((form) => form.terms),
  dW: WEIGHT_FORMS.filter((form) => form.terms),
};

/** A form with a larger temporary is left out: no step would be written with it. */
const LARGEST_BYTES = 1.5e9;
/** A turn runs a quick form several times, so that the clock does not matter. */
const TURN_MS = 4;
/** Elements per axis of a sample. */
const SAMPLE = 3;

const random = new Random(0);
/** A prime number of values, so that they do not fall in step with any extent. */
const VALUES = Float32Array.from({ length: 65_537 }, () => random.uniform(-0.5, 0.5));

function data(count: number, phase: number): Float32Array {
  const values = new Float32Array(count);
  for (let i = -phase; i < count; i += VALUES.length)
    values.set(VALUES.subarray(Math.max(0, -i), count - i), Math.max(0, i));
  return values;
}

/** The model of one form, ending in a sample of the result; undefined where a temporary is too large. */
function modelOf(
  form: ConvForm,
  g: ConvGeometry,
  shapes: readonly (readonly number[])[],
): Uint8Array | undefined {
  const model = new Model();
  model.opsets.set('', WORKING_OPSET);
  const { graph } = model;
  const [first, dY] = shapes.map((shape, i) =>
    graph.addInput(`in${i}`, { dtype: 'float32', shape }),
  ) as [Value, Value];
  const steps = new Steps(new Builder(graph, { phase: 'backward', path: 'form' }));
  const result = form.build(steps, g, first, dY);
  const bytes = [...graph.nodes].flatMap(({ outputs }) =>
    outputs.map((v) => (v ? 4 * elementCount(steps.shape(v)) : 0)),
  );
  if (Math.max(...bytes) > LARGEST_BYTES) return undefined;
  const sample = steps.slice(
    result,
    steps
      .shape(result)
      .map((end, axis) => ({ axis, start: 0, end, step: Math.ceil(end / SAMPLE) })),
  );
  graph.outputs.push(sample);
  return encodeModel(model).bytes;
}

/** One form, loaded. */
interface Contender {
  readonly name: string;
  readonly run: () => Promise<Float32Array>;
  readonly release: () => Promise<void>;
}

export interface Turn {
  /** Milliseconds by form. */
  readonly times: Readonly<Record<string, number>>;
  /** Largest difference between results, relative to the largest element. */
  readonly difference: number;
}

export interface TurnOptions {
  readonly runtime: Runtime;
  readonly threads: number;
  /** Forms that need not be timed again. */
  readonly except: (form: string) => boolean;
}

/** Each form once, or for a few milliseconds, one after the other. */
export async function timeForms(
  gradient: Gradient,
  g: ConvGeometry,
  { runtime, threads, except }: TurnOptions,
): Promise<Turn> {
  const x = [g.batch, g.inChannels, ...g.input];
  const w = [g.outChannels, g.inChannels / g.group, ...g.kernel];
  const shapes = [gradient === 'dX' ? w : x, [g.batch, g.outChannels, ...g.output]];
  const feeds = Object.fromEntries(
    shapes.map((shape, i) => [
      `in${i}`,
      new runtime.Tensor('float32', data(elementCount(shape), 1000 * i), shape),
    ]),
  );
  // With an arena: its memory is warm, as that of one operator among others in a step.
  const settings = settingsOf({
    threads,
    optimize: true,
    // Or the threads of one form would wait for work, busily, while the next one is timed.
    extra: { force_spinning_stop: '1' },
  });
  const contenders: Contender[] = [];
  const times: Record<string, number> = {};
  const samples: Float32Array[] = [];
  try {
    for (const form of FORMS[gradient]) {
      const model = form.applies(g) && !except(form.name) ? modelOf(form, g, shapes) : undefined;
      if (!model) continue;
      const session = await runtime.InferenceSession.create(model, settings);
      contenders.push({
        name: form.name,
        run: async () => Object.values(await session.run(feeds))[0]?.data as Float32Array,
        release: () => session.release(),
      });
    }
    // The first run, which fills the arena, only says how often to repeat.
    const repeats = new Map<Contender, number>();
    for (const contender of contenders) {
      const began = performance.now();
      samples.push(await contender.run());
      repeats.set(contender, Math.ceil(TURN_MS / (performance.now() - began)));
    }
    for (const contender of contenders) {
      const count = repeats.get(contender) ?? 1;
      const began = performance.now();
      for (let i = 0; i < count; i++) await contender.run();
      times[contender.name] = (performance.now() - began) / count;
    }
  } finally {
    for (const contender of contenders) await contender.release();
  }
  return { times, difference: disagreement(samples) };
}

function disagreement([first, ...rest]: readonly Float32Array[]): number {
  if (!first) return 0;
  const scale = first.reduce((most, v) => Math.max(most, Math.abs(v)), 0);
  return Math.max(
    0,
    ...rest.map(
      (sample) =>
        first.reduce((most, v, i) => Math.max(most, Math.abs(v - (sample[i] ?? NaN))), 0) / scale,
    ),
  );
}

/** What a run of the benchmark leaves behind. */
export interface Measured extends Pick<ConvCosts, 'measured'> {
  readonly rounds: number;
  /** Largest difference between the forms of any geometry. */
  readonly difference: number;
  /** Milliseconds by gradient, geometry and form. */
  readonly times: Readonly<
    Record<Gradient, Readonly<Record<string, Readonly<Record<string, number>>>>>
  >;
}

/** The times of one gradient with their geometries; those of geometries that are no longer listed are left out. */
export const rowsOf = ({ times }: Measured, gradient: Gradient): Row[] =>
  Object.entries(times[gradient]).flatMap(([name, measured]) => {
    const geometry = GEOMETRIES.get(name);
    return geometry ? [{ name, geometry, times: measured }] : [];
  });
