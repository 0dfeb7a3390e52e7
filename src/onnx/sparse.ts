// SparseTensorProto → ConstantData: a dense view of a sparse initializer, made on demand. Invariant: indices
// outside the dims are an error, never a write outside.

import { Tensor, elementCount, encodeElements } from '../ir/index.js';
import type { ConstantData, DataType } from '../ir/index.js';
import { decode, toNumber } from './codec.js';
import type { ExternalFiles } from './external.js';
import { TensorData } from './tensor-data.js';
import { concat, damaged, inside, scan } from './wire.js';
import type { Span } from './wire.js';

export class SparseData implements ConstantData {
  readonly dims: readonly number[];
  private readonly values: TensorData;
  private readonly indices: TensorData;

  constructor(
    readonly span: Span,
    files: ExternalFiles,
  ) {
    const fields = scan(span);
    const part = (number: number): TensorData => {
      const field = fields.find((f) => f.number === number);
      if (!field) throw damaged(span.source, 'a sparse tensor lacks its values or indices');
      return new TensorData(inside(field), files);
    };
    this.values = part(1);
    this.indices = part(2);
    const dims = fields.filter((f) => f.number === 3);
    const message = decode('SparseTensorProto', concat(dims), span.source.label);
    this.dims = (message.dims ?? []).map(toNumber);
    if (this.dims.some((d) => d < 0))
      throw damaged(span.source, 'a sparse tensor has negative dims');
  }

  get name(): string {
    return this.values.name;
  }
  get dtype(): DataType {
    return this.values.dtype;
  }

  load(): Tensor {
    const values = this.values.load();
    const indices = this.indices.load();
    const size = elementCount(this.dims);
    if (size > 2 ** 31) throw damaged(this.span.source, `sparse tensor ${this.name} is too large`);
    const out = new Float64Array(size);
    const rank = indices.dims.length === 2 ? (indices.dims[1] ?? 1) : 1;
    for (let i = 0; i < values.size; i++) {
      let at = 0;
      for (let axis = 0; axis < rank; axis++) {
        const index = indices.data[i * rank + axis] ?? -1;
        const extent = rank === 1 ? size : (this.dims[axis] ?? 0);
        if (index < 0 || index >= extent)
          throw damaged(this.span.source, `sparse tensor ${this.name} has an index out of range`);
        at = at * extent + index;
      }
      out[at] = values.data[i] ?? 0;
    }
    return new Tensor(this.dtype, this.dims, out);
  }

  bytes(): Uint8Array {
    return encodeElements(this.dtype, this.load().data);
  }
}
