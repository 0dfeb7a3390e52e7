// Where a training went wrong. In: a compiled folder and the state after a step whose loss is not finite. Out: the
// first unit of the network that gave values which are not finite. Invariant: costs nothing until it is asked.
//
// By then every weight may be NaN, so the forward pass cannot be run again. But each batch norm has left mean and
// variance of what it read in its running statistics, and these are finite exactly where all of that was. What went
// wrong lies between the first batch norm whose statistics are not finite and the values known to be finite before it.

import { join } from 'node:path';
import type { Node, Value } from '../src/ir/index.js';
import { readModel } from '../src/onnx/index.js';
import type { Plan } from '../src/plan/index.js';

const FORWARD = 'forward/';

export const isFinite = (values: Float32Array): boolean => {
  // A sum would overflow.
  for (const value of values) if (value - value !== 0) return false;
  return true;
};

/** Weight → the unit that reads it in the forward pass, by the names of train.onnx's nodes. */
export function unitsOfWeights(dir: string, plan: Plan): Map<string, string> {
  const { graph } = readModel(join(dir, plan.model.train));
  // Longest first: one name may begin with another.
  const ids = plan.units.map(({ id }) => id).sort((a, b) => b.length - a.length);
  const units = new Map<string, string>();
  for (const value of graph.inputs)
    for (const { name } of value.users) {
      if (!name.startsWith(FORWARD)) continue;
      const id = ids.find((unit) => name.startsWith(`${FORWARD}${unit}/`));
      if (id !== undefined && !units.has(value.name)) units.set(value.name, id);
    }
  return units;
}

/**
 * @param state present value of a statistic, by name
 * @returns units in the order of the forward pass, the likeliest first; one where batch norms are close enough
 */
export function firstUnits(
  dir: string,
  plan: Plan,
  state: (name: string) => Float32Array,
): string[] {
  const { graph } = readModel(join(dir, plan.model.rev));
  graph.sort();
  const statistics = new Set(plan.inputs.filter((i) => i.role === 'statistic').map((i) => i.name));
  const finite = new Set<Value>(graph.inputs);
  let target = graph.outputs[0];
  for (const node of graph.nodes) {
    if (node.op !== 'BatchNormalization') continue;
    const own = node.inputs.filter((v) => v !== undefined && statistics.has(v.name));
    if (own.length === 0) continue;
    if (own.every((v) => v && isFinite(state(v.name)))) finite.add(node.input(0));
    else {
      target = node.input(0);
      break;
    }
  }
  const between = new Set<Node>();
  const reach = (value: Value | undefined): void => {
    if (value?.producer && !finite.has(value)) between.add(value.producer);
  };
  reach(target);
  for (const node of between) node.inputs.forEach(reach);
  const units = unitsOfWeights(dir, plan);
  const found = [...graph.nodes]
    .filter((node) => between.has(node))
    .flatMap((node) => node.inputs.map((v) => units.get(v?.name ?? '')))
    .filter((unit) => unit !== undefined);
  return [...new Set(found)];
}
