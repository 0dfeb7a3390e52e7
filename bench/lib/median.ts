// The middle of a few measurements; of an even number, the larger of the two in the middle.

export const median = (values: readonly number[]): number =>
  [...values].sort((a, b) => a - b)[values.length >> 1] ?? NaN;
