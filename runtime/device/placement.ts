// Which provider runs which operator. In: a model and operands for one run. Out: the operators that are not on the
// device, by name. Invariant: it is ONNX Runtime that says so, in the profile of that run, not a list of ours.

import { mkdtempSync, readFileSync, readdirSync, rmSync } from 'node:fs';
import type { InferenceSession, Tensor } from 'onnxruntime-node';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { DiagnosticError } from '../../src/diagnostics/index.js';
import type { Runtime } from '../session.js';
import { messageOf } from '../session.js';

export interface Placement {
  /** Type of the operator. */
  readonly op: string;
  /** Name of the node. */
  readonly node: string;
  /** As ONNX Runtime calls it: CPUExecutionProvider. */
  readonly provider: string;
}

interface ProfileEvent {
  readonly cat?: string;
  readonly name?: string;
  readonly args?: { readonly op_name?: string; readonly provider?: string };
}

const SUFFIX = '_kernel_time';

/** Runs a model once. @param model a file, or the bytes of one */
export async function placementsOf(
  { InferenceSession }: Runtime,
  model: string | Uint8Array,
  settings: InferenceSession.SessionOptions,
  feeds: Readonly<Record<string, Tensor>>,
): Promise<Placement[]> {
  const folder = mkdtempSync(join(tmpdir(), 'revnetify-profile-'));
  try {
    const options = { ...settings, enableProfiling: true, profileFilePrefix: join(folder, 'run') };
    const session =
      typeof model === 'string'
        ? await InferenceSession.create(model, options)
        : await InferenceSession.create(model, options);
    await session.run(feeds);
    session.endProfiling();
    await session.release();
    const [file = ''] = readdirSync(folder);
    const events = JSON.parse(readFileSync(join(folder, file), 'utf8')) as readonly ProfileEvent[];
    return events.flatMap(({ cat, name = '', args }) =>
      cat === 'Node' && name.endsWith(SUFFIX)
        ? [
            {
              op: args?.op_name ?? '',
              node: name.slice(0, -SUFFIX.length),
              provider: args?.provider ?? '',
            },
          ]
        : [],
    );
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
}

const CPU = 'CPUExecutionProvider';
/** So many are named. */
const NAMED = 5;

/** The error that names what would have run on the CPU. */
export async function fallbackError(
  where: string,
  placements: () => Promise<readonly Placement[]>,
): Promise<DiagnosticError> {
  let why: string;
  try {
    const left = (await placements()).filter(({ provider }) => provider === CPU);
    const named = left.slice(0, NAMED).map(({ op, node }) => `${op} (node ${node})`);
    const more = left.length > NAMED ? ` and ${left.length - NAMED} more` : '';
    why =
      left.length === 0
        ? 'ONNX Runtime does not say which'
        : `the CPU would run ${named.join(', ')}${more}`;
  } catch (error) {
    why = `ONNX Runtime does not say which: ${messageOf(error)}`;
  }
  return new DiagnosticError('device/fallback', where, why);
}
