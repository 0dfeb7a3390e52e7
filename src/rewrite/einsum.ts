// Einsum written out: every product of two operands becomes a MatMul or a Mul between Transposes and Reshapes. In: a
// typed node. Out: its result, made of operators that have gradients and known axes. Invariant: an extent that is a
// symbol is never spelled: leading axes are copied, and at most one joined axis is left open.

import { DiagnosticError } from '../diagnostics/index.js';
import { ints, int } from '../ir/index.js';
import type { Dim, Node, Value } from '../ir/index.js';
import type { Builder } from '../ops/index.js';

/** An operand on its way: one label an axis. */
interface Term {
  readonly value: Value;
  readonly labels: readonly string[];
}

interface Equation {
  readonly terms: readonly (readonly string[])[];
  readonly result: readonly string[];
}

function refuse(node: Node, why: string): never {
  throw new DiagnosticError('op/unsupported', `node ${node.name} (Einsum)`, why);
}

/** Labels of one side: letters, and "…1", "…0" for the axes that an ellipsis stands for, counted from the end. */
function labelsOf(text: string, hidden: number): string[] {
  const dots = Array.from({ length: hidden }, (_, i) => `…${hidden - 1 - i}`);
  const [before = '', after = ''] = text.split('...');
  return [...Array.from(before), ...(text.includes('...') ? dots : []), ...Array.from(after)];
}

/** @throws DiagnosticError op/unsupported when the equation does not fit the ranks */
function parseEquation(node: Node, ranks: readonly number[]): Equation {
  const equation = node.attributes.string('equation', '').replaceAll(' ', '');
  const [left = '', right] = equation.split('->');
  const sides = left.split(',');
  if (sides.length !== ranks.length)
    refuse(node, `"${equation}" names ${sides.length} operands, it has ${ranks.length}`);
  const named = /^[A-Za-z]*(\.\.\.)?[A-Za-z]*$/;
  if (![...sides, right ?? ''].every((side) => named.test(side)))
    refuse(node, `its equation "${equation}" cannot be read`);
  let most = 0;
  const terms = sides.map((side, i) => {
    const letters = side.replace('...', '').length;
    const hidden = (ranks[i] ?? 0) - letters;
    if (hidden < 0 || (hidden > 0 && !side.includes('...')))
      refuse(node, `"${side}" does not fit operand ${i} of rank ${ranks[i]}`);
    most = Math.max(most, hidden);
    const labels = labelsOf(side, hidden);
    if (new Set(labels).size < labels.length)
      refuse(node, `"${side}" takes a diagonal, which is not supported`);
    return labels;
  });
  if (right !== undefined) return { terms, result: labelsOf(right, most) };
  // Left out: the ellipsis, then every letter that stands once, in order.
  const letters = Array.from(left.replaceAll(/[.,]/g, ''));
  const once = letters.filter((c) => letters.indexOf(c) === letters.lastIndexOf(c)).sort();
  return { terms, result: [...labelsOf(left.includes('...') ? '...' : '', most), ...once] };
}

class Writer {
  constructor(
    private readonly node: Node,
    private readonly b: Builder,
  ) {}

  /** The term with its axes in this order; labels it lacks become axes of 1. */
  arrange({ value, labels }: Term, order: readonly string[]): Value {
    const own = order.filter((label) => labels.includes(label));
    const perm = own.map((label) => labels.indexOf(label));
    const moved = perm.every((p, i) => p === i)
      ? value
      : this.b.op('Transpose', [value], { attributes: { perm: ints(perm) } });
    const missing = order.flatMap((label, i) => (labels.includes(label) ? [] : [i]));
    return missing.length > 0 ? this.b.op('Unsqueeze', [moved, this.b.ints(...missing)]) : moved;
  }

  /** Sums over the labels that nobody needs any more. */
  sumOut({ value, labels }: Term, needed: ReadonlySet<string>): Term {
    const axes = labels.flatMap((label, i) => (needed.has(label) ? [] : [i]));
    if (axes.length === 0) return { value, labels };
    const sum = this.b.op('ReduceSum', [value, this.b.ints(...axes)], {
      attributes: { keepdims: int(0) },
    });
    return { value: sum, labels: labels.filter((label) => needed.has(label)) };
  }

  /** A Reshape whose first `kept` axes stay as they are. */
  private reshape(value: Value, kept: number, groups: readonly (readonly Dim[])[]): Value {
    const target = groups.map((dims) =>
      dims.every((d) => typeof d === 'number') ? dims.reduce((n, d) => n * d, 1) : -1,
    );
    if (target.filter((d) => d < 0).length > 1)
      throw new DiagnosticError(
        'shape/unknown',
        `node ${this.node.name} (Einsum)`,
        `more than one extent of ${value.name} [${value.shape?.join(',') ?? '…'}] is open`,
      );
    return this.b.op('Reshape', [
      value,
      this.b.ints(...new Array<number>(kept).fill(0), ...target),
    ]);
  }

  private dims({ value, labels }: Term, of: readonly string[]): Dim[] {
    return of.map((label) => value.shape?.[labels.indexOf(label)] ?? '?');
  }

  /** The product of two terms, summed over what is not needed; its labels come in the order it was made. */
  multiply(x: Term, y: Term, needed: ReadonlySet<string>): Term {
    const shared = x.labels.filter((label) => y.labels.includes(label));
    // An axis of 1 beside a longer one is repeated: there is nothing to sum over together.
    const summed = shared.filter((label) => !needed.has(label));
    const both = new Set([...needed, ...shared]);
    const a = this.sumOut(x, both);
    const c = this.sumOut(y, both);
    const batch = shared.filter((label) => needed.has(label));
    const rows = a.labels.filter((label) => !shared.includes(label));
    const columns = c.labels.filter((label) => !shared.includes(label));
    const labels = [...batch, ...rows, ...columns];
    if (summed.length === 0)
      return {
        value: this.b.op('Mul', [this.arrange(a, labels), this.arrange(c, labels)]),
        labels,
      };
    // A layer: one matrix on the right, any axes on the left. Nothing has to be reshaped.
    if (batch.length === 0 && summed.length === 1 && columns.length === 1)
      return { value: this.product(a, [...rows, ...summed], c, [...summed, ...columns]), labels };
    if (batch.length === 0 && summed.length === 1 && rows.length === 1)
      return {
        value: this.product(c, [...columns, ...summed], a, [...summed, ...rows]),
        labels: [...columns, ...rows],
      };
    const simple = rows.length === 1 && columns.length === 1 && summed.length === 1;
    const left = this.arrange(a, [...batch, ...rows, ...summed]);
    const right = this.arrange(c, [...batch, ...summed, ...columns]);
    if (simple) return { value: this.b.op('MatMul', [left, right]), labels };
    const kept = batch.length;
    const product = this.b.op('MatMul', [
      this.reshape(left, kept, [this.dims(a, rows), this.dims(a, summed)]),
      this.reshape(right, kept, [this.dims(c, summed), this.dims(c, columns)]),
    ]);
    const apart = [...this.dims(a, rows), ...this.dims(c, columns)].map((d) => [d]);
    return { value: this.reshape(product, kept, apart), labels };
  }

  private product(a: Term, left: readonly string[], c: Term, right: readonly string[]): Value {
    return this.b.op('MatMul', [this.arrange(a, left), this.arrange(c, right)]);
  }
}

/**
 * Builds what an Einsum node computes.
 * @returns its result, in the order of axes the equation asks for
 * @throws DiagnosticError op/unsupported (diagonals, a broken equation), shape/unknown
 */
export function writeOutEinsum(node: Node, b: Builder): Value {
  const ranks = node.inputs.map(
    (value) => value?.shape?.length ?? refuse(node, 'the rank of an operand is not known'),
  );
  const { terms, result } = parseEquation(node, ranks);
  const writer = new Writer(node, b);
  const rest = terms.map((labels, i): Term => ({ value: node.input(i), labels }));
  let [sum] = rest;
  if (!sum) return refuse(node, 'it has no operands');
  if (rest.length === 1) sum = writer.sumOut(sum, new Set(result));
  for (let i = 1; i < rest.length; i++) {
    const later = rest.slice(i + 1).flatMap((term) => term.labels);
    sum = writer.multiply(sum, rest[i] as Term, new Set([...result, ...later]));
  }
  const { labels } = sum;
  const unknown = result.find((label) => !labels.includes(label));
  if (unknown !== undefined) refuse(node, `no operand has the axis ${unknown} of its result`);
  return writer.arrange(sum, result);
}
