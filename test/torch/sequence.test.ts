// The autograd function of the PyTorch package by itself: what a recompute can get wrong, and that the test would see it.

import { fileURLToPath } from 'node:url';
import { expect, test } from 'vitest';
import { askPython, runPython } from './python.js';

const folder = fileURLToPath(new URL('../../src/emit/torch/package', import.meta.url));

test('a reversible sequence has the gradients of ordinary autograd', () => {
  const r = askPython('sequence_check.py', { folder }) as Record<string, number> & {
    inPlace: string;
    streams: string;
  };
  for (const name of ['reversible', 'checkpoint', 'shared', 'again', 'spareStatistics'])
    expect(r[name], name).toBeLessThanOrEqual(1e-11);
  // Dropout masks, running statistics: without the precautions it shows.
  expect(r.withoutRandom).toBeGreaterThan(1e-2);
  expect(r.withoutFrozen).toBeGreaterThan(1e-2);
  // Rebuilt streams are float32, so their gradients are those of stored ones up to rounding of bfloat16.
  expect(r.autocast).toBeLessThanOrEqual(2e-2);
  expect(r.autocastMatters).toBeGreaterThan(0);
  expect(r.streams).toBe('torch.float32');
  // A row that is much smaller than the others, before a layer norm.
  expect(r.smallRow).toBeLessThan(1e-5);
  expect(r.smallRowRebuilt).toBeGreaterThan(1e-4);
  expect(r.inPlace).toMatch(/function 0 changed its input in place/);
  expect(r).toMatchObject({ hooks: 1, frozenWeights: true, noGrad: true });
});

test('every Python file of the package compiles, and no line is longer than 120', () => {
  const check = `
import pathlib, sys
for path in sorted(pathlib.Path(sys.argv[1]).glob('*.py')):
    text = path.read_text(encoding='utf-8')
    compile(text, str(path), 'exec')
    long = [i for i, line in enumerate(text.split('\\n'), 1) if len(line) > 120]
    if long:
        sys.exit(f'{path.name}: lines {long}')
`;
  expect(runPython(['-c', check, folder])).toBe('');
});
