// One unit of the network as the body of a class. In: its nodes, what it reads and gives. Out: statements and parts, with
// holes for sizes. Invariant: a variable's name is taken over by what is computed from it as soon as nothing else
// reads it, so that Python lets go of it as the schedule does.

import { elementCount } from '../../ir/index.js';
import type { Attributes, Dim, Node, Shape, Value } from '../../ir/index.js';
import { Code, floatSize, listed, numberText, py, size } from './code.js';
import type { Network, NetworkUnit } from './network.js';
import { TORCH_TYPES } from './ops/layout.js';
import { writerOf } from './ops/index.js';
import { partOf, unsupported } from './writing.js';
import type { Holding, Part, Writing } from './writing.js';
import { variableOf } from './names.js';

/** The body of a module, before it is known which sizes its class takes as arguments. */
export interface Draft {
  readonly unit: NetworkUnit;
  readonly operands: readonly string[];
  readonly parts: readonly Part[];
  readonly statements: readonly Code[];
}

/** Names of what a module is called with. */
function operandNames(unit: NetworkUnit, inputs: readonly Value[]): string[] {
  const { reads, streams } = unit;
  if (streams)
    return reads.map((_, i) => (i === 0 ? 'b' : reads.length === 2 ? 'side' : `side${i}`));
  if (reads.length === 2 && unit.kind !== 'stem' && !reads.some((v) => inputs.includes(v)))
    return ['a', 'b'];
  return reads.map((_, i) => NAMES[i] ?? `x${i}`);
}

const NAMES = ['x', 'y', 'z', 'u', 'v', 'w'];
/** Names of operands that stay what they are. */
const isKept = (name: string): boolean => name === 'a' || name === 'b' || name.startsWith('side');

export function draftOf(unit: NetworkUnit, network: Network): Draft {
  return new UnitWriter(unit, network).write();
}

class UnitWriter {
  private readonly variables = new Map<Value, string>();
  private readonly left = new Map<Value, number>();
  private readonly parts: Part[] = [];
  private readonly tensors = new Map<Value, Code>();
  private readonly statements: Code[] = [];

  constructor(
    private readonly unit: NetworkUnit,
    private readonly network: Network,
  ) {}

  write(): Draft {
    const { unit } = this;
    const operands = operandNames(unit, this.network.inputs);
    unit.reads.forEach((value, i) => this.variables.set(value, operands[i] ?? 'x'));
    for (const node of unit.nodes)
      for (const value of node.inputs)
        if (value) this.left.set(value, (this.left.get(value) ?? 0) + 1);
    for (const value of unit.gives) this.left.set(value, (this.left.get(value) ?? 0) + 1);
    for (const node of unit.nodes) this.writeNode(node);
    const results = unit.gives.map((value) => this.variable(value));
    const last = this.statements.pop();
    const [only] = results;
    // The last value need not have a name.
    const short =
      last && results.length === 1 && only !== undefined ? returned(last, only) : undefined;
    if (short) this.statements.push(short);
    else this.statements.push(...(last ? [last] : []), py`return ${listed(results)}`);
    return { unit, operands, parts: this.parts, statements: this.statements };
  }

  private variable(value: Value): string {
    return variableOf(this.variables, value);
  }

  private writeNode(node: Node): void {
    const writer = writerOf(node);
    if (!writer) throw unsupported(node, 'it has no form in PyTorch yet');
    const used = node.outputs.map((v) => v && (this.left.get(v) ?? 0) > 0);
    if (node.op !== 'Split' && used.some((is, i) => is === true && i > 0))
      throw unsupported(node, 'more than its first result is read');
    const expression = writer(this.writing(node));
    for (const value of node.inputs)
      if (value) this.left.set(value, (this.left.get(value) ?? 1) - 1);
    const names: string[] = [];
    // Values that nothing reads any more hand their names on.
    for (const value of new Set(node.inputs))
      if (value && this.left.get(value) === 0) this.release(value);
    node.outputs.forEach((value, i) => {
      if (value && used[i]) names.push(this.take(value));
      else if (node.op === 'Split') names.push('_');
    });
    const target =
      node.op === 'Split' && names.length === 1 ? `${names[0] ?? ''},` : names.join(', ');
    // What is handed on under its own name.
    if (expression.pieces.length === 1 && expression.pieces[0] === target) return;
    this.statements.push(py`${target} = ${expression}`);
  }

  private release(value: Value): void {
    const name = this.variables.get(value);
    if (name !== undefined && !isKept(name)) this.variables.delete(value);
  }

  private take(value: Value): string {
    const taken = new Set(this.variables.values());
    let name = NAMES.find((free) => !taken.has(free));
    for (let i = 1; name === undefined; i++) if (!taken.has(`x${i}`)) name = `x${i}`;
    this.variables.set(value, name);
    return name;
  }

  private writing(node: Node): Writing {
    return new NodeWriting(node, {
      network: this.network,
      operand: (value) => this.operand(value, node),
      live: () => [...this.variables],
      layer: (fallback, code, holds) =>
        this.addPart({ node, fallback, code, holds, isBuffer: false }),
    });
  }

  private operand(value: Value, node: Node): Code {
    const name = this.variables.get(value);
    if (name !== undefined) return py`${name}`;
    if (value.constant) return this.constant(value, node);
    const known = this.network.contents.get(value);
    if (!known) return py`${this.variable(value)}`;
    const writing = this.writing(node);
    const elements = known.map((d) => writing.extent(d));
    const inner = value.shape?.length === 0 ? py`${elements[0] ?? ''}` : py`[${listed(elements)}]`;
    return py`torch.tensor(${inner}, device=${writing.anchor()}.device)`;
  }

  private constant(value: Value, node: Node): Code {
    const data = value.constant;
    if (!data) throw unsupported(node, `${value.name} is not there`);
    const isTrained = this.network.trained.has(value);
    if (!isTrained && isNumber(node, value)) {
      const number = data.load().data[0] ?? 0;
      if (data.dtype === 'bool') return py`${number ? 'True' : 'False'}`;
      return data.dtype === 'float32'
        ? py`${floatSize(number, 'factor')}`
        : py`${size(number, 'number')}`;
    }
    const known = this.tensors.get(value);
    if (known) return known;
    const type = TORCH_TYPES[data.dtype];
    if (type === undefined) throw unsupported(node, `PyTorch has no ${data.dtype}`);
    const dims = listed(data.dims.map((d) => size(d, 'extent')));
    const shape = data.dims.length === 1 ? dims : py`(${dims})`;
    const isFloat = data.dtype === 'float32';
    const zeros = isFloat ? py`torch.zeros(${shape})` : py`torch.zeros(${shape}, dtype=${type})`;
    const code = isTrained ? py`nn.Parameter(${zeros})` : zeros;
    const part = this.addPart({
      node,
      fallback: isTrained ? 'weight' : 'constant',
      code,
      holds: [{ name: '', value, layout: 'same' }],
      isBuffer: !isTrained,
    });
    this.tensors.set(value, part);
    return part;
  }

  private addPart(part: Part): Code {
    this.parts.push(part);
    return new Code([partOf(this.parts.length - 1)]);
  }
}

/** "x = E" where x is what is returned: "return E". */
function returned(statement: Code, name: string): Code | undefined {
  const [target, equals, ...rest] = statement.pieces;
  return target === name && typeof equals === 'string' && equals.startsWith(' = ')
    ? new Code(['return ', equals.slice(3), ...rest].filter((p) => p !== ''))
    : undefined;
}

/** Whether a constant of one element may stand as a number: it must not add axes to the result. */
function isNumber(node: Node, { constant }: Value): boolean {
  if (!constant || elementCount(constant.dims) !== 1) return false;
  const others = node.inputs.flatMap((v) => (v && !v.constant ? [v.shape?.length ?? 0] : []));
  return constant.dims.length === 0 || constant.dims.length <= Math.max(0, ...others);
}

interface Surroundings {
  readonly network: Network;
  operand(value: Value): Code;
  live(): readonly (readonly [Value, string])[];
  layer(fallback: string, code: Code, holds: readonly Holding[]): Code;
}

class NodeWriting implements Writing {
  readonly attributes: Attributes;

  constructor(
    readonly node: Node,
    private readonly around: Surroundings,
  ) {
    this.attributes = node.attributes;
  }

  has(index: number): boolean {
    return this.node.inputs[index] !== undefined;
  }

  arg(index: number): Code {
    return this.around.operand(this.node.input(index));
  }

  shape(index: number): Shape {
    return this.node.input(index).shape ?? this.fail(`the rank of operand ${index} is not known`);
  }

  outShape(): Shape {
    return this.node.output().shape ?? this.fail('the rank of its result is not known');
  }

  dtype(index: number): string {
    return this.node.input(index).type?.dtype ?? 'float32';
  }

  dims(index: number): readonly Dim[] | undefined {
    const value = this.node.inputs[index];
    return value?.constant?.load().toArray() ?? (value && this.around.network.contents.get(value));
  }

  extent(dim: Dim): Code {
    if (typeof dim === 'number') return py`${size(dim, 'extent')}`;
    const factors = dim.split('*');
    const number = factors.filter((f) => /^\d+$/.test(f)).reduce((n, f) => n * Number(f), 1);
    const symbols = factors.filter((f) => !/^\d+$/.test(f));
    for (const [wanted, factor] of [
      [dim, 1],
      [symbols.join('*'), number],
    ] as const)
      for (const [value, name] of this.around.live()) {
        const axis = value.shape?.indexOf(wanted) ?? -1;
        if (axis < 0) continue;
        const extent = py`${name}.shape[${axis}]`;
        return factor === 1 ? extent : py`${numberText(factor)} * ${extent}`;
      }
    return this.fail(`the extent ${dim} is that of no value at hand`);
  }

  anchor(): Code {
    const live = this.around.live();
    const float = live.find(([value]) => value.type?.dtype === 'float32') ?? live[0];
    return float ? py`${float[1]}` : this.fail('there is no value at hand to take its device from');
  }

  constant(index: number): Value | undefined {
    const value = this.node.inputs[index];
    return value?.constant ? value : undefined;
  }

  scalar(index: number): number | undefined {
    const data = this.constant(index)?.constant;
    return data && elementCount(data.dims) === 1 ? data.load().data[0] : undefined;
  }

  trained(index: number): boolean {
    const value = this.node.inputs[index];
    return value !== undefined && this.around.network.trained.has(value);
  }

  shared(value: Value): boolean {
    return value.uses.length > 1;
  }

  layer(fallback: string, code: Code, holds: readonly Holding[]): Code {
    return this.around.layer(fallback, code, holds);
  }

  fail(why: string): never {
    throw unsupported(this.node, why);
  }
}
