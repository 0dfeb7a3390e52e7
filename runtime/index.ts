/**
 * The runtime: trains what the compiler made, with onnxruntime-node.
 *
 *     import { train } from 'revnetify/runtime';
 *     const { model, evaluation } = await train('out', { data: 'cifar-10', epochs: 30, lr: 0.1 });
 *
 * train() runs a whole training, TrainingStep one step at a time, measure() a few steps in a process of their
 * own to see what they cost. Only this folder loads onnxruntime-node, and only when a step is opened.
 */

export { MALLOC_ENVIRONMENT, needsMallocEnvironment } from './allocator.js';
export { cpuBackend } from './backend.js';
export type { Backend, StepDescription, StepOutputs, StepRunner } from './backend.js';
export * from './data/index.js';
export { DEVICES, backendOf, probeBlock, requireBlock, requireTarget } from './device/index.js';
export { examine } from './device/doctor.js';
export type { DeviceReport, DoctorReport } from './device/doctor.js';
export type { Device } from './device/index.js';
export { evaluateModel } from './evaluate.js';
export type { EvaluateOptions, Evaluation } from './evaluate.js';
export type { Progress, TrainHooks } from './loop.js';
export { measure } from './measure.js';
export type { MeasureOptions, Measurement } from './measure.js';
export type { RunInputs } from './operands.js';
export type { OptimizerSettings } from './optimizer.js';
export type { TrainOptions } from './options.js';
export { findPlan, readPlan } from './plan.js';
export type { CompiledFolder } from './plan.js';
export { learningRate, parseSchedule } from './schedule.js';
export type { Schedule, ScheduleShape } from './schedule.js';
export { createSession, loadRuntime } from './session.js';
export type { Runtime, SessionOptions } from './session.js';
export { TrainingStep } from './step.js';
export type { StepInputs, StepOptions } from './step.js';
export { train } from './train.js';
export type { TrainResult } from './train.js';
