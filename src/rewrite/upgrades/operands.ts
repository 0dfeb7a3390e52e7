// Attributes that became operands between opset 7 and 17, so that they can be computed. One entry a change.

import { int, string } from '../../ir/index.js';
import type { Change, Conversion } from './conversion.js';
import { up } from './conversion.js';

/** A list attribute → an int64 operand; left out where it was. */
function listToOperand(c: Conversion, name: string, index: number): void {
  const values = c.node.attributes.ints(name);
  if (values) c.ints(index, values, name);
  c.attributes({ [name]: undefined });
}

const isSet = (c: Conversion, name: string): boolean => c.node.attributes.has(name);

const axes = up(13, ['Squeeze', 'Unsqueeze', 'ReduceSum'], (c) => listToOperand(c, 'axes', 1));

const split = up(13, ['Split'], (c) => listToOperand(c, 'split', 1));

const slice = up(10, ['Slice'], (c) => {
  listToOperand(c, 'starts', 1);
  listToOperand(c, 'ends', 2);
  listToOperand(c, 'axes', 3);
});

const pad = up(11, ['Pad'], (c) => {
  listToOperand(c, 'pads', 1);
  const value = c.node.attributes.float('value', 0);
  if (value !== 0) c.scalar(2, value, 'value');
  c.attributes({ value: undefined });
});

const clip = up(11, ['Clip'], (c) => {
  for (const [name, index] of [
    ['min', 1],
    ['max', 2],
  ] as const)
    if (isSet(c, name)) c.scalar(index, c.node.attributes.float(name, 0), name);
  c.attributes({ min: undefined, max: undefined });
});

const topK = up(10, ['TopK'], (c) => listOfOne(c, 'k', 1));

function listOfOne(c: Conversion, name: string, index: number): void {
  c.ints(index, [c.node.attributes.int(name) ?? c.fail(`it has no attribute ${name}`)], name);
  c.attributes({ [name]: undefined });
}

/**
 * Before 12 a Dropout node never drops: the ratio is kept for the reader, the mode stays inference. What its
 * mask then was, executors did not agree on (nor was it boolean before 10).
 */
const dropout = up(12, ['Dropout'], (c) => {
  const mask = c.node.outputs[1];
  if (mask && (mask.isUsed || c.graph.outputs.includes(mask))) c.fail('its mask is read');
  c.scalar(1, c.node.attributes.float('ratio', 0.5), 'ratio');
  c.attributes({ ratio: undefined });
});

/** The scales of Upsample became an operand at 9. */
const upsampleScales = up(9, ['Upsample'], (c) => {
  const scales = c.node.attributes.get('scales');
  if (scales?.kind !== 'floats') return c.fail('it has no attribute scales');
  c.floats(1, scales.value, 'scales');
  c.attributes({ scales: undefined });
});

/** Upsample and the first Resize sample at asymmetric coordinates; Resize takes its region second since 11. */
const resize = up(11, ['Upsample', 'Resize'], (c) => {
  if (c.opset >= 10 && c.node.op === 'Upsample') c.fail('it was withdrawn in opset 10');
  const mode = c.node.attributes.string('mode', 'nearest');
  const [x, scales] = [c.node.input(0), c.node.input(1)];
  c.become('Resize', [x, undefined, scales], {
    mode: string(mode === 'bilinear' ? 'linear' : mode),
    coordinate_transformation_mode: string('asymmetric'),
    nearest_mode: string('floor'),
  });
});

/** Until 12 exporters had to give an empty list of scales beside the sizes. */
const resizeEmpty = up(13, ['Resize'], (c) => {
  for (const index of [1, 2]) {
    const dims = c.node.inputs[index]?.shape;
    if (dims?.length === 1 && dims[0] === 0) c.node.setInput(index, undefined);
  }
});

const scatter = up(11, ['Scatter'], (c) => {
  c.node.op = 'ScatterElements';
  c.attributes({ axis: int(c.node.attributes.int('axis', 0)) });
});

/** In the order they apply: an Upsample of opset 8 passes two of them. */
export const operandChanges: readonly Change[] = [
  axes,
  split,
  slice,
  pad,
  clip,
  topK,
  dropout,
  upsampleScales,
  resize,
  resizeEmpty,
  scatter,
];
