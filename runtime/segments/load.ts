// Loading a deep step. In: train.onnx and its plan. Out: the segments in the order they run, with one session for all that
// are equal, and what passes between them. Invariant: a step that cannot be cut, or has as many kinds of segments as
// segments, is left to one session.
//
// One session for the 87,000 nodes of a ResNet-1202's step takes 20 s to make; its 1,235 segments are of some 30 kinds.

import type { InferenceSession, Tensor } from 'onnxruntime-node';
import { executionOrder, number } from '../../src/ir/index.js';
import type { Model, Value } from '../../src/ir/index.js';
import { readModel } from '../../src/onnx/index.js';
import { cutSegments } from '../../src/plan/index.js';
import type { Plan } from '../../src/plan/index.js';
import type { StepDescription } from '../backend.js';
import { withEndMarker } from '../end-marker.js';
import { stateInputs } from '../plan.js';
import { createSessionOf, runError, tensorOf } from '../session.js';
import type { Runtime, SessionOptions } from '../session.js';
import { zerosOf } from './buffers.js';
import type { PassingValue } from './buffers.js';
import {
  ConstantTexts,
  encodeSegment,
  inputName,
  isPlain,
  outputName,
  overwrites,
  segmentsOf,
  structureOf,
} from './part.js';
import type { PartType, Segment } from './part.js';

/** A segment ready to run; values by their names in the step. */
export interface Part {
  readonly session: InferenceSession;
  readonly inputs: readonly string[];
  /** undefined: nobody takes it. */
  readonly outputs: readonly (string | undefined)[];
}

export interface Parts {
  readonly list: readonly Part[];
  readonly sessions: readonly InferenceSession[];
  /** By name: what segments make for others, but for the results of the step. */
  readonly passing: ReadonlyMap<string, PassingValue>;
  /** By name: constants that are fed. */
  readonly constants: ReadonlyMap<string, Tensor>;
}

/** A session pays where it serves at least so many segments, on the whole. */
const WORTH = 4;

/** Idle sessions would keep their threads busy. */
const QUIET = { force_spinning_stop: '1' };

/** @returns undefined where the step is not worth cutting @throws DiagnosticError train/invalid */
export async function loadSegments(
  runtime: Runtime,
  step: StepDescription,
): Promise<Parts | undefined> {
  const model = readModel(step.path);
  const segments = cut(model, step.plan);
  if (!segments) return undefined;
  const loader = new Loader(runtime, step, model);
  const list: Part[] = [];
  try {
    for (const [index, segment] of segments.entries()) {
      list.push(await loader.load(segment, index));
      if (loader.kinds > 64 && loader.kinds * WORTH > list.length) {
        await loader.release();
        return undefined;
      }
    }
  } catch (error) {
    await loader.release();
    throw error;
  }
  const { sessions, passing, fed: constants } = loader;
  return { list, sessions, passing, constants };
}

const resultsOf = (plan: Plan): Set<string> =>
  new Set([plan.outputs.loss, plan.outputs.correct, ...stateInputs(plan).map(({ next }) => next)]);

function cut({ graph }: Model, plan: Plan): Segment[] | undefined {
  const order = executionOrder(graph);
  number(graph.nodes);
  const labels = plan.steps.flatMap(({ phase, unit, nodes }) =>
    Array.from({ length: nodes }, () => ({ phase, unit })),
  );
  if (labels.length !== order.length) return undefined;
  const segments = segmentsOf(order, cutSegments(labels), resultsOf(plan));
  return segments.length > WORTH && segments.every(isPlain) ? segments : undefined;
}

interface Kind {
  readonly session: InferenceSession;
  readonly outputs: readonly PartType[];
  /** By output: the input it may be written over. */
  readonly overwrites: readonly (number | undefined)[];
}

class Loader {
  readonly passing = new Map<string, PassingValue>();
  /** By name: constants that are fed. */
  readonly fed = new Map<string, Tensor>();
  private readonly kindsByText = new Map<string, Kind>();
  private readonly constants = new ConstantTexts();
  private readonly types = new Map<Value, PartType>();
  /** Views, and the names of what they show. */
  private readonly views = new Map<Value, string>();
  private readonly results: ReadonlySet<string>;
  private readonly options: SessionOptions;

  constructor(
    private readonly runtime: Runtime,
    private readonly step: StepDescription,
    private readonly model: Model,
  ) {
    this.results = resultsOf(step.plan);
    this.options = { ...step.session, extra: { ...QUIET, ...step.session.extra } };
    const inputs = new Map(model.graph.inputs.map((value) => [value.name, value]));
    for (const { name, dtype, shape } of step.plan.inputs) {
      const value = inputs.get(name);
      if (value) this.types.set(value, { dtype: dtype as PartType['dtype'], dims: shape });
    }
  }

  get kinds(): number {
    return this.kindsByText.size;
  }

  get sessions(): InferenceSession[] {
    return [...this.kindsByText.values()].map(({ session }) => session);
  }

  async load(segment: Segment, index: number): Promise<Part> {
    const types = segment.inputs.map((value) => this.typeOf(value));
    const shapes = types.map(({ dtype, dims }) => `${dtype}[${dims.join()}]`);
    const text = `${shapes.join()}\n${structureOf(segment, this.constants)}`;
    let kind = this.kindsByText.get(text);
    if (!kind) {
      kind = await this.make(segment, types);
      this.kindsByText.set(text, kind);
    }
    const inputs = segment.inputs.map((value) => this.shown(value));
    for (const name of inputs) {
      const value = this.passing.get(name);
      if (value) this.passing.set(name, { ...value, last: index });
    }
    const { session, outputs } = kind;
    const over = kind.overwrites.map((at) => {
      const name = inputs[at ?? -1];
      // Two operands that are views of one value are the same memory.
      return inputs.filter((other) => other === name).length === 1 ? name : undefined;
    });
    return {
      session,
      inputs,
      outputs: segment.outputs.map((value, i) => this.enter(value, outputs[i], index, over[i])),
    };
  }

  /** @returns its name, or nothing where it is a view of something that passes itself: readers then read that */
  private enter(
    value: Value,
    type: PartType | undefined,
    index: number,
    over: string | undefined,
  ): string | undefined {
    if (!type) return undefined;
    this.types.set(value, type);
    if (this.results.has(value.name)) return value.name;
    const { producer } = value;
    const source =
      producer?.op === 'Reshape' && producer.domain === '' ? producer.inputs[0] : undefined;
    const whole = source && this.passing.get(this.shown(source));
    if (source && whole && whole.first < index && whole.dims.join() === type.dims.join()) {
      this.views.set(value, this.shown(source));
      return undefined;
    }
    this.passing.set(value.name, { ...type, first: index, last: index, over });
    return value.name;
  }

  /** The name of what a value shows. */
  private shown(value: Value): string {
    return this.views.get(value) ?? value.name;
  }

  async release(): Promise<void> {
    for (const session of this.sessions) await session.release();
  }

  private typeOf(value: Value): PartType {
    const type = this.types.get(value) ?? this.feed(value);
    if (!type) throw new Error(`internal error: nothing is known of ${value.name}`);
    this.types.set(value, type);
    return type;
  }

  private feed({ name, constant }: Value): PartType | undefined {
    if (!constant) return undefined;
    const { dims } = constant;
    const array = new Float32Array(dims.reduce((n, d) => n * d, 1));
    new Uint8Array(array.buffer).set(constant.bytes());
    this.fed.set(name, tensorOf(this.runtime, array, dims));
    return { dtype: 'float32', dims };
  }

  /** The shapes of what it makes are read off a first run, on zeros: the step keeps them to itself (autodiff/views.ts). */
  private async make(segment: Segment, types: readonly PartType[]): Promise<Kind> {
    const { runtime, step } = this;
    const { bytes, order } = encodeSegment(this.model, segment, types);
    const session = await createSessionOf(withEndMarker(bytes), step.path, this.options);
    const feeds = Object.fromEntries(
      types.map((type, index) => [inputName(index), zerosOf(runtime, type)]),
    );
    const names = segment.outputs.map((_, index) => outputName(index));
    const made = await session.run(feeds, names).catch(async (error: unknown) => {
      await session.release();
      throw runError(step.path, error);
    });
    const outputs = names.map((name): PartType => {
      const { type, dims } = made[name] ?? {};
      return { dtype: type as PartType['dtype'], dims: dims ?? [] };
    });
    return { session, outputs, overwrites: overwrites(segment, order) };
  }
}
