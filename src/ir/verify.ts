// What a well-formed model is: a numbered list of rules. In: a model. Out: every problem, with rule, place and
// reason. Invariant: each rule takes time linear in the size of the graph, so that it can run after every pass.

import { DiagnosticError } from '../diagnostics/index.js';
import type { Graph } from './graph.js';
import type { Model } from './model.js';
import { number } from './node.js';
import type { Node, Value } from './node.js';
import { sameShape } from './tensor.js';

export interface Problem {
  /** "R3 uses-mirror-operands" */
  readonly rule: string;
  /** The node or value. */
  readonly where: string;
  readonly message: string;
}

interface Context {
  readonly graph: Graph;
  /** Every value that the graph defines, in order; one that is defined twice is listed twice. */
  readonly values: readonly Value[];
  readonly isDefined: (value: Value) => boolean;
}

type Report = (where: string, message: string) => void;

interface Rule {
  readonly id: number;
  readonly name: string;
  readonly check: (context: Context, report: Report) => void;
}

const ofNode = (node: Node): string => `node ${node.name} (${node.op})`;
const ofValue = (value: Value): string => `value ${value.name}`;

const rule = (id: number, name: string, check: Rule['check']): Rule => ({ id, name, check });

/** The rules in the order they are checked. Numbers are never given anew. */
export const RULES: readonly Rule[] = [
  rule(1, 'unique-value-names', ({ values }, report) => {
    const names = new Set<string>();
    let owners: Map<string, Value> | undefined;
    for (const value of values) {
      const { name } = value;
      if (name === '') report(ofValue(value), 'it has no name');
      const before = names.size;
      if (names.add(name).size > before) continue;
      // Only a broken model comes here: the first value of each name.
      owners ??= new Map([...values].reverse().map((v) => [v.name, v]));
      report(
        ofValue(value),
        owners.get(name) === value ? 'it is defined twice' : 'another value has the same name',
      );
    }
  }),
  rule(2, 'outputs-mirror-producers', ({ graph, values }, report) => {
    for (const node of graph.nodes)
      node.outputs.forEach((value, index) => {
        if (value && (value.producer !== node || value.outputIndex !== index))
          report(ofNode(node), `output ${index} (${value.name}) names another producer`);
      });
    for (const value of values)
      if (value.producer && value.producer.outputs[value.outputIndex] !== value)
        report(ofValue(value), `its producer ${value.producer.name} does not produce it`);
  }),
  rule(3, 'uses-mirror-operands', ({ graph, values, isDefined }, report) => {
    const reads = new Uint32Array(values.length);
    for (const node of graph.nodes)
      for (const value of node.reads)
        if (value && isDefined(value)) reads[value.place] = (reads[value.place] ?? 0) + 1;
    for (const value of values) {
      value.forEachUse(({ node, index }) => {
        const operand = index >= 0 ? node.inputs[index] : node.captures[-1 - index];
        if (!graph.has(node))
          report(ofValue(value), `it is used by ${ofNode(node)}, which is not in the graph`);
        else if (operand !== value)
          report(ofValue(value), `${ofNode(node)} does not read it as operand ${index}`);
      });
      // Each use is another operand, so equal numbers mean equal sets.
      const count = reads[value.place] ?? 0;
      if (value.useCount !== count)
        report(ofValue(value), `it has ${value.useCount} uses and is read ${count} times`);
    }
  }),
  rule(4, 'operands-defined', ({ graph, isDefined }, report) => {
    for (const node of graph.nodes)
      for (const value of node.reads)
        if (value && !isDefined(value))
          report(ofNode(node), `operand ${value.name} is not an input, constant or result`);
  }),
  rule(5, 'producers-before-users', ({ graph }, report) => {
    number(graph.nodes);
    let at = 0;
    for (const node of graph.nodes) {
      for (const value of node.reads) {
        const producer = value?.producer;
        if (producer && producer.place >= at && graph.has(producer))
          report(ofNode(node), `it reads ${value.name} before ${producer.name} computes it`);
      }
      at++;
    }
  }),
  rule(6, 'graph-outputs-defined', ({ graph, isDefined }, report) => {
    for (const value of graph.outputs)
      if (!isDefined(value)) report(`output ${value.name}`, 'nothing in the graph defines it');
  }),
  rule(7, 'nodes-named', ({ graph }, report) => {
    for (const node of graph.nodes) {
      if (node.op === '') report(`node ${node.name}`, 'it has no operator');
      if (node.name === '') report(ofNode(node), 'it has no name');
    }
  }),
  rule(8, 'constants-match-types', ({ graph }, report) => {
    for (const value of graph.constants) {
      const { constant, type } = value;
      if (!constant) report(ofValue(value), 'it is listed as a constant and has no data');
      else if (type && type.dtype !== constant.dtype)
        report(ofValue(value), `its type is ${type.dtype}, its data ${constant.dtype}`);
      else if (type?.shape && !sameShape(type.shape, constant.dims))
        report(
          ofValue(value),
          `its shape is [${type.shape.join()}], its data [${constant.dims.join()}]`,
        );
    }
  }),
  rule(9, 'inputs-and-constants-have-no-producer', ({ graph }, report) => {
    for (const value of [...graph.inputs, ...graph.constants])
      if (value.producer) report(ofValue(value), `${ofNode(value.producer)} computes it`);
  }),
];

/** Every rule the model breaks; empty = well formed. */
export function verifyGraph(model: Model): Problem[] {
  const { graph } = model;
  const values = graph.values();
  number(values);
  const isDefined = (value: Value): boolean => values[value.place] === value;
  const context: Context = { graph, values, isDefined };
  const problems: Problem[] = [];
  for (const { id, name, check } of RULES)
    check(context, (where, message) => problems.push({ rule: `R${id} ${name}`, where, message }));
  return problems;
}

/** How many problems a message names. */
const NAMED = 3;

/** Problems as one text: the first few, with their rules. */
export function describeProblems(problems: readonly Problem[]): string {
  const list = problems.slice(0, NAMED).map((p) => `${p.rule}: ${p.where}: ${p.message}`);
  if (problems.length > NAMED) list.push(`and ${problems.length - NAMED} more`);
  return list.join('; ');
}

/** @throws DiagnosticError pass/failed naming the pass, the rule and the node */
export function assertValid(model: Model, afterPass?: string): void {
  const problems = verifyGraph(model);
  const [first] = problems;
  if (!first) return;
  const where = afterPass === undefined ? first.where : `pass ${afterPass}, ${first.where}`;
  throw new DiagnosticError('pass/failed', where, describeProblems(problems));
}
