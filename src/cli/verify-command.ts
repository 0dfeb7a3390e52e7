// revnetify verify DIR: is the step of this folder right?

import type { Command } from 'commander';
import { DEVICES, readPlan, requireBlock, requireTarget } from '../../runtime/index.js';
import type { Device } from '../../runtime/index.js';
import { checkStep, loadCoupled } from '../compiler/index.js';
import { EXIT } from '../diagnostics/index.js';
import { THRESHOLDS, gradientLimits, verifyModel } from '../verify/index.js';
import type { VerifyResult } from '../verify/index.js';
import {
  columns,
  outputOptions,
  paint,
  printJson,
  printResult,
  reportingOptions,
} from './output.js';
import type { ReportingOptions } from './output.js';
import { oneOf, positiveInteger, wholeNumber } from './parse.js';

interface Options extends ReportingOptions {
  readonly batch?: number;
  readonly seed: number;
  readonly device: Device;
  readonly threads?: number;
}

export function addVerifyCommand(program: Command): void {
  const command = program
    .command('verify')
    .description('check the training step in a folder: forward pass, reconstruction, gradients')
    .argument('<dir>', 'folder made by revnetify MODEL.onnx')
    .option('--batch <n>', 'batch size of the check', positiveInteger('--batch'))
    .option('--seed <n>', 'seed of the data', wholeNumber('--seed'), 0)
    .option(
      '--device <name>',
      'what runs the step that is checked: cpu, webgpu or cuda; what it is compared with runs on the CPU',
      oneOf('--device', DEVICES),
      'cpu',
    )
    .option('--threads <n>', 'threads of ONNX Runtime', positiveInteger('--threads'))
    .action(async (dir: string, options: Options) => {
      const out = outputOptions(options);
      const { plan } = readPlan(dir);
      requireTarget(plan, options.device);
      await requireBlock(plan);
      const loaded = loadCoupled(dir, plan);
      checkStep(dir, plan, loaded);
      const { rev, chains, settings } = loaded;
      const result = await verifyModel(rev, chains, settings, {
        seed: options.seed,
        device: options.device,
        ...(options.batch === undefined ? {} : { batch: options.batch }),
        ...(options.threads === undefined ? {} : { threads: options.threads }),
      });
      if (out.json) printJson(result);
      else printResult(describeVerification(result));
      if (!result.passed) process.exitCode = EXIT.verificationFailed;
    });
  reportingOptions(command);
}

const figure = (x: number): string => x.toExponential(1);

/** The figures and what they are held to, as a small table. */
export function describeVerification(r: VerifyResult): string {
  const t = THRESHOLDS;
  const limits = gradientLimits(r.noise);
  const rows = [
    ['  forward, largest relative error', figure(r.forward.maxRel), `≤ ${figure(t.forwardMaxRel)}`],
    [
      `  reconstruction of ${r.reconstruction.streams} streams`,
      figure(r.reconstruction.maxRel),
      `≤ ${figure(t.reconstructionMaxRel)}`,
    ],
    [
      '  gradient, recomputed against stored',
      figure(r.gradient.relL2),
      `≤ ${figure(limits.relL2)}`,
    ],
    ['    noise floor (two lowerings)', figure(r.noise.relL2), `× ${t.noiseFactor}`],
    [
      '    angle in degrees',
      figure(r.gradient.angleDegrees),
      `≤ ${Number(limits.angleDegrees.toPrecision(2))}`,
    ],
    ['    median tensor', figure(r.gradient.medianTensor), `≤ ${figure(limits.medianTensor)}`],
  ];
  if (r.float64)
    rows.push(
      [
        '  float64: worst tensor',
        figure(r.float64.recompute.maxTensor),
        `≤ ${figure(t.float64Tensor)}`,
      ],
      [
        '  float64: finite differences',
        figure(r.float64.finiteDifferences),
        `≤ ${figure(t.finiteDifferences)}`,
      ],
    );
  const verdict = r.passed ? paint.green('passed') : paint.red(`FAILED: ${r.failures.join('; ')}`);
  return [`verification at batch ${r.batch}: ${verdict}`, columns(rows)].join('\n');
}
