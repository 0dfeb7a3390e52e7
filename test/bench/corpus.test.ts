// What the corpus run says of a file, for each kind of end there is.

import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, describe, expect, it } from 'vitest';
import { checkFile } from '../../bench/lib/corpus.js';
import type { CorpusOptions, CorpusRow } from '../../bench/lib/corpus.js';
import { preResNet, resNetImageNet } from '../../fixtures/models.js';
import type { Model } from '../../src/ir/index.js';
import { encodeModel } from '../../src/onnx/index.js';

const folder = mkdtempSync(join(tmpdir(), 'revnetify-corpus-'));
afterAll(() => {
  rmSync(folder, { recursive: true });
});

const OPTIONS: CorpusOptions = {
  recipe: 'paper',
  shapes: [{ name: undefined, dims: [1, 3, 16, 16] }],
  verify: true,
  float64Flops: 6e7,
};

function check(
  bytes: Uint8Array,
  options: Partial<CorpusOptions> = {},
  stage: (what: string) => void = () => undefined,
): Promise<CorpusRow> {
  const path = join(folder, 'model.onnx');
  writeFileSync(path, bytes);
  return checkFile(path, { ...OPTIONS, ...options }, stage);
}

const bytesOf = (model: Model): Uint8Array => encodeModel(model).bytes;
const small = (): Model => preResNet({ depth: 14, width: 4, image: 8 });

describe('checkFile', () => {
  it('passes a network whose blocks are coupled, in float32 and float64', async () => {
    const row = await check(bytesOf(small()));
    expect(row).toMatchObject({ status: 'passed', found: 6, coupled: 6, batch: 2, left: {} });
    expect(row.loss).toBeGreaterThan(0);
    expect(row.figures).toMatchObject({ failures: [], batch: 2 });
    const figures = row.figures;
    if (typeof figures === 'string' || figures === undefined) throw new Error('no figures');
    expect(figures.streams).toBeGreaterThan(0);
    expect(figures.gradient).toBeGreaterThan(0);
    expect(figures.float64).toHaveLength(2);
  });

  it('gives open heights and widths the default', async () => {
    const model = preResNet({ depth: 14, width: 4, image: 16 });
    const [input] = model.graph.inputs;
    if (!input) throw new Error('no input');
    input.type = { dtype: 'float32', shape: ['N', 3, 'H', 'W'] };
    const row = await check(bytesOf(model), { verify: false });
    expect(row).toMatchObject({ status: 'passed', found: 6, figures: 'not asked for' });
    expect(await check(bytesOf(model), { shapes: [] })).toMatchObject({
      status: 'refused',
      code: 'shape/unknown',
    });
  });

  it('says why nothing can be coupled, and checks the network as it is', async () => {
    const lone = resNetImageNet({ layers: [1], width: 4, classes: 3, image: 16 });
    const row = await check(bytesOf(lone));
    expect(row).toMatchObject({ status: 'nothing', code: 'couple/nothing', found: 1, coupled: 0 });
    expect(row.why).toMatch(/^1 × stands alone/);
    expect(Object.values(row.left)).toEqual([1]);
    expect(row.plain).toMatchObject({ status: 'passed', figures: { failures: [] } });
  });

  it('refuses a truncated file with its code', async () => {
    const row = await check(bytesOf(small()).subarray(0, 2000));
    expect(row).toMatchObject({ status: 'refused', code: 'model/damaged', found: 0 });
  });

  it('tells a crash from a refusal', async () => {
    const row = await check(bytesOf(small()), {}, (what) => {
      if (what.startsWith('verifying')) throw new TypeError('something broke');
    });
    expect(row).toMatchObject({ status: 'crashed', found: 6 });
    expect(row.code).toBeUndefined();
    expect(row.why).toContain('something broke');
  });
});
