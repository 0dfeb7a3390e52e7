// Patterns over nodes, written like the code they match: op.Add(op.Conv(x, w, { group: 1 }), x). In: a function of
// operators and variables. Out: a pattern. Invariant: a pattern says nothing about names or about the order of
// nodes in the file, only about operators, operands and attributes.

import { DiagnosticError } from '../diagnostics/index.js';

/** Stands for any value; the same variable stands for the same value everywhere. */
export class Variable {
  constructor(readonly name: string) {}
}

type Scalar = number | string;
/** What an attribute must be: equal to a value, or accepted by a function (undefined = not there). */
export type AttributePattern =
  Scalar | readonly Scalar[] | ((value: Scalar | readonly Scalar[] | undefined) => boolean);

/** One operand: a pattern, a constant all of whose elements are this number, or one that is left out. */
export type OperandPattern = Variable | NodePattern | number | undefined;

/** An operator applied to operands. */
export class NodePattern {
  constructor(
    /** '' = ai.onnx */
    readonly domain: string,
    readonly op: string,
    readonly operands: readonly OperandPattern[],
    readonly attributes: Readonly<Record<string, AttributePattern>>,
    readonly label?: string,
    /** Which of its results is meant. */
    readonly result = 0,
    /** The pattern this one is another result of: both stand for the same node. */
    readonly origin?: NodePattern,
  ) {}

  /** The same under a name by which the node is found after a match: node('conv'). */
  as(label: string): NodePattern {
    const { domain, op, operands, attributes, result } = this;
    return new NodePattern(domain, op, operands, attributes, label, result);
  }

  /** Another result of the same node. */
  output(index: number): NodePattern {
    const { domain, op, operands, attributes, label } = this;
    return new NodePattern(domain, op, operands, attributes, label, index, this.node);
  }

  /** What stands for the node, whichever result is meant. */
  get node(): NodePattern {
    return this.origin ?? this;
  }
}

/** Operands, and attributes as an object at the end. */
type MakeNode = (
  ...parts: (OperandPattern | Readonly<Record<string, AttributePattern>>)[]
) => NodePattern;

/** Names that editors complete; any other name is allowed too. */
type Known =
  | 'Abs' | 'Add' | 'And' | 'ArgMax' | 'AveragePool' | 'BatchNormalization' | 'Cast' | 'Clip'
  | 'Concat' | 'Constant' | 'ConstantOfShape' | 'Conv' | 'ConvTranspose' | 'Div' | 'Dropout'
  | 'Elu' | 'Equal' | 'Erf' | 'Exp' | 'Expand' | 'Flatten' | 'Gather' | 'Gelu' | 'Gemm'
  | 'GlobalAveragePool' | 'GlobalMaxPool' | 'Greater' | 'HardSigmoid' | 'HardSwish' | 'Identity'
  | 'InstanceNormalization' | 'LayerNormalization' | 'LeakyRelu' | 'Less' | 'Log' | 'LogSoftmax'
  | 'MatMul' | 'Max' | 'MaxPool' | 'Mean' | 'Min' | 'Mul' | 'Neg' | 'Not' | 'PRelu' | 'Pad' | 'Pow'
  | 'Reciprocal' | 'ReduceMax' | 'ReduceMean' | 'ReduceSum' | 'Relu' | 'Reshape' | 'Resize'
  | 'Shape' | 'Sigmoid' | 'Slice' | 'Softmax' | 'Softplus' | 'Split' | 'Sqrt' | 'Squeeze' | 'Sub'
  | 'Sum' | 'Tanh' | 'Transpose' | 'Unsqueeze' | 'Where'; // prettier-ignore

/** op.Conv(x, w); operators of other domains as op['com.microsoft.FusedMatMul'](a, b). */
export type Operators = Readonly<Record<Known, MakeNode>> & Readonly<Record<string, MakeNode>>;
/** Any name is a variable: (op, { x, w }) => … */
export type Variables = Readonly<Record<string, Variable>>;

export type PatternFunction = (op: Operators, variables: Variables) => NodePattern;

/** @throws DiagnosticError pass/invalid */
export function makePattern(pass: string, match: PatternFunction): NodePattern {
  const variables = new Map<string, Variable>();
  const variable = (name: string): Variable => {
    const known = variables.get(name) ?? new Variable(name);
    variables.set(name, known);
    return known;
  };
  const bad = (why: string): DiagnosticError =>
    new DiagnosticError('pass/invalid', `rewrite ${pass}, match`, why);
  let pattern: unknown;
  try {
    pattern = match(
      named((name) => nodeMaker(name, bad)) as Operators,
      named(variable) as Variables,
    );
  } catch (error) {
    if (error instanceof DiagnosticError) throw error;
    throw bad(`it threw ${error instanceof Error ? error.message : String(error)}`);
  }
  if (pattern instanceof NodePattern) return pattern;
  throw bad(
    pattern instanceof Variable
      ? 'it is a variable alone, which matches everything'
      : 'it does not return a pattern such as op.Relu(x); is a return missing?',
  );
}

/** An object that has something under every name. */
const named = (make: (name: string) => unknown): object =>
  new Proxy({}, { get: (_, key) => (typeof key === 'string' ? make(key) : undefined) });

function nodeMaker(name: string, bad: (why: string) => DiagnosticError): MakeNode {
  const dot = name.lastIndexOf('.');
  const [domain, op] = [name.slice(0, Math.max(dot, 0)), name.slice(dot + 1)];
  return (...parts) => {
    const operands: OperandPattern[] = [];
    let attributes: Readonly<Record<string, AttributePattern>> = {};
    parts.forEach((part, index) => {
      if (isOperand(part)) operands.push(part);
      else if (typeof part === 'object' && index === parts.length - 1) attributes = part;
      else throw bad(`operand ${index} of op.${name} is ${describe(part)}`);
    });
    return new NodePattern(domain === 'ai.onnx' ? '' : domain, op, operands, attributes);
  };
}

const isOperand = (part: unknown): part is OperandPattern =>
  part === undefined ||
  typeof part === 'number' ||
  part instanceof Variable ||
  part instanceof NodePattern;

function describe(part: unknown): string {
  if (typeof part === 'function') return 'a function: call it, as in op.Relu(x)';
  if (typeof part === 'object') return 'an object: attributes come last';
  return `${JSON.stringify(part)}, which is neither a pattern nor a number`;
}
