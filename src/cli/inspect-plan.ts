// A plan as tables for a person. In: a plan. Out: text: what was assumed, memory by category beside the baselines, what
// was measured, chains, units with their policy and reason, cost. Invariant: nothing is computed here that the plan
// does not say; figures of a table stand in the order of the plan.

import type { BufferCategory, Plan, PlanMeasurement, PlanMemory } from '../plan/index.js';
import { columns, formatBytes, formatCount, formatPercent, paint } from './output.js';

const section = (title: string, ...lines: readonly string[]): string[] => [
  '',
  paint.bold(title),
  ...lines,
];

export function describePlan(plan: Plan): string {
  const lines = [
    ...header(plan),
    ...section('memory above the loaded model, predicted', memoryTable(plan)),
    ...measuredSection(plan),
    ...section(
      `chains: ${plan.chains.length}`,
      ...(plan.chains.length > 0 ? [chainTable(plan)] : []),
    ),
    ...section(`residual blocks: ${blockCounts(plan)}`, ...blockTable(plan)),
    ...section(`units of the step: ${policyCounts(plan)}`, unitTable(plan)),
    ...section('cost', costTable(plan)),
  ];
  if (plan.notes.length > 0) lines.push(...section('notes', ...plan.notes.map((n) => `  ${n}`)));
  return lines.join('\n');
}

function header({ model, recipe, choices, passes, assumptions: a }: Plan): string[] {
  const words = (values: object): string =>
    Object.entries(values)
      .map(([key, value]) => `${key} ${String(value)}`)
      .join(', ');
  const shapes = Object.entries(a.inputShapes).map(
    ([name, dims]) => `${name}: [${dims.join(', ')}]`,
  );
  return [
    `${paint.bold(model.name)}, made from ${model.source}`,
    columns(
      [
        ['  recipe', `${recipe} (${words(choices)})`],
        ['  passes', passes],
        ['  batch', `${a.batch} × [${a.imageShape.join(', ')}], ${a.classes} classes`],
        [
          '  arithmetic',
          `${a.dtype}, target ${a.block === undefined ? a.target : `cpu-blocked (blocks of ${a.block})`}, opset ${a.opset}`,
        ],
        ['  optimizer', `${a.optimizer}${a.nesterov ? ', Nesterov momentum' : ''}`],
        ['  policy', a.policy],
        ['  seed', String(a.seed)],
        ...(shapes.length > 0 ? [['  input shapes', shapes.join('; ')]] : []),
      ],
      new Set([0, 1]),
    ),
  ];
}

const CATEGORIES: Readonly<Record<BufferCategory, string>> = {
  stream: 'streams',
  activation: 'stored activations',
  interior: 'interior of one unit',
  gradient: 'gradients of activations',
  weightGradient: 'gradients of weights',
  workspace: 'workspace of operators',
};

function memoryTable({ memory }: Plan): string {
  const ways = [memory.originalStored, memory.coupledStored, memory.plan];
  const row = (title: string, of: (m: PlanMemory) => string): string[] => [title, ...ways.map(of)];
  const used = (Object.keys(CATEGORIES) as BufferCategory[]).filter((c) =>
    ways.some((m) => (m.byCategory[c] ?? 0) > 0),
  );
  return [
    columns([
      ['', 'original, stored', 'coupled, stored', 'this plan'],
      ...used.map((c) => row(`  ${CATEGORIES[c]}`, (m) => formatBytes(m.byCategory[c] ?? 0))),
      row('  largest sum of live buffers', (m) => formatBytes(m.activationBytes)),
      row('  peak resident', (m) => formatBytes(m.peakBytes)),
      row('  allocator', (m) => m.allocator),
    ]),
    `  ${paint.green(`${formatPercent(memory.savedRatio)} of the activations saved`)}; peak at ${memory.plan.peakNode}`,
  ].join('\n');
}

/** Predictions by the name of what was measured; other names are other runs of the plan. */
const predictionOf = ({ memory }: Plan, { variant }: PlanMeasurement): PlanMemory => {
  if (variant === 'originalStored') return memory.originalStored;
  return variant === 'coupledStored' ? memory.coupledStored : memory.plan;
};

function measuredSection(plan: Plan): string[] {
  const { model, measured } = plan;
  if (measured.length === 0)
    return section(
      'measured',
      `  not yet: revnetify train DIR --measure, with the folder of ${model.train}`,
    );
  const rows = measured.map((m) => {
    const predicted = predictionOf(plan, m).peakBytes;
    const off = m.peakBytes > 0 ? predicted / m.peakBytes - 1 : 0;
    return [
      `  ${m.variant}`,
      formatBytes(predicted),
      formatBytes(m.peakBytes),
      `${off < 0 ? '−' : '+'}${formatPercent(Math.abs(off))}`,
      `${m.secondsPerStep.toFixed(3)} s`,
      `${m.threads} ${m.threads === 1 ? 'thread' : 'threads'}, ${m.machine}`,
    ];
  });
  return section(
    'measured',
    columns([['', 'predicted', 'measured', 'off by', 'per step', 'on'], ...rows], new Set([0, 5])),
  );
}

const shapeOf = (shape: readonly (number | string)[] | null | undefined): string =>
  shape ? `[${shape.join(', ')}]` : '?';

function chainTable({ chains, blocks }: Plan): string {
  const shapes = new Map(blocks.map((b) => [b.id, b.shape]));
  return columns(
    chains.map(({ id, couplings }) => {
      const stages = new Set(couplings.map((c) => shapeOf(shapes.get(c.id))));
      return [`  ${id}`, `${couplings.length} half-couplings`, [...stages].join(' → ')];
    }),
    new Set([0, 1, 2]),
  );
}

function blockCounts({ blocks }: Plan): string {
  const coupled = blocks.filter((b) => b.coupled).length;
  return `${blocks.length}, ${coupled} coupled, ${blocks.length - coupled} left`;
}

function blockTable({ blocks }: Plan): string[] {
  if (blocks.length === 0) return [];
  const rows = blocks.map((b) => [
    `  ${b.id}`,
    b.kind,
    shapeOf(b.shape),
    b.coupled ? 'coupled' : 'left',
    b.reason,
  ]);
  return [columns(rows, new Set([0, 1, 2, 3, 4]))];
}

function policyCounts({ units }: Plan): string {
  const counts = new Map<string, number>();
  for (const { policy } of units) counts.set(policy, (counts.get(policy) ?? 0) + 1);
  return [...counts].map(([policy, n]) => `${n} ${policy}`).join(', ');
}

function unitTable({ units, steps }: Plan): string {
  const peaks = new Map<string, number>();
  for (const { unit, peakBytes } of steps)
    peaks.set(unit, Math.max(peaks.get(unit) ?? 0, peakBytes));
  return columns(
    units.map((u) => [
      `  ${u.id}`,
      u.kind,
      u.policy,
      peaks.has(u.id) ? formatBytes(peaks.get(u.id) ?? 0) : '',
      u.reason,
    ]),
    new Set([0, 1, 2, 4]),
  );
}

function costTable({ cost, model }: Plan): string {
  const count = ({ before, after }: { before: number; after: number }): string[] => [
    formatCount(before),
    formatCount(after),
  ];
  const flops = [cost.stepFlopsBefore, cost.stepFlopsAfter].map((n) => `${formatCount(n)}FLOP`);
  return columns([
    ['', 'original', 'this plan', ''],
    ['  one training step', ...flops, `× ${cost.ratio.toFixed(2)}`],
    ['  parameters', ...count(model.parameters), ''],
    ['  depth in layers', String(model.depth.before), String(model.depth.after), ''],
  ]);
}
