// model.py. In: the network cut into units. Out: its text, and which tensor of the module holds which constant of the
// model. Invariant: deterministic, so that weights trained by the module find their way back by the same names.

import { DiagnosticError } from '../../diagnostics/index.js';
import type { Value } from '../../ir/index.js';
import type { Plan } from '../../plan/index.js';
import { isKept } from '../../reversible/index.js';
import { classesOf } from './classes.js';
import type { Instance } from './classes.js';
import { quoted } from './code.js';
import { className, identifier, unique, variableOf } from './names.js';
import type { Network, NetworkUnit } from './network.js';
import { stagesOf } from './stages.js';
import type { Stage } from './stages.js';
import { draftOf } from './unit.js';
import { wrappedAll } from './wrap.js';
import type { Layout } from './writing.js';

/** A tensor of the module's state_dict. */
export interface StateEntry {
  /** Its key in the state_dict. */
  readonly key: string;
  /** Name of the constant in rev.onnx. */
  readonly name: string;
  readonly value: Value;
  readonly layout: Layout;
}

export interface Module {
  readonly className: string;
  readonly text: string;
  readonly state: readonly StateEntry[];
}

/** Consecutive numbers with one call: a comprehension. */
function entries(children: readonly string[], calls: readonly string[]): string[] {
  const lines: string[] = [];
  for (let i = 0; i < children.length;) {
    let end = i + 1;
    const from = Number(children[i]);
    const isNumber = /^\d+$/.test(children[i] ?? '');
    while (
      isNumber &&
      end < children.length &&
      calls[end] === calls[i] &&
      children[end] === String(from + end - i)
    )
      end++;
    if (end - i >= 3)
      lines.push(`**{str(i): ${calls[i] ?? ''} for i in range(${from}, ${from + end - i})},`);
    else
      for (let k = i; k < end; k++) lines.push(`${quoted(children[k] ?? '')}: ${calls[k] ?? ''},`);
    i = end;
  }
  return lines;
}

class ModelWriter {
  private readonly init: string[] = [];
  private readonly forward: string[] = [];
  private readonly state: StateEntry[] = [];
  private readonly variables = new Map<Value, string>();
  private readonly left = new Map<Value, number>();

  constructor(
    private readonly network: Network,
    private readonly instances: ReadonlyMap<NetworkUnit, Instance>,
  ) {}

  write(stages: readonly Stage[]): {
    init: string[];
    forward: string[];
    operands: string[];
    state: StateEntry[];
  } {
    const { inputs, output } = this.network;
    const operands = inputs.map((value) => {
      const name = unique(identifier(value.name, 'images'), new Set(this.variables.values()));
      this.variables.set(value, name);
      return name;
    });
    for (const stage of stages) for (const value of readsOf(stage)) this.count(value);
    this.count(output);
    for (const stage of stages) {
      if (stage.kind === 'single') this.single(stage.unit, stage.name);
      else this.sequence(stage);
    }
    const result = this.variable(output);
    const last = this.forward.pop() ?? '';
    if (last.startsWith(`${result} = `))
      this.forward.push(`return ${last.slice(result.length + 3)}`);
    else this.forward.push(last, `return ${result}`);
    return { init: this.init, forward: this.forward, operands, state: this.state };
  }

  private count(value: Value): void {
    this.left.set(value, (this.left.get(value) ?? 0) + 1);
  }

  private instance(unit: NetworkUnit): Instance {
    const instance = this.instances.get(unit);
    if (!instance) throw new Error(`internal error: unit ${unit.id} has no class`);
    return instance;
  }

  private single(unit: NetworkUnit, name: string): void {
    const instance = this.instance(unit);
    this.init.push(`self.${name} = ${instance.call}`);
    this.record(`${name}.`, instance);
    const operands = unit.reads.map((v) => this.variable(v));
    const call =
      unit.policy === 'store'
        ? `self.${name}(${operands.join(', ')})`
        : `recomputed(${[`self.${name}`, ...operands].join(', ')}, mode=mode)`;
    this.assign(unit.reads, unit.gives, call);
  }

  private sequence({ units, name, children }: Extract<Stage, { kind: 'sequence' }>): void {
    const [first, last] = [units[0], units.at(-1)];
    if (!first?.streams || !last?.streams) return;
    const sides: Value[] = [];
    const reads: string[] = [];
    units.forEach((unit, i) => {
      const own = unit.reads.slice(1);
      for (const side of own) if (!sides.includes(side)) sides.push(side);
      const indices = own.map((side) => sides.indexOf(side));
      if (indices.length > 0)
        reads.push(
          `${quoted(children[i] ?? '')}: (${indices.join(', ')}${indices.length === 1 ? ',' : ''})`,
        );
      this.record(`${name}.${children[i] ?? ''}.`, this.instance(unit));
    });
    const calls = units.map((unit) => this.instance(unit).call);
    const stored = units.filter(({ policy }) => policy === 'store').length;
    const keepsInput = isKept(first.streams, first.streams.b);
    this.init.push(
      `self.${name} = ReversibleSequence(`,
      '    {',
      ...entries(children, calls).map((line) => `        ${line}`),
      '    },',
      ...(reads.length > 0 ? [`    reads={${reads.join(', ')}},`] : []),
      ...(stored > 0 ? [`    stored=${stored},`] : []),
      ...(keepsInput ? ['    keeps_input=True,'] : []),
      ')',
    );
    const operands = [first.streams.a, first.streams.b, ...sides];
    const call = `self.${name}(${operands.map((v) => this.variable(v)).join(', ')}, mode=mode)`;
    this.assign(operands, [last.streams.b, last.streams.t], call, ['a', 'b']);
  }

  private assign(
    reads: readonly Value[],
    gives: readonly Value[],
    call: string,
    names: readonly string[] = [],
  ): void {
    for (const value of reads) this.left.set(value, (this.left.get(value) ?? 1) - 1);
    const inputs = new Set(this.network.inputs);
    for (const value of new Set(reads))
      if ((this.left.get(value) ?? 0) <= 0 && !inputs.has(value)) this.variables.delete(value);
    const targets = gives.map((value, i) => {
      if (!this.left.has(value) && this.network.output !== value) return '_';
      const known = this.variables.get(value);
      // The stream b of a sequence of one function is handed on.
      if (known !== undefined) return known;
      const taken = new Set(this.variables.values());
      const name =
        [names[i], ...NAMES].find((n) => n !== undefined && !taken.has(n)) ?? unique('x', taken);
      this.variables.set(value, name);
      return name;
    });
    this.forward.push(`${targets.join(', ')} = ${call}`);
  }

  private variable(value: Value): string {
    return variableOf(this.variables, value);
  }

  private record(prefix: string, { draft, partNames }: Instance): void {
    draft.parts.forEach((part, i) => {
      for (const { name, value, layout } of part.holds) {
        const key = `${prefix}${partNames[i] ?? ''}${name === '' ? '' : `.${name}`}`;
        this.state.push({ key, name: value.name, value, layout });
      }
    });
  }
}

const NAMES = ['a', 'b', 'x', 'y', 'z', 'u', 'v', 'w'];

const readsOf = (stage: Stage): Value[] => {
  if (stage.kind === 'single') return [...stage.unit.reads];
  const [first] = stage.units;
  const sides = new Set(stage.units.flatMap(({ reads }) => reads.slice(1)));
  return first?.streams ? [first.streams.a, first.streams.b, ...sides] : [];
};

/** Tensors of one constant: the later ones are made the first, so that they stay one weight. */
function ties(state: readonly StateEntry[]): string[] {
  const first = new Map<string, StateEntry>();
  return state.flatMap((entry): string[] => {
    const known = first.get(entry.name);
    if (!known) {
      first.set(entry.name, entry);
      return [];
    }
    if (known.layout !== entry.layout)
      throw new DiagnosticError(
        'export/operator',
        `weight ${entry.name}`,
        `it is used as ${known.key} and as ${entry.key}, which hold it in different layouts`,
      );
    return [`tie(self, ${quoted(entry.key)}, ${quoted(known.key)})`];
  });
}

/** @param name of the model */
export function writeModule(network: Network, plan: Plan): Module {
  const drafts = network.units.map((unit) => draftOf(unit, network));
  const name = className(plan.model.name);
  const classes = classesOf(drafts, new Set([name, 'Tensor', 'ReversibleSequence']));
  const instances = new Map(
    classes.flatMap((c) => c.instances.map((i) => [i.draft.unit, i] as const)),
  );
  const { init, forward, operands, state } = new ModelWriter(network, instances).write(
    stagesOf(network.units),
  );
  const trained = new Set([...network.trained]);
  const tied = ties(state.filter(({ value }) => trained.has(value)));
  const usesMode = forward.some((line) => line.includes('mode=mode'));
  const mode =
    { reverse: 'reversible', recompute: 'checkpoint', store: 'stored' }[plan.assumptions.policy] ??
    'reversible';
  const text = [
    ...header(plan, classes.map((c) => c.text.join('\n')).join('\n'), tied.length > 0),
    ...classes.flatMap((c) => ['', '', ...c.text]),
    '',
    '',
    `class ${name}(nn.Module):`,
    `    """The whole network, up to what the loss takes."""`,
    '',
    `    def __init__(self, mode: str = '${mode}') -> None:`,
    '        super().__init__()',
    '        #: One of MODES: what is kept for the backward pass.',
    '        self.mode = mode',
    ...init.map((line) => `        ${line}`),
    ...tied.map((line) => `        ${line}`),
    '',
    `    def forward(self${operands.map((o) => `, ${o}: Tensor`).join('')}) -> Tensor:`,
    ...(usesMode ? ['        mode = self.mode'] : []),
    ...forward.map((line) => `        ${line}`),
    ...footer(name, mode),
  ];
  return { className: name, text: `${wrappedAll(text).join('\n')}\n`, state };
}

function header(plan: Plan, body: string, tied: boolean): string[] {
  const { name, source } = plan.model;
  const uses = (word: string): boolean => body.includes(word);
  const typing = ['Tuple', 'Union'].filter(uses);
  return [
    `"""${name}: the reversible network that revnetify made of ${source}, recipe ${plan.recipe}.`,
    '',
    'Every residual function f turns two streams (a, b) into (b, a + f(b)).',
    '"""',
    'from __future__ import annotations',
    '',
    'import os',
    `from typing import ${['Optional', ...typing].sort().join(', ')}`,
    '',
    'import torch',
    ...(uses('F.') ? ['import torch.nn.functional as F'] : []),
    'from torch import Tensor, nn',
    '',
    `from .reversible import ReversibleSequence, recomputed${tied ? ', tie' : ''}`,
    'from .weights import read_safetensors',
    '',
    `WEIGHTS = os.path.join(os.path.dirname(os.path.abspath(__file__)), 'weights.safetensors')`,
  ];
}

const footer = (name: string, mode: string): string[] => [
  '',
  '',
  `def build_model(mode: str = '${mode}', weights: Optional[str] = WEIGHTS) -> ${name}:`,
  '    """The network with the weights of a file; None leaves them as PyTorch draws them.',
  '',
  "    mode 'reversible' rebuilds activations backwards, 'checkpoint' keeps the input of each unit,",
  "    'stored' keeps everything: the same network, the same gradients.",
  '    """',
  `    model = ${name}(mode)`,
  '    if weights is not None:',
  '        model.load_state_dict(read_safetensors(weights)[0])',
  '    return model',
];
