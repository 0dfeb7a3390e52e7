// The command line as a child process. In: arguments. Out: exit code and what was printed. Invariant: the program is
// compiled anew from the sources, so a test never runs yesterday's.

import { spawn } from 'node:child_process';
import type { ChildProcess } from 'node:child_process';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterAll, beforeAll, expect } from 'vitest';
import { compileRuntime } from '../runtime/compiled.js';

export interface Ran {
  readonly code: number | null;
  readonly stdout: string;
  readonly stderr: string;
}

export const fixture = (name: string): string =>
  fileURLToPath(new URL(`../../fixtures/${name}`, import.meta.url));

/** Milliseconds: compiling everything takes a while on a busy machine. */
export const HOOK_TIMEOUT = 120_000;

export class Program {
  /** The folder that stands for the package: modules in it can import 'revnetify/passes'. */
  root = '';
  /** A folder of this test file, removed at the end. */
  folder = '';

  /** Call at the top of a test file. */
  constructor() {
    beforeAll(() => {
      this.root = compileRuntime(['src', 'passes', 'runtime']);
      this.folder = mkdtempSync(join(tmpdir(), 'cli-'));
    }, HOOK_TIMEOUT);
    afterAll(() => {
      rmSync(this.root, { recursive: true });
      rmSync(this.folder, { recursive: true });
    });
  }

  /** @param parts arguments, and environment variables as an object */
  start(...parts: (string | NodeJS.ProcessEnv)[]): ChildProcess {
    const args = parts.filter((part) => typeof part === 'string');
    const environment = parts.filter((part) => typeof part !== 'string');
    return spawn(process.execPath, [join(this.root, 'src/cli/main.js'), ...args], {
      cwd: this.folder,
      env: Object.assign({}, process.env, ...environment) as NodeJS.ProcessEnv,
    });
  }

  run(...args: (string | NodeJS.ProcessEnv)[]): Promise<Ran> {
    return finished(this.start(...args));
  }

  /** Runs a command that must succeed, with --json. */
  async json(...args: string[]): Promise<unknown> {
    const { code, stdout, stderr } = await this.run(...args, '--json');
    expect({ code, stderr: code === 0 ? '' : stderr }).toEqual({ code: 0, stderr: '' });
    return JSON.parse(stdout) as unknown;
  }
}

export function finished(child: ChildProcess): Promise<Ran> {
  let [stdout, stderr] = ['', ''];
  child.stdout?.on('data', (data: Buffer) => (stdout += data.toString()));
  child.stderr?.on('data', (data: Buffer) => (stderr += data.toString()));
  return new Promise((resolve, reject) => {
    child.once('error', reject);
    child.once('close', (code) => {
      resolve({ code, stdout, stderr });
    });
  });
}

/** The shape of a JSON value: keys, and a word for each leaf; of lists the first element only. */
export function shapeOf(value: unknown): unknown {
  if (Array.isArray(value)) return value.length === 0 ? [] : [shapeOf(value[0])];
  if (value === null || typeof value !== 'object') return value === null ? 'null' : typeof value;
  return Object.fromEntries(Object.entries(value).map(([key, of]) => [key, shapeOf(of)]));
}
