// What the time of a convolution gradient is made of: counted here, weighted by conv-costs.ts (measured, for the CPU) or by
// the few constants below (not measured, for every other device). In: a geometry. Out: quantities, never nanoseconds.
// Invariant: a form counts the same terms for every geometry, so that each can have one coefficient.

import { elementCount } from '../ir/index.js';
import type { ConvGeometry } from '../ops/conv-geometry.js';

/** What is counted, by what ONNX Runtime's CPU kernels do. */
export type Term =
  /** Multiply-adds of matrix products. */
  | 'work'
  /** Elements of their right factors, laid out anew for the vector units: what a product of few rows costs. */
  | 'packed'
  /** Matrix products begun. */
  | 'products'
  /** Columns (im2col) that a Conv writes block by block, or that a ConvTranspose adds up. */
  | 'columns'
  /** The same where it has more filters than positions, and one thread writes them all beforehand. */
  | 'whole'
  /** Elements copied in runs: whole planes, pads. */
  | 'moved'
  /** Elements that a Transpose copies one by one, since the innermost axis changes. */
  | 'turned'
  /** Elements copied one by one to where they belong: by a Slice that leaves some out, a Transpose of several axes. */
  | 'picked'
  /** Elements that the Slices of taps cut out of planes, row by row. */
  | 'cut'
  /** Runs that the Slices of taps copy, or rows that columns are written in: short ones cost more. */
  | 'runs'
  /** Elements of a weight that is reversed, which a Slice does slowly. */
  | 'reversed'
  /** Elements of the products of single images, which are added up. */
  | 'summed'
  /** Kernels launched. */
  | 'kernels';

export type Terms = Readonly<Partial<Record<Term, number>>>;

/** Nanoseconds per unit of each term, by the name of the form. */
export type FormCosts = Readonly<Record<string, Terms>>;

/** The measured table, and what it was measured on. */
export interface ConvCosts {
  readonly measured: {
    readonly processor: string;
    readonly threads: number;
    readonly onnxruntime: string;
    readonly date: string;
  };
  readonly forms: FormCosts;
}

/** MLAS computes this many columns of a product at a time. */
const LANES = 16;

/** `count` matrix products [rows × depth] · [depth × columns]. */
export const products = (
  count: number,
  [rows, depth, columns]: readonly [number, number, number],
): { work: number; packed: number; products: number } => ({
  work: count * rows * depth * LANES * Math.ceil(columns / LANES),
  packed: count * depth * columns,
  products: count,
});

/**
 * `count` convolutions of one image and group each: a product, after its right factor was written.
 * @param width of the result, 0 for a 1x1 kernel: then the image is the right factor as it lies
 */
export function convolutions(
  count: number,
  size: readonly [number, number, number],
  width: number,
): Terms {
  const product = products(count, size);
  const [rows, , columns] = size;
  const written = width > 0 ? product.packed : 0;
  const isWhole = rows > columns;
  return {
    ...product,
    columns: isWhole ? 0 : written,
    whole: isWhole ? written : 0,
    runs: written / Math.max(1, width),
  };
}

/** Elements and multiply-adds of a geometry. */
export interface Sizes {
  readonly x: number;
  /** X cut to what one kernel tap sees. */
  readonly seen: number;
  readonly y: number;
  readonly w: number;
  readonly work: number;
  /** The products of single images, before they are added up. */
  readonly perImage: number;
}

export function sizesOf(g: ConvGeometry): Sizes {
  const plane = elementCount(g.output);
  const pairs = (g.outChannels * g.inChannels) / g.group;
  return {
    x: g.batch * g.inChannels * elementCount(g.input),
    seen: g.batch * g.inChannels * plane,
    y: g.batch * g.outChannels * plane,
    w: pairs * elementCount(g.kernel),
    work: g.batch * pairs * elementCount(g.kernel) * plane,
    perImage: g.batch * pairs,
  };
}

/** Not measured: moving one element through memory costs about as much as this many multiply-adds. */
export const MOVE = 30;

/** Not measured: multiply-adds of a product that has only `rows` rows (or columns) to fill the vector units with. */
export const narrowWork = (work: number, rows: number): number => work * (1 + 16 / rows);
