// npm run fuzz: damaged files and random networks end in a result or in a message with a code; never in a hang, a crash,
// an exception without a code or memory out of proportion to the file. FUZZ_SECONDS (default 300) is the time of all runs
// together, FUZZ_SEED replaces the seed taken from the clock, FUZZ_CASES limits each run as well. Failures are kept in out/fuzz, each with the command that
// repeats it.

import { expect, test } from 'vitest';
import { KINDS } from './cases.js';
import { fuzz } from './driver.js';

const seconds = Number(process.env.FUZZ_SECONDS ?? 300) / (2 * KINDS.length);
const clock = Number(process.env.FUZZ_SEED ?? Math.floor(Date.now() / 1000));
const most = Number(process.env.FUZZ_CASES ?? Infinity);
/** Far apart, so that the two runs see different cases. */
const SEEDS = { 'fixed seed': 1_000_000_000, [`seed ${clock}`]: clock };
/** Share of the cases of a kind that has to get through to a training step, or nothing is tested. */
const THROUGH = { files: 0.02, graphs: 0.15 };

for (const [name, seed] of Object.entries(SEEDS))
  for (const kind of KINDS)
    test(`${kind}, ${name}`, async () => {
      const { cases, outcomes, failures } = await fuzz(kind, seed, seconds, most, 'out/fuzz');
      const list = [...outcomes].sort(([, a], [, b]) => b - a).map(([what, n]) => `${n} ${what}`);
      console.log(`${cases} cases of ${kind} from seed ${seed}: ${list.join(', ')}`);
      expect(failures.join('\n')).toBe('');
      expect((outcomes.get('ok') ?? 0) / cases).toBeGreaterThan(THROUGH[kind]);
    });
