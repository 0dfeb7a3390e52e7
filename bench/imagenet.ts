// npm run bench:imagenet: what the conversion saves on ImageNet ResNets, and how good the prediction is. In: ONNX
// files, or none: then ResNet-50 and -101 in torchvision's shape. Out: seconds of the conversion, predicted and
// measured peaks of the reversible step and of the original with stored activations.

import { resNetImageNet } from '../fixtures/models.js';
import { measure } from '../runtime/index.js';
import { printJson, printResult } from '../src/cli/output.js';
import { positiveInteger } from '../src/cli/parse.js';
import { compile, modelName, writeFolder } from '../src/compiler/index.js';
import { checkWeights, readModel, writeModel } from '../src/onnx/index.js';
import type { PlanBlock, PlanMemory } from '../src/plan/index.js';
import { benchmark, paths, progress, runBenchmark, threadsOf, words } from './lib/command.js';
import type { CommonOptions } from './lib/command.js';
import { withTemporary } from './lib/folder.js';
import { VARIANTS, VARIANT_NAMES } from './lib/variants.js';
import type { Variant } from './lib/variants.js';
import { markdownTable, megabytes, percent, signedPercent } from './lib/table.js';

/** Blocks per stage of torchvision's bottleneck networks. */
const BUILT_IN: Readonly<Record<string, readonly number[]>> = {
  resnet50: [3, 4, 6, 3],
  resnet101: [3, 4, 23, 3],
};

interface Options extends CommonOptions {
  readonly models?: string[];
  readonly batch: number;
  readonly image: number;
  readonly steps: number;
  readonly variants: Variant[];
}

const command = benchmark('bench:imagenet', 'conversion, memory and prediction on ImageNet ResNets')
  .option('--models <list>', 'ONNX files, separated by commas', paths)
  .option('--batch <n>', 'batch size', positiveInteger('--batch'), 16)
  .option('--variants <list>', VARIANT_NAMES.join(', '), words('--variants', VARIANT_NAMES), [
    'rewire',
    'paper',
    'split',
  ])
  .option('--image <n>', 'height and width of the images', positiveInteger('--image'), 224)
  .option('--steps <n>', 'steps per measurement', positiveInteger('--steps'), 3);

interface Side {
  /** Reading, compiling (with the baselines it is compared to) and writing; no verification. */
  readonly conversionSeconds: number;
  readonly predicted: Pick<PlanMemory, 'peakBytes' | 'activationBytes'>;
  readonly measuredPeakBytes: number;
  /** measured / predicted peak − 1 */
  readonly gap: number;
  readonly secondsPerStep: number;
  readonly losses: readonly number[];
}

interface Row {
  readonly model: string;
  readonly variant: Variant;
  readonly blocks: number;
  readonly coupledBlocks: number;
  readonly parameters: number;
  readonly side: Side;
  /** 1 − this / plain, of measured peaks. */
  readonly savedRatio: number;
}

async function measureSide(
  path: string,
  variant: Variant,
  options: Options,
): Promise<{ side: Side; blocks: readonly PlanBlock[]; parameters: number }> {
  const name = modelName(path);
  return withTemporary(async (dir) => {
    const began = performance.now();
    const model = readModel(path);
    checkWeights(model);
    const [input] = model.graph.inputs;
    const { batch, image } = options;
    const compiled = compile(model, {
      name,
      source: path,
      batch,
      ...VARIANTS[variant],
      ...(input ? { inputShapes: new Map([[input.name, [batch, 3, image, image]]]) } : {}),
    });
    writeFolder(compiled, dir);
    const conversionSeconds = (performance.now() - began) / 1000;
    const { plan } = compiled;
    const { peakBytes, activationBytes } = plan.memory.plan;
    const { measured, losses } = await measure(dir, {
      steps: options.steps,
      ...threadsOf(options),
    });
    const side = {
      conversionSeconds,
      predicted: { peakBytes, activationBytes },
      measuredPeakBytes: measured.peakBytes,
      gap: measured.peakBytes / peakBytes - 1,
      secondsPerStep: measured.secondsPerStep,
      losses,
    };
    progress(`${name}, ${variant}: ${megabytes(measured.peakBytes)} MB`);
    return { side, blocks: plan.blocks, parameters: plan.model.parameters.after };
  });
}

async function measureModel(path: string, options: Options): Promise<Row[]> {
  const rows: Row[] = [];
  const plain = await measureSide(path, 'plain', options);
  const row = (variant: Variant, { side, blocks, parameters }: typeof plain): Row => ({
    model: modelName(path),
    variant,
    blocks: blocks.length,
    coupledBlocks: blocks.filter((b) => b.coupled).length,
    parameters,
    side,
    savedRatio: 1 - side.measuredPeakBytes / plain.side.measuredPeakBytes,
  });
  rows.push(row('plain', plain));
  for (const variant of options.variants)
    if (variant !== 'plain') rows.push(row(variant, await measureSide(path, variant, options)));
  return rows;
}

/** The built-in networks go through a file like any other, so that conversion seconds mean the same. */
const measureBuiltIn = (
  name: string,
  layers: readonly number[],
  options: Options,
): Promise<Row[]> =>
  withTemporary((dir) => {
    const path = `${dir}/${name}.onnx`;
    writeModel(resNetImageNet({ layers, block: 'bottleneck', image: options.image }), path);
    return measureModel(path, options);
  });

const cells = ({ model, variant, parameters, side, savedRatio }: Row): (string | number)[] => [
  model,
  variant,
  `${(parameters / 1e6).toFixed(2)} M`,
  side.conversionSeconds.toFixed(1),
  megabytes(side.predicted.activationBytes),
  megabytes(side.predicted.peakBytes),
  megabytes(side.measuredPeakBytes),
  signedPercent(side.gap),
  side.secondsPerStep.toFixed(2),
  variant === 'plain' ? '' : percent(savedRatio),
];

await runBenchmark(command, async () => {
  const options = command.opts<Options>();
  const rows: Row[] = [];
  if (options.models)
    for (const path of options.models) rows.push(...(await measureModel(path, options)));
  else
    for (const [name, layers] of Object.entries(BUILT_IN))
      rows.push(...(await measureBuiltIn(name, layers, options)));
  const { batch, image } = options;
  if (options.json) printJson({ batch, image, rows });
  else
    printResult(
      markdownTable(
        [
          'model',
          'training',
          'parameters',
          'conversion, s',
          'predicted live, MB',
          'predicted peak, MB',
          'measured peak, MB',
          'measured to predicted',
          's/step',
          'saved',
        ],
        rows.map(cells),
        2,
      ),
    );
});
