// The network to be written, cut as its plan cuts it. In: a compiled folder. Out: the graph of rev.onnx with its batch
// size open and every other extent known, ending in what the loss takes; its units with their policies. Invariant:
// units are those of the training step, with the same names.

import { createState, findGroupNorm, foldConstants, runPipeline } from '../../../passes/index.js';
import { inferTypes } from '../../analysis/index.js';
import { buildForward } from '../../compiler/index.js';
import type { LoadedFolder } from '../../compiler/index.js';
import { DiagnosticError, invariant } from '../../diagnostics/index.js';
import { cloneModel } from '../../ir/index.js';
import type { Graph, Node, Value } from '../../ir/index.js';
import type { Contents } from '../../ops/index.js';
import type { Plan } from '../../plan/index.js';
import type { ScheduledUnit } from '../../schedule/index.js';
import { findIdioms } from './idioms.js';

/** A half-coupling by the values of the graph that is written. */
interface Streams {
  readonly a: Value;
  readonly b: Value;
  readonly f: Value;
  readonly t: Value;
}

/** One unit of the schedule, as a module. */
export interface NetworkUnit {
  readonly id: string;
  readonly kind: ScheduledUnit['kind'];
  readonly policy: ScheduledUnit['policy'];
  /** In topological order. Of a coupling those of its function alone: t = a + f(b) is not among them. */
  readonly nodes: readonly Node[];
  /** What it reads of others, the stream b of a coupling first. */
  readonly reads: readonly Value[];
  /** What others read of it. */
  readonly gives: readonly Value[];
  readonly streams: Streams | undefined;
}

export interface Network {
  readonly graph: Graph;
  /** Images (or tokens), then side inputs. */
  readonly inputs: readonly Value[];
  readonly output: Value;
  readonly units: readonly NetworkUnit[];
  /** Elements of shape arithmetic. */
  readonly contents: Contents;
  /** Constants that are trained. */
  readonly trained: ReadonlySet<Value>;
}

/** Inputs get the extents the plan was made for, but for an open batch size. */
function bindInputs(graph: Graph, plan: Plan): Value[] {
  const roles = ['images', 'side'] as const;
  return roles.flatMap((role) =>
    plan.inputs.flatMap((input): Value[] => {
      if (input.role !== role) return [];
      const value = graph.inputs.find(({ name }) => name === input.name);
      if (!value) throw mismatch(plan, `it has no input ${input.name}`);
      const [batch] = value.shape ?? [];
      const shape = input.shape.map((d, i) => (i === 0 && typeof batch === 'string' ? batch : d));
      value.type = { dtype: value.type?.dtype ?? 'float32', shape };
      return [value];
    }),
  );
}

const mismatch = (plan: Plan, why: string): DiagnosticError =>
  new DiagnosticError('train/invalid', plan.model.rev, `${why}: it is not what the plan describes`);

/** The loss holds a final softmax. */
function outputOf(graph: Graph, plan: Plan): Value {
  const output = graph.outputs.find(({ name }) => name === plan.outputs.network);
  if (!output) throw mismatch(plan, `it has no output ${plan.outputs.network}`);
  const last = output.producer;
  const isSoftmax = last?.domain === '' && (last.op === 'Softmax' || last.op === 'LogSoftmax');
  return plan.assumptions.loss === 'cross-entropy' && isSoftmax ? last.input(0) : output;
}

/** Names of what an Identity only hands on → the name of what it reads. */
function identities(graph: Graph): Map<string, string> {
  const names = new Map<string, string>();
  for (const node of graph.nodes)
    if (node.op === 'Identity' && node.domain === '')
      names.set(node.output().name, node.input(0).name);
  return names;
}

/** @throws DiagnosticError train/invalid where the folder and its plan do not belong together */
export function networkOf(folder: LoadedFolder, plan: Plan): Network {
  const { rev, chains, settings } = folder;
  // Units as they are where every coupling is reversed; a mode of the module stores or recomputes instead.
  const schedule = buildForward(rev, chains, { ...settings, policy: 'reverse', stored: [] }).units;
  if (schedule.map(({ id }) => id).join() !== plan.units.map(({ id }) => id).join())
    throw mismatch(plan, 'its units have other names (made by another version?)');

  const { model } = cloneModel(rev);
  const { graph } = model;
  const inputs = bindInputs(graph, plan);
  graph.outputs.splice(0, graph.outputs.length, outputOf(graph, plan));
  for (const node of graph.nodes)
    for (const value of node.outputs) if (value) value.type = undefined;
  const handedOn = identities(graph);
  const state = createState(model, settings);
  runPipeline([foldConstants, findGroupNorm], state);
  const weights = new Set(plan.inputs.flatMap((i) => (i.role === 'weight' ? [i.name] : [])));
  const isTrained = (value: Value): boolean => weights.has(value.name);
  graph.removeDead();
  inferTypes(graph);
  findIdioms(graph, isTrained);
  const { contents } = inferTypesOf(graph);
  const [output] = graph.outputs;
  invariant(output, 'a network has an output');

  const byName = new Map<string, Value>();
  for (const value of graph.values()) byName.set(value.name, value);
  const find = (value: Value): Value => {
    let { name } = value;
    for (
      let next = handedOn.get(name);
      !byName.has(name) && next !== undefined;
      next = handedOn.get(name)
    )
      name = next;
    const found = byName.get(name);
    if (!found) throw mismatch(plan, `it has no value ${value.name}`);
    return found;
  };
  const units = new Division(graph, contents).units(schedule, find);
  return {
    graph,
    inputs,
    output,
    units,
    contents,
    trained: new Set([...graph.constants].filter(isTrained)),
  };
}

/** Types of all but what idioms.ts has made, which keep the types they had. */
const inferTypesOf = (graph: Graph): { contents: Contents } => {
  const types = new Map([...graph.values()].map((value) => [value, value.type]));
  const { contents } = inferTypes(graph);
  for (const [value, type] of types) if (!value.type) value.type = type;
  return { contents };
};

/** Nodes to units. */
class Division {
  constructor(
    private readonly graph: Graph,
    private readonly contents: Contents,
  ) {}

  units(schedule: readonly ScheduledUnit[], find: (value: Value) => Value): NetworkUnit[] {
    const owner = new Map<string, number>();
    schedule.forEach((unit, index) => {
      for (const node of unit.nodes)
        for (const value of node.outputs) if (value) owner.set(value.name, index);
    });
    const own: Node[][] = schedule.map(() => []);
    const loose = new Set<Node>();
    for (const node of this.graph.nodes) {
      const index = node.outputs.map((v) => v && owner.get(v.name)).find((i) => i !== undefined);
      if (index === undefined) loose.add(node);
      else own[index]?.push(node);
    }
    const found = schedule.map((unit, index) => this.unit(unit, own[index] ?? [], loose, find));
    return found.filter(({ gives }) => gives.length > 0);
  }

  private unit(
    unit: ScheduledUnit,
    own: readonly Node[],
    loose: ReadonlySet<Node>,
    find: (value: Value) => Value,
  ): NetworkUnit {
    const { id, kind, policy, coupling } = unit;
    if (coupling && kind === 'coupling') {
      const [a, b, f, t] = [coupling.a, coupling.b, coupling.f, coupling.t].map(find);
      invariant(a && b && f && t, 'a coupling has four values');
      const inner = own.filter((node) => node !== t.producer);
      const part = this.part(inner, loose);
      const [given] = part.gives;
      // Otherwise something else is read of the function, and it is a unit like any other.
      if (part.gives.length === 1 && given === f && !part.reads.includes(a)) {
        const reads = [b, ...part.reads.filter((v) => v !== b)];
        return { id, kind, policy, ...part, reads, streams: { a, b, f, t } };
      }
    }
    const part = this.part(own, loose);
    const streams = unit.chain?.couplings.find((c) => c.id === id);
    const order = streams ? [streams.a, streams.b, streams.carried, streams.t].map(find) : [];
    const rank = (v: Value): number => (order.includes(v) ? order.indexOf(v) : order.length);
    const sorted = (values: readonly Value[]): Value[] =>
      [...values].sort((x, y) => rank(x) - rank(y));
    return {
      id,
      kind: kind === 'coupling' ? 'block' : kind,
      policy: policy === 'reverse' ? 'recompute' : policy,
      nodes: part.nodes,
      reads: sorted(part.reads),
      gives: sorted(part.gives),
      streams: undefined,
    };
  }

  /** Nodes that only depend on the batch size belong to whoever reads them, and are written again for each. */
  private part(
    own: readonly Node[],
    loose: ReadonlySet<Node>,
  ): Pick<NetworkUnit, 'nodes' | 'reads' | 'gives'> {
    const inside = new Set<Node>();
    const take = (node: Node): void => {
      if (inside.has(node)) return;
      inside.add(node);
      for (const value of node.inputs)
        if (value?.producer && loose.has(value.producer) && this.isRead(value))
          take(value.producer);
    };
    for (const node of own) if (node.outputs.some((v) => v && this.isRead(v))) take(node);
    const nodes = [...this.graph.nodes].filter((node) => inside.has(node));
    const reads = new Set<Value>();
    for (const node of nodes)
      for (const value of node.inputs)
        if (value && this.isRead(value) && !(value.producer && inside.has(value.producer)))
          reads.add(value);
    const gives = nodes.flatMap((node) =>
      loose.has(node)
        ? []
        : node.outputs.filter((v): v is Value => v !== undefined && this.isGiven(v, inside)),
    );
    return { nodes, reads: [...reads], gives };
  }

  /** Not a constant, and not an extent that is known as an expression. */
  private isRead(value: Value): boolean {
    return !value.constant && !this.contents.has(value);
  }

  private isGiven(value: Value, inside: ReadonlySet<Node>): boolean {
    if (!this.isRead(value)) return false;
    return (
      this.graph.outputs.includes(value) ||
      value.users.some((user) => !inside.has(user) && this.counts(user))
    );
  }

  /** Whether a reader is written at all: shape arithmetic is not. */
  private counts(node: Node): boolean {
    return node.outputs.some((v) => v && this.isRead(v));
  }
}
