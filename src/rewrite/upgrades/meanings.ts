// Operators whose meaning changed between opset 7 and 17. One entry a change.

import { Tensor, int, isStatic, string } from '../../ir/index.js';
import type { Change, Conversion } from './conversion.js';
import { up } from './conversion.js';

/**
 * Before 13 these flattened their operand to two dimensions at `axis` and worked on whole rows; since then they
 * work along one axis. Both agree where all extents after the axis are 1.
 */
const flattening = up(13, ['Softmax', 'LogSoftmax', 'Hardmax'], (c) => {
  const given = c.node.attributes.int('axis', 1);
  const { rank } = c;
  const axis = given < 0 && rank !== undefined ? given + rank : given;
  const shape = c.node.inputs[0]?.shape;
  if (given === -1 || shape?.slice(axis + 1).every((d) => d === 1)) {
    c.attributes({ axis: int(rank === undefined ? given : axis) });
    return;
  }
  const x = c.node.input(0);
  const rows = c.before('Flatten', [x], { axis: int(given) });
  const result = c.before(c.node.op, [rows], { axis: int(1) });
  const back = isStatic(shape) ? c.constant(Tensor.ints(shape), 'shape') : c.before('Shape', [x]);
  c.become('Reshape', [result, back]);
});

const isRead = (c: Conversion, index: number): boolean => {
  const value = c.node.outputs[index];
  return !!value && (value.isUsed || c.graph.outputs.includes(value));
};

/**
 * Before 14 a BatchNormalization with more than one output was in training mode; opsets 7 and 8 could also
 * normalise every pixel on its own.
 */
const batchNormalization = up(14, ['BatchNormalization'], (c) => {
  if (c.node.attributes.int('spatial', 1) !== 1) c.fail('spatial=0 is not supported');
  c.attributes({ spatial: undefined });
  if (!c.node.outputs.slice(1).some((value) => value !== undefined)) return;
  // The saved mean and inverse deviation served a framework's own gradient kernels.
  if (isRead(c, 3) || isRead(c, 4)) c.fail('its saved statistics are read');
  c.node.outputs.length = 3;
  c.attributes({ training_mode: int(1) });
});

/** The default of coordinate_transformation_mode came with the attribute, and differs from what was before. */
const roiAlign = up(16, ['RoiAlign'], (c) => {
  c.attributes({ coordinate_transformation_mode: string('output_half_pixel') });
});

export const meaningChanges: readonly Change[] = [flattening, batchNormalization, roiAlign];
