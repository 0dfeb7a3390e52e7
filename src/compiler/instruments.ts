// Looking at a pipeline at work. In: what runPipeline tells after each pass. Out: the graph as numbered text files, a
// table of times, and what rewrites did. Invariant: the graph is not changed by being looked at.

import { mkdirSync, readdirSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { DiagnosticError } from '../diagnostics/index.js';
import type { Model } from '../ir/index.js';
import { print } from '../ir/print.js';
import { atomicWrite } from '../onnx/index.js';
import type { Instrument, Outcome } from '../rewrite/index.js';

/** Writes the graph after chosen passes: NN-name.txt, numbered by their place in the pipeline. */
export class Dumps implements Instrument {
  private count = 0;

  /**
   * @param names passes, or "all"; those of earlier runs are removed from the folder
   * @throws DiagnosticError usage/output
   */
  constructor(
    private readonly dir: string,
    private readonly names: ReadonlySet<string>,
  ) {
    try {
      mkdirSync(dir, { recursive: true });
      for (const file of readdirSync(dir))
        if (/^\d\d-[a-z][a-z0-9-]*\.txt$/.test(file)) rmSync(join(dir, file));
    } catch (error) {
      throw new DiagnosticError(
        'usage/output',
        dir,
        error instanceof Error ? error.message : String(error),
      );
    }
  }

  afterPass(name: string, model: Model): void {
    this.count++;
    if (!this.names.has('all') && !this.names.has(name)) return;
    const file = `${String(this.count).padStart(2, '0')}-${name}.txt`;
    atomicWrite(join(this.dir, file), print(model, { elide: true }));
  }
}

/** What one pass took and left. */
interface Timing {
  readonly name: string;
  readonly milliseconds: number;
  readonly nodes: number;
  readonly outcome: Outcome | undefined;
}

/** Remembers every pass in the order they ran. */
export class Timings implements Instrument {
  readonly rows: Timing[] = [];

  afterPass(name: string, { graph }: Model, milliseconds: number, outcome?: Outcome): void {
    this.rows.push({ name, milliseconds, nodes: graph.nodes.size, outcome });
  }
}
