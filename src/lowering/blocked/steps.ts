// Nodes of ONNX Runtime's blocked layout. In: values in that layout, or plain ones. Out: the same. Invariant: what a
// method says of the layout of its operands holds; types do not show it.

import { int, ints, string } from '../../ir/index.js';
import type { Value } from '../../ir/index.js';
import { blockAttribute } from '../../ops/index.js';
import type { Builder } from '../../ops/index.js';
import { Steps } from '../conv-form.js';
import type { ConvOptions } from '../conv-form.js';

/** What a blocked convolution adds to the products, and does with the sum. */
export interface Epilogue {
  /** [M] */
  readonly bias?: Value;
  /** Blocked, of the result's shape; the kernel writes over it when nobody else reads it. */
  readonly sum?: Value;
}

const axis = (value: Value, index: number): number => Number(value.shape?.[index] ?? 0);

export class BlockedSteps extends Steps {
  constructor(
    b: Builder,
    readonly block: number,
  ) {
    super(b);
  }

  /** Plain [N,C,H,W] → blocked. C is a multiple of the block size. */
  toBlocked(x: Value): Value {
    return this.b.op('nchwc.ReorderInput', [x], {
      attributes: blockAttribute(this.block),
      name: 'toBlocked',
    });
  }

  /** Blocked [N,C,H,W] → plain. */
  toPlain(x: Value): Value {
    return this.b.op('nchwc.ReorderOutput', [x], {
      attributes: { channels: int(axis(x, 1)), ...blockAttribute(this.block) },
      name: 'toPlain',
    });
  }

  /** Blocked X, weight as the kernel reads it → blocked. */
  blockedConv(x: Value, w: Value, options: ConvOptions, { bias, sum }: Epilogue = {}): Value {
    const { kernel, strides, dilations, begin, end, group } = options;
    return this.b.op('nchwc.Conv', [x, w, bias, sum], {
      attributes: {
        kernel_shape: ints(kernel),
        ...(strides ? { strides: ints(strides) } : {}),
        ...(dilations ? { dilations: ints(dilations) } : {}),
        pads: ints([...begin, ...end]),
        group: int(group),
        ...blockAttribute(this.block),
      },
      name: 'conv',
    });
  }

  /** X·scale + shift + sum per channel; vectors [C], the rest blocked. */
  perChannel(x: Value, scale: Value, epilogue: Epilogue): Value {
    const channels = axis(x, 1);
    const one = { kernel: [1, 1], begin: [0, 0], end: [0, 0], group: channels };
    return this.blockedConv(x, this.reshape(scale, [channels, 1, 1, 1]), one, epilogue);
  }

  /** Means per channel [C] of a blocked X. */
  channelMean(x: Value): Value {
    const [batch, channels] = [axis(x, 0), axis(x, 1)];
    const perImage = this.b.op('nchwc.GlobalAveragePool', [x], {
      attributes: blockAttribute(this.block),
    });
    return this.b.op('ReduceMean', [this.reshape(perImage, [batch, channels])], {
      attributes: { axes: ints([0]), keepdims: int(0) },
      name: 'mean',
    });
  }

  /**
   * Σ x·y per channel [C], both blocked: a depthwise convolution whose kernel is the whole plane, over images and channels
   * together. Its weight lies as its data does.
   */
  channelDot(x: Value, y: Value): Value {
    const [batch, channels, height, width] = [0, 1, 2, 3].map((i) => axis(x, i)) as [
      number,
      number,
      number,
      number,
    ];
    const both = batch * channels;
    const dots = this.blockedConv(
      this.reshape(x, [1, both, height, width]),
      this.reshape(y, [both, 1, height, width]),
      { kernel: [height, width], begin: [0, 0], end: [0, 0], group: both },
    );
    return this.b.op('ReduceSum', [this.reshape(dots, [batch, channels]), this.b.ints(0)], {
      attributes: { keepdims: int(0) },
      name: 'channelDot',
    });
  }
}

/** Lets a blocked convolution that nobody else reads rectify its own result. */
export function rectify(node: NonNullable<Value['producer']>): void {
  node.attributes = node.attributes.with({ activation: string('Relu') });
}
