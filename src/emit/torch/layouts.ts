// Layouts of weights: a constant of the model as a tensor of the module, and back. Invariant: transposing twice gives the
// same bytes.

import { ELEMENT_BYTES, elementCount } from '../../ir/index.js';
import type { ConstantData } from '../../ir/index.js';
import type { Layout } from './writing.js';

/** Shape of the tensor that holds a constant of these dims. */
export function moduleShape(dims: readonly number[], layout: Layout): readonly number[] {
  if (layout === 'flat') return [elementCount(dims)];
  return layout === 'transposed' ? [...dims].reverse() : dims;
}

/** A matrix with rows and columns exchanged, as bytes. */
export function transposed(data: ConstantData): Uint8Array {
  const [rows = 0, columns = 0] = data.dims;
  return exchange(data.bytes(), rows, columns, ELEMENT_BYTES[data.dtype]);
}

/** @param width bytes of an element */
function exchange(from: Uint8Array, rows: number, columns: number, width: number): Uint8Array {
  const to = new Uint8Array(from.length);
  if (width === 4 && from.byteOffset % 4 === 0) {
    const [a, b] = [from, to].map((x) => new Uint32Array(x.buffer, x.byteOffset, x.length / 4));
    if (a && b)
      for (let i = 0; i < rows; i++)
        for (let j = 0; j < columns; j++) b[j * rows + i] = a[i * columns + j] ?? 0;
    return to;
  }
  for (let i = 0; i < rows; i++)
    for (let j = 0; j < columns; j++) {
      const at = (i * columns + j) * width;
      to.set(from.subarray(at, at + width), (j * rows + i) * width);
    }
  return to;
}

/** The floats of a module's tensor in the layout of the model. @param dims of the constant in the model */
export function modelFloats(
  data: Float32Array,
  dims: readonly number[],
  layout: Layout,
): Float32Array {
  if (layout !== 'transposed') return data;
  const [rows = 0, columns = 0] = dims;
  const bytes = new Uint8Array(data.buffer, data.byteOffset, data.byteLength);
  return new Float32Array(exchange(bytes, columns, rows, 4).buffer);
}
