// Programs on a GPU made of software. In: a compiled network, or arguments of the command line. Out: what the program
// reported. Invariant: every program starts in an environment of its own, with SwiftShader as its only GPU.

import { spawn } from 'node:child_process';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll } from 'vitest';
import { MALLOC_ENVIRONMENT } from '../../runtime/index.js';
import { writeFolder } from '../../src/compiler/index.js';
import type { Compiled } from '../../src/compiler/index.js';
import { finished } from '../cli/program.js';
import type { Ran } from '../cli/program.js';
import { compileRuntime } from '../runtime/compiled.js';
import type { Job, Report } from './steps-child.js';
import { swiftShader } from './swiftshader.js';

export class Device {
  private root = '';
  private folder = '';
  private environment: NodeJS.ProcessEnv = {};

  /** Call at the top of a test file. */
  constructor() {
    beforeAll(async () => {
      this.root = compileRuntime(['src', 'passes', 'runtime', 'test/webgpu']);
      this.folder = mkdtempSync(join(tmpdir(), 'webgpu-'));
      this.environment = await swiftShader();
    });
    afterAll(() => {
      rmSync(this.root, { recursive: true });
      rmSync(this.folder, { recursive: true });
    });
  }

  /** A folder of this test file with the network in it. */
  write(compiled: Compiled): string {
    const dir = mkdtempSync(join(this.folder, 'net-'));
    writeFolder(compiled, dir);
    return dir;
  }

  /** The command line, on SwiftShader. */
  cli(...args: string[]): Promise<Ran> {
    return this.start('src/cli/main.js', args, {});
  }

  /** Steps on one batch. */
  async steps(job: Job): Promise<Report> {
    // Small blocks in one heap, each large one on its own: what is counted is then the same from run to run.
    const env = job.memory ? { ...MALLOC_ENVIRONMENT, MALLOC_ARENA_MAX: '1' } : {};
    const { code, stdout, stderr } = await this.start(
      'test/webgpu/steps-child.js',
      [JSON.stringify(job)],
      env,
    );
    if (code !== 0) throw new Error(`the process ended with status ${code ?? 'none'}: ${stderr}`);
    return JSON.parse(stdout) as Report;
  }

  private start(program: string, args: readonly string[], more: NodeJS.ProcessEnv): Promise<Ran> {
    const env = { ...process.env, ...this.environment, ...more };
    return finished(spawn(process.execPath, [join(this.root, program), ...args], { env }));
  }
}
