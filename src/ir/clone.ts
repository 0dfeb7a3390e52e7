// A copy of a model. In: a model. Out: a second one that shares nothing mutable with it, and the way from values of
// the first to values of the second. Invariant: constants are shared, because their data never changes.

import { invariant } from '../diagnostics/index.js';
import { Model } from './model.js';
import { Node, Value } from './node.js';

export interface ModelCopy {
  readonly model: Model;
  /** The copy of a value. */
  value(original: Value): Value;
}

/** A copy that shares constants (they never change) and nothing else. */
export function cloneModel(original: Model): ModelCopy {
  const model = new Model();
  model.irVersion = original.irVersion;
  model.producerName = original.producerName;
  for (const [domain, version] of original.opsets) model.opsets.set(domain, version);
  for (const [key, text] of original.metadata) model.metadata.set(key, text);
  model.functions = original.functions;
  const { graph } = model;
  graph.name = original.graph.name;
  const values = new Map<Value, Value>();
  const value = (from: Value): Value => {
    const copy = values.get(from);
    invariant(copy, `${from.name} was not copied`);
    return copy;
  };
  for (const input of original.graph.inputs) {
    const copy = graph.addInput(input.name, input.type);
    values.set(input, copy);
    if (input.constant) graph.attachConstant(copy, input.constant);
  }
  for (const constant of original.graph.constants)
    if (!values.has(constant) && constant.constant)
      values.set(constant, graph.addConstant(constant.name, constant.constant));
  for (const node of original.graph.nodes) {
    const copy: Node = graph.addNode({
      op: node.op,
      domain: node.domain,
      overload: node.overload,
      name: node.name,
      inputs: node.inputs.map((v) => v && value(v)),
      outputs: node.outputs.map((v) => v?.name),
      attributes: node.attributes,
      phase: node.phase,
      ...(node.origin === undefined ? {} : { origin: node.origin }),
      ...(node.unit === undefined ? {} : { unit: node.unit }),
    });
    node.captures.forEach((v) => copy.addCapture(value(v)));
    node.outputs.forEach((v, index) => {
      const made = copy.outputs[index];
      if (!v || !made) return;
      made.type = v.type;
      made.stated = v.stated;
      values.set(v, made);
    });
  }
  for (const output of original.graph.outputs) graph.outputs.push(value(output));
  return { model, value };
}
