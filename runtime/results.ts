// What a step answers: its loss and how many answers were correct. In: the plan. Out: tensors a run writes into, and their
// values. Invariant: a run that ends without having written them does not pass for one that has.

import type { Tensor } from 'onnxruntime-node';
import type { Plan } from '../src/plan/index.js';
import type { StepOutputs } from './backend.js';
import type { Runtime } from './session.js';

export class Results {
  private readonly loss = new Float32Array(1);
  private readonly correct = new Float32Array(1);
  /** By output name. */
  readonly tensors: Readonly<Record<string, Tensor>>;

  constructor({ Tensor }: Runtime, { outputs }: Plan) {
    this.tensors = {
      [outputs.loss]: new Tensor('float32', this.loss, []),
      [outputs.correct]: new Tensor('float32', this.correct, []),
    };
  }

  clear(): void {
    this.loss.fill(NaN);
    this.correct.fill(NaN);
  }

  values(): StepOutputs {
    return { loss: this.loss[0] ?? NaN, correct: this.correct[0] ?? NaN };
  }
}
