// What revnetify MODEL says at its end. In: what was compiled, written and verified. Out: text, or an object for --json.
// Invariant: both say the same; nothing here is computed that the plan does not hold.

import { dirname, relative } from 'node:path';
import type { Compiled } from '../compiler/index.js';
import type { VerifyResult } from '../verify/index.js';
import {
  alreadyReversible,
  columns,
  counted,
  formatBytes,
  formatCount,
  formatPercent,
} from './output.js';
import type { OutputOptions } from './output.js';
import { describeVerification } from './verify-command.js';

/** Paths of what was written. */
export interface Outputs {
  readonly rev: string;
  readonly train: string;
  readonly plan: string;
}

const PLAN_SUMMARY_VERSION = 1;

function blockCounts({
  plan,
}: Compiled): Record<
  'residual' | 'identity' | 'projection' | 'coupled' | 'reversible' | 'left',
  number
> {
  const count = (test: (b: (typeof plan.blocks)[number]) => boolean): number =>
    plan.blocks.filter(test).length;
  return {
    residual: plan.blocks.length,
    identity: count((b) => b.kind === 'identity'),
    projection: count((b) => b.kind === 'projection'),
    coupled: count((b) => b.coupled),
    reversible: count((b) => b.code === 'reversible'),
    left: count((b) => !b.coupled),
  };
}

/** For --json. */
export function summary(
  path: string,
  compiled: Compiled,
  outputs: Outputs,
  verified: VerifyResult | null,
): unknown {
  const { plan } = compiled;
  const { plan: after, originalStored: before, savedRatio } = plan.memory;
  const pick = ({ peakBytes, activationBytes }: typeof after): unknown => ({
    peakBytes,
    activationBytes,
  });
  return {
    schemaVersion: PLAN_SUMMARY_VERSION,
    model: path,
    outputs,
    blocks: blockCounts(compiled),
    recipe: { name: plan.recipe, ...plan.choices },
    parameters: plan.model.parameters,
    depth: plan.model.depth,
    memory: { before: pick(before), after: pick(after), savedRatio },
    cost: plan.cost,
    verify: verified,
    notes: plan.notes,
  };
}

/** A path as short as it can be said from here. */
function shown(path: string): string {
  const near = relative(process.cwd(), path);
  return near !== '' && !near.startsWith('..') ? near : path;
}

/** For reading. */
export function describe(
  compiled: Compiled,
  outputs: Outputs,
  verified: VerifyResult | null,
  out: OutputOptions,
): string {
  const { plan } = compiled;
  const blocks = blockCounts(compiled);
  const { plan: after, coupledStored, originalStored: before, savedRatio } = plan.memory;
  const { batch, imageShape } = plan.assumptions;
  const lines = [
    `${plan.model.name}: ${blocks.residual} residual blocks (${blocks.identity} identity, ${blocks.projection} projection), ${blocks.coupled} coupled in ${counted(plan.chains.length, 'chain')}${alreadyReversible(blocks.reversible)}`,
    '',
    `activation memory of one training step, batch ${batch} × [${imageShape.join(', ')}], predicted`,
    columns([
      ['  original, stored activations', formatBytes(before.activationBytes), ''],
      ['  coupled, stored activations', formatBytes(coupledStored.activationBytes), ''],
      ['  this plan', formatBytes(after.activationBytes), `${formatPercent(savedRatio)} saved`],
    ]),
    `arithmetic  ${formatCount(plan.cost.stepFlopsBefore)}FLOP → ${formatCount(plan.cost.stepFlopsAfter)}FLOP per step (× ${plan.cost.ratio.toFixed(2)})`,
    `parameters  ${formatCount(plan.model.parameters.before)} → ${formatCount(plan.model.parameters.after)}`,
    `depth       ${plan.model.depth.before} → ${plan.model.depth.after} layers`,
  ];
  if (verified) lines.push('', describeVerification(verified));
  lines.push(
    '',
    `wrote ${shown(outputs.rev)}`,
    `      ${shown(outputs.train)}`,
    `      ${shown(outputs.plan)}`,
  );
  if (!out.quiet && plan.chains.length > 0)
    lines.push(
      '',
      blocks.coupled > blocks.reversible
        ? 'The coupled network is a different function from the original and has to be trained:'
        : 'The network was reversible already, and its couplings are used as they are. To train it:',
      `  revnetify train ${shown(dirname(outputs.plan))} --data PATH`,
    );
  return lines.join('\n');
}
