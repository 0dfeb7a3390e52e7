// What a step is fed besides its state. In: the plan and, for every run, a batch with its settings. Out: tensors by
// input name. Invariant: every input of the plan that is no state has a tensor when a run begins, and arrays are read
// where they lie.

import type { Tensor } from 'onnxruntime-node';
import { DiagnosticError } from '../src/diagnostics/index.js';
import type { Plan, ScalarRole } from '../src/plan/index.js';
import type { SideArray, SideInput } from './data/index.js';
import { inputOf, scalarInputs, seedInput, sideInputs } from './plan.js';
import { tensorOf } from './session.js';
import type { Runtime } from './session.js';

/** One batch and the settings of one run. */
export interface RunInputs {
  /** As the plan's input of that role: batch × channels × height × width, already normalised, or token numbers. */
  readonly images: Float32Array | BigInt64Array;
  /** Labels, or the float targets of a squared error: in the shape of the plan's input. */
  readonly labels: BigInt64Array | Float32Array;
  /** By name, what the network takes beside the images: see the plan's inputs with the role `side`. */
  readonly sides?: Readonly<Record<string, SideArray>>;
  /** Two words that no other run of a training has; read where the plan has a seed. */
  readonly seed: readonly [number, number];
  /** One for every scalar input of the plan. */
  readonly scalars: ReadonlyMap<ScalarRole, number>;
}

export class Operands {
  /** By input name. A runner adds the tensors of the state. */
  readonly feeds: Record<string, Tensor> = {};
  private readonly scalars = new Map<ScalarRole, Float32Array>();
  private readonly seed = new Int32Array(2);
  private readonly names: { readonly images: string; readonly labels: string };
  private readonly sides: readonly SideInput[];

  constructor(
    private readonly runtime: Runtime,
    private readonly plan: Plan,
  ) {
    this.names = { images: inputOf(plan, 'images').name, labels: inputOf(plan, 'labels').name };
    this.sides = sideInputs(plan);
    for (const { name, role } of scalarInputs(plan)) {
      const value = new Float32Array(1);
      this.scalars.set(role, value);
      this.feeds[name] = new runtime.Tensor('float32', value, []);
    }
    const seed = seedInput(plan);
    if (seed) this.feeds[seed.name] = new runtime.Tensor('int32', this.seed, [2]);
  }

  /** @throws DiagnosticError train/invalid where the batch lacks an input */
  set(inputs: RunInputs): void {
    this.bind(this.names.images, inputs.images);
    this.bind(this.names.labels, inputs.labels);
    for (const { name } of this.sides) {
      const array = inputs.sides?.[name];
      if (!array)
        throw new DiagnosticError('train/invalid', `input ${name}`, 'the batch does not hold it');
      this.bind(name, array);
    }
    for (const [role, value] of this.scalars) value[0] = inputs.scalars.get(role) ?? NaN;
    this.seed.set(inputs.seed);
  }

  /** A loader fills the same buffers again and again: their tensors are made once. */
  private bind(name: string, data: SideArray): void {
    if (this.feeds[name]?.data === data) return;
    const { shape = [] } = this.plan.inputs.find((input) => input.name === name) ?? {};
    this.feeds[name] = tensorOf(this.runtime, data, shape);
  }
}
