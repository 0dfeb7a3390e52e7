// Random residual networks. In: a random generator. Out: a model of blocks x + f(x), most of them well formed, with
// everything around them that analysis and rewriting have to see through: taps, operands used twice, broadcasts, shape
// arithmetic, shared weights, several outputs. Invariant: the same generator state gives the same model.

import { InlineData, Model, Tensor, float, int, ints } from '../../src/ir/index.js';
import type { AttributeMap, Value } from '../../src/ir/index.js';
import type { Random } from '../../src/ops/index.js';

/** A value and its extents; the batch is the number it is traced at. */
interface Known {
  readonly value: Value;
  readonly dims: readonly number[];
}

const BATCH = 2;

class Net {
  readonly model = new Model();
  private count = 0;
  /** Everything of the main path so far, for operands out of the ordinary. */
  readonly seen: Known[] = [];

  constructor(readonly random: Random) {
    this.model.graph.name = 'random';
    this.model.opsets.set('', this.chance(0.9) ? 17 : random.integer(7, 21));
  }

  chance(probability: number): boolean {
    return this.random.uniform() < probability;
  }

  pick<T>(first: T, ...others: readonly T[]): T {
    return others[this.random.integer(0, others.length) - 1] ?? first;
  }

  input(dims: readonly number[]): Known {
    const open = this.chance(0.2);
    const batch = this.chance(0.7) ? 'N' : BATCH;
    const shape = dims.map((d, i) => (i === 0 ? batch : open && i >= 2 ? `d${i}` : d));
    return { value: this.model.graph.addInput('x', { dtype: 'float32', shape }), dims };
  }

  weight(dims: readonly number[], scale = 0.3, shift = 0): Value {
    const tensor = this.random.tensor(dims, scale, shift);
    return this.model.graph.addConstant(`w${this.count++}`, new InlineData(tensor));
  }

  int64(...values: number[]): Value {
    return this.model.graph.addConstant(`i${this.count++}`, new InlineData(Tensor.ints(values)));
  }

  op(op: string, inputs: readonly (Value | undefined)[], attributes: AttributeMap = {}): Value {
    const id = this.count++;
    const name = this.chance(0.95) ? `n${id}` : '';
    return this.model.graph.addNode({ op, name, inputs, outputs: [`v${id}`], attributes }).output();
  }

  /** A convolution or matrix product to `to` channels; stride for images. */
  linear(x: Known, to: number, stride = 1): Known {
    const [n = 1, channels = 1, ...space] = x.dims;
    if (x.dims.length !== 4) {
      const last = x.dims.at(-1) ?? 1;
      const value = this.op('MatMul', [x.value, this.weight([last, to])]);
      return { value, dims: [...x.dims.slice(0, -1), to] };
    }
    const group = this.chance(0.2) && channels % 2 === 0 && to % 2 === 0 ? 2 : 1;
    const kernel = this.pick(1, 3, 3);
    const dilation = kernel === 3 ? this.pick(1, 1, 2) : 1;
    const pad = ((kernel - 1) / 2) * dilation;
    const bias = this.chance(0.4) ? [this.weight([to])] : [];
    const weight = this.weight([to, channels / group, kernel, kernel]);
    const value = this.op('Conv', [x.value, weight, ...bias], {
      group: int(group),
      kernel_shape: ints([kernel, kernel]),
      dilations: ints([dilation, dilation]),
      pads: ints([pad, pad, pad, pad]),
      strides: ints([stride, stride]),
    });
    return { value, dims: [n, to, ...space.map((d) => Math.ceil(d / stride))] };
  }

  /** Something that keeps the extents. */
  keep(x: Known): Known {
    const { value, dims } = x;
    const channels = dims[1] ?? 1;
    const vector = (shift: number): Value => this.weight([channels], 0.1, shift);
    const same = (result: Value): Known => ({ value: result, dims });
    switch (this.random.integer(0, 13)) {
      case 0:
      case 1:
        return same(this.op('Relu', [value]));
      case 2:
        if (dims.length < 2) return x;
        return same(
          this.op('BatchNormalization', [value, vector(1), vector(0), vector(0), vector(1)]),
        );
      case 3:
        return same(this.op(this.pick('Sigmoid', 'Tanh', 'Identity', 'LeakyRelu'), [value]));
      case 4: {
        const last = dims.map((d, i) => (i > 0 && this.chance(0.5) ? d : 1));
        const operands = [value, this.weight(this.chance(0.5) ? last : last.slice(1))];
        if (this.chance(0.5)) operands.reverse();
        return same(this.op(this.pick('Add', 'Mul', 'Sub', 'Div'), operands));
      }
      case 5:
        return same(this.op(this.pick('Add', 'Mul', 'Max'), [value, value]));
      case 6: {
        // The shape of another value, gathered and put together again.
        const shape = this.op('Shape', [value]);
        const first = this.op('Gather', [shape, this.int64(0)], { axis: int(0) });
        const rest = this.int64(dims.slice(1).reduce((product, d) => product * d, 1));
        const target = this.op('Concat', [first, rest], { axis: int(0) });
        const flat = this.op('Reshape', [value, target]);
        return same(
          this.op('Reshape', [flat, this.chance(0.5) ? shape : this.int64(-1, ...dims.slice(1))]),
        );
      }
      case 7: {
        const order = dims.map((_, i) => (i === 0 ? 0 : dims.length - i));
        const turned = this.op('Transpose', [value], { perm: ints(order) });
        return same(this.op('Transpose', [turned], { perm: ints(order) }));
      }
      case 8:
        return same(this.op(this.pick('Softmax', 'LogSoftmax'), [value], { axis: int(-1) }));
      case 9: {
        if (dims.length !== 4) return x;
        // Squeeze and excitation.
        const pooled = {
          value: this.op('GlobalAveragePool', [value]),
          dims: [dims[0] ?? 1, channels, 1, 1],
        };
        const gate = this.op('Sigmoid', [this.linear(pooled, channels).value]);
        return same(this.op('Mul', [value, gate]));
      }
      case 10: {
        if (channels % 2 !== 0 || dims.length < 2) return x;
        const half = channels / 2;
        const parts = [
          [0, half],
          [half, channels],
        ].map(([from = 0, to = 0]) =>
          this.op('Slice', [value, this.int64(from), this.int64(to), this.int64(1)]),
        );
        if (this.chance(0.5)) parts.reverse();
        return same(this.op('Concat', parts, { axis: int(1) }));
      }
      case 11: {
        const mean = this.op('ReduceMean', [value], { axes: ints([-1]), keepdims: int(1) });
        return same(this.op('Sub', [value, mean]));
      }
      case 12:
        return same(this.op('Dropout', [value]));
      default: {
        if (dims.length !== 4) return same(this.op('Clip', [value, this.weight([], 0, -1)]));
        const window = { kernel_shape: ints([3, 3]), pads: ints([1, 1, 1, 1]) };
        return same(this.op(this.pick('MaxPool', 'AveragePool'), [value], window));
      }
    }
  }

  branch(x: Known, to: number, stride: number): Known {
    let y = x;
    const wide = this.pick(to, to, to * 2, 1);
    for (let n = this.random.integer(0, 3); n > 0; n--) y = this.keep(y);
    y = this.linear(y, wide, stride);
    for (let n = this.random.integer(0, 2); n > 0; n--) y = this.keep(y);
    return this.linear(y, to);
  }

  /** x + f(x), or nearly. */
  block(x: Known): Known {
    const change = this.chance(0.2);
    const images = x.dims.length === 4;
    const width = (images ? x.dims[1] : x.dims.at(-1)) ?? 1;
    const to = change ? width * this.pick(1, 2) : width;
    const stride = change && images ? 2 : 1;
    const f = this.branch(x, to, stride);
    const skip = change ? this.linear(x, to, stride) : x;
    const operands = [skip.value, f.value];
    // A tap from elsewhere, or a third summand.
    const other = this.seen.filter(({ dims }) => String(dims) === String(f.dims));
    const [extra] = other;
    if (extra && this.chance(0.1)) operands[0] = extra.value;
    if (this.chance(0.5)) operands.reverse();
    if (extra && this.chance(0.05)) operands.push(extra.value);
    const op = operands.length > 2 || this.chance(0.1) ? 'Sum' : this.chance(0.03) ? 'Sub' : 'Add';
    let y: Known = { value: this.op(op, operands), dims: f.dims };
    if (this.chance(0.4)) y = this.keep(y);
    this.seen.push(this.chance(0.8) ? y : f);
    return y;
  }

  head(x: Known): void {
    const { outputs } = this.model.graph;
    let y = x;
    if (this.chance(0.5)) y = this.keep(y);
    if (y.dims.length === 4 && this.chance(0.8))
      y = { value: this.op('GlobalAveragePool', [y.value]), dims: [BATCH, y.dims[1] ?? 1, 1, 1] };
    const length = y.dims.slice(1).reduce((product, d) => product * d, 1);
    const flat = this.op('Flatten', [y.value], { axis: int(1) });
    const classes = this.pick(3, 2, 1);
    const logits = this.op('Gemm', [flat, this.weight([length, classes]), this.weight([classes])], {
      beta: float(1),
    });
    outputs.push(logits);
    const [tapped] = this.seen;
    if (tapped && this.chance(0.05)) outputs.push(tapped.value);
  }
}

/** Now and then something is bent: an operand from elsewhere, an attribute that does not fit. */
function bend(net: Net): void {
  const nodes = [...net.model.graph.nodes];
  const node = nodes[net.random.integer(0, nodes.length - 1)];
  const known = net.seen[net.random.integer(0, Math.max(0, net.seen.length - 1))];
  if (!node || !known || node.inputs.length === 0) return;
  const place = net.random.integer(0, node.inputs.length - 1);
  const earlier = known.value.producer;
  // Only backwards: a circle cannot be built in memory.
  if (earlier && nodes.indexOf(earlier) < nodes.indexOf(node)) node.setInput(place, known.value);
}

export function randomGraph(random: Random): Model {
  const net = new Net(random);
  const size = net.pick(4, 6, 8);
  const channels = net.pick(2, 4, 3);
  const dims = net.pick<readonly number[]>(
    [BATCH, channels, size, size],
    [BATCH, channels, size, size],
    [BATCH, size, channels],
    [BATCH, channels],
  );
  let x = net.input(dims);
  if (net.chance(0.8)) x = net.linear(x, net.pick(4, 2, 6));
  net.seen.push(x);
  for (let n = random.integer(1, 5); n > 0; n--) x = net.block(x);
  net.head(x);
  if (net.chance(0.15)) bend(net);
  return net.model;
}
