// Values and gradients of the losses against torch.nn.functional, in float64.

import { expect, test } from 'vitest';
import { appendLoss, createState } from '../../passes/index.js';
import type { Settings } from '../../passes/index.js';
import { appendBackward } from '../../src/autodiff/index.js';
import { InlineData, Model, Tensor } from '../../src/ir/index.js';
import { Builder, Random, interpret } from '../../src/ops/index.js';
import { runPython } from './python.js';

const PROGRAM = `
import json, sys, torch
import torch.nn.functional as F
def run(it):
    y = torch.tensor(it['y'], dtype=torch.float64).reshape(it['dims']).requires_grad_()
    if it['loss'] == 'mse':
        loss = F.mse_loss(y, torch.tensor(it['labels'], dtype=torch.float64).reshape(it['dims']))
    else:
        scores = y.transpose(1, 2) if y.dim() == 3 else y
        labels = torch.tensor(it['labels']).reshape([d for i, d in enumerate(scores.shape) if i != 1])
        ignored = -100 if it['ignored'] is None else it['ignored']
        loss = F.cross_entropy(scores, labels, label_smoothing=it['smoothing'], ignore_index=ignored)
    loss.backward()
    return {'loss': loss.item(), 'gradient': y.grad.reshape(-1).tolist()}
print(json.dumps([run(it) for it in json.load(sys.stdin)]))
`;

const CASES: readonly { readonly dims: readonly number[]; readonly settings: Partial<Settings> }[] =
  [
    ...[
      [5, 4],
      [2, 4, 3, 3],
      [2, 5, 4],
    ].flatMap((dims) => [
      { dims, settings: {} },
      { dims, settings: { labelSmoothing: 0.15 } },
      { dims, settings: { ignoreIndex: 255 } },
      { dims, settings: { ignoreIndex: -100, labelSmoothing: 0.1 } },
    ]),
    { dims: [3, 2], settings: { loss: 'mse' } },
    { dims: [2, 3, 4, 4], settings: { loss: 'mse' } },
  ];

interface Own {
  readonly request: unknown;
  readonly loss: number;
  readonly gradient: readonly number[];
}

function own({ dims, settings }: (typeof CASES)[number]): Own {
  const model = new Model();
  const { graph } = model;
  const x = graph.addInput('x', { dtype: 'float32', shape: dims });
  const b = new Builder(graph, { phase: 'forward', path: 'n' });
  const weights = new Random(8).tensor(dims);
  const w = graph.addConstant('w', new InlineData(weights));
  graph.outputs.push(b.op('Add', [x, w]));
  const state = createState(model, { batch: dims[0] ?? 1, loss: 'cross-entropy', ...settings });
  appendLoss.run(state);
  const { loss } = state;
  if (!loss) throw new Error('no loss');
  const random = new Random(9);
  const { ignoreIndex, labelSmoothing = 0 } = settings;
  const shape = (loss.labels.shape ?? []) as number[];
  const labels = Tensor.zeros(loss.labels.type?.dtype ?? 'int64', shape);
  labels.data.forEach((_, i) => {
    if (loss.kind === 'mse') labels.data[i] = random.normal();
    else labels.data[i] = i % 3 === 1 ? (ignoreIndex ?? 0) : random.integer(0, 3);
  });
  const unit = { id: 'head', kind: 'head', nodes: [...graph.nodes], policy: 'store' } as const;
  const units = [{ ...unit, coupling: undefined, chain: undefined, reason: '' }];
  const root = new Builder(graph, { phase: 'forward', path: 'step' });
  const gradient = appendBackward(graph, units, loss.loss, new Set([w]), root).gradients.get(w);
  if (!gradient) throw new Error('no gradient');
  graph.sort();
  const feeds = new Map([
    [x, Tensor.zeros('float32', dims)],
    [loss.labels, labels],
  ]);
  const results = interpret(graph, feeds, { keep: new Set([gradient]) });
  return {
    request: {
      ...{ dims, y: weights.toArray(), labels: labels.toArray(), loss: loss.kind },
      ...{ smoothing: labelSmoothing, ignored: ignoreIndex ?? null },
    },
    loss: results.get(loss.loss)?.data[0] ?? NaN,
    gradient: results.get(gradient)?.toArray() ?? [],
  };
}

test('values and gradients', () => {
  const ours = CASES.map(own);
  const stdout = runPython(['-c', PROGRAM], {
    input: JSON.stringify(ours.map(({ request }) => request)),
  });
  const theirs = JSON.parse(stdout) as { loss: number; gradient: number[] }[];
  expect(theirs.length).toBe(ours.length);
  ours.forEach(({ loss, gradient }, i) => {
    const what = JSON.stringify(CASES[i]);
    expect(loss, what).toBeCloseTo(theirs[i]?.loss ?? NaN, 10);
    expect(gradient.length).toBe(theirs[i]?.gradient.length);
    gradient.forEach((g, k) => {
      expect(g, what).toBeCloseTo(theirs[i]?.gradient[k] ?? NaN, 10);
    });
  });
});
