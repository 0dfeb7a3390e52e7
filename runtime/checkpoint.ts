// Checkpoints of a training. In: the state of a step and where the training stands. Out: a file from which a later
// process continues bit for bit. Invariant: at any moment, also when the process is killed, the newest file under its
// final name is whole; the one before goes only when the newer one is on disk.

import {
  closeSync,
  existsSync,
  fsyncSync,
  mkdirSync,
  openSync,
  readdirSync,
  rmSync,
} from 'node:fs';
import { join } from 'node:path';
import { DiagnosticError } from '../src/diagnostics/index.js';
import type { Plan } from '../src/plan/index.js';
import type { Device } from './device/provider.js';
import { sameIdentity } from './identity.js';
import type { Identity } from './identity.js';
import { stateInputs } from './plan.js';
import { readTensors, writeTensors } from './safetensors.js';
import { messageOf } from './session.js';
import type { TrainingStep } from './step.js';

const VERSION = 1;
const KEY = 'revnetify.checkpoint';
/** Losses of all steps so far, beside the state. */
const LOSSES = 'revnetify.losses';

/** What a checkpoint knows beside the arrays. */
export interface Standing {
  /** Steps done. Order and augmentation of the data and the learning rate follow from it. */
  readonly step: number;
  /** Spent in training so far. */
  readonly seconds: number;
  readonly threads: number;
  /** Absent: the CPU. */
  readonly device?: Device;
  /** Length of the log at this step; null: there was none. */
  readonly logBytes: number | null;
}

export interface Checkpoint extends Standing {
  readonly path: string;
  /** One per step done. */
  readonly losses: Float32Array;
  /** By input name. */
  readonly state: ReadonlyMap<string, Float32Array>;
}

/** The checkpoints of one training, in a folder. */
export class Checkpoints {
  private readonly pattern: RegExp;
  private readonly leftover: RegExp;

  constructor(
    readonly dir: string,
    private readonly plan: Plan,
    private readonly identity: Identity,
  ) {
    const name = plan.model.name.replace(/[.*+?^${}()|[\]\\]/g, '\\$&');
    this.pattern = new RegExp(`^${name}\\.step-(\\d+)\\.safetensors$`);
    this.leftover = new RegExp(`^\\.${name}\\.step-\\d+\\.safetensors\\..*\\.tmp$`);
  }

  /** Path of the newest, whether or not it can be read. */
  newest(): string | undefined {
    return this.paths()[0];
  }

  /**
   * The newest checkpoint that is whole; undefined: there is none.
   * @param skipped told of every newer one that cannot be read
   * @throws DiagnosticError checkpoint/damaged where there are some and none is whole, checkpoint/other
   */
  load(skipped: (path: string, why: string) => void): Checkpoint | undefined {
    let last: { path: string; why: string } | undefined;
    for (const path of this.paths()) {
      if (last) skipped(last.path, last.why);
      try {
        return this.read(path);
      } catch (error) {
        if (error instanceof DiagnosticError) throw error;
        last = { path, why: messageOf(error) };
      }
    }
    if (last) throw new DiagnosticError('checkpoint/damaged', last.path, last.why);
    return undefined;
  }

  /**
   * Writes a checkpoint; older ones go when it is on disk.
   * @returns its path
   * @throws DiagnosticError usage/output
   */
  save(step: TrainingStep, standing: Standing, losses: readonly number[]): string {
    this.makeFolder();
    const before = this.paths();
    const path = join(this.dir, `${this.plan.model.name}.step-${standing.step}.safetensors`);
    const facts = { version: VERSION, ...standing, identity: this.identity };
    writeTensors(path, { [KEY]: JSON.stringify(facts) }, [
      ...stateInputs(this.plan).map(({ name, shape }) => ({ name, shape, data: step.state(name) })),
      { name: LOSSES, shape: [losses.length], data: Float32Array.from(losses) },
    ]);
    syncFolder(this.dir);
    for (const old of before) if (old !== path) rmSync(old, { force: true });
    return path;
  }

  /** Removes what writes that were cut off have left. */
  tidy(): void {
    if (!existsSync(this.dir)) return;
    for (const name of readdirSync(this.dir))
      if (this.leftover.test(name)) rmSync(join(this.dir, name), { force: true });
  }

  private makeFolder(): void {
    try {
      mkdirSync(this.dir, { recursive: true });
    } catch (error) {
      throw new DiagnosticError('usage/output', this.dir, messageOf(error));
    }
  }

  /** Newest first. */
  private paths(): string[] {
    if (!existsSync(this.dir)) return [];
    return readdirSync(this.dir)
      .map((name) => ({ name, step: Number(this.pattern.exec(name)?.[1]) }))
      .filter(({ step }) => Number.isSafeInteger(step))
      .sort((a, b) => b.step - a.step)
      .map(({ name }) => join(this.dir, name));
  }

  private read(path: string): Checkpoint {
    const { metadata, tensors } = readTensors(path);
    const facts = JSON.parse(metadata[KEY] ?? 'null') as
      (Standing & { version: number; identity: Identity }) | null;
    if (!facts) throw new DiagnosticError('checkpoint/other', path, 'it is no checkpoint of ours');
    if (facts.version !== VERSION)
      throw new DiagnosticError(
        'checkpoint/other',
        path,
        `it has format ${facts.version}, this version of revnetify reads ${VERSION}`,
      );
    sameIdentity(facts.identity, this.identity, path);
    const array = (name: string, shape: readonly number[]): Float32Array => {
      const tensor = tensors.get(name);
      if (tensor?.shape.join() !== shape.join())
        throw new Error(`it holds no ${name} of that shape`);
      return tensor.data;
    };
    const { step, seconds, threads, device, logBytes } = facts;
    const on = device === undefined ? {} : { device };
    const state = new Map(
      stateInputs(this.plan).map(({ name, shape }) => [name, array(name, shape)]),
    );
    return { path, step, seconds, threads, ...on, logBytes, losses: array(LOSSES, [step]), state };
  }
}

/** A new name is safe from a power failure only when its folder is on disk too. */
function syncFolder(dir: string): void {
  // Windows cannot open a folder.
  if (process.platform === 'win32') return;
  const fd = openSync(dir, 'r');
  try {
    fsyncSync(fd);
  } finally {
    closeSync(fd);
  }
}
