// The backward pass of a whole network. In: scheduled units, the loss, the weights. Out: a gradient per weight,
// and what the units rebuilt on the way. Invariant: unit k is recomputed only after every result of unit k+1
// is there (the token), and each function is evaluated once for reconstruction and gradient together (4N).

import { DiagnosticError, invariant } from '../diagnostics/index.js';
import type { Graph, Value } from '../ir/index.js';
import { Builder } from '../ops/index.js';
import { isKept } from '../reversible/index.js';
import type { ScheduledUnit } from '../schedule/index.js';
import { Gradients, differentiate, requiresGradient } from './gradients.js';
import { Recomputer } from './recompute.js';
import { makeToken } from './token.js';
import { Views } from './views.js';

export interface BackwardResult {
  readonly gradients: ReadonlyMap<Value, Value>;
  /** Per weight: a token that is there only when every reader of the weight has run. */
  readonly released: ReadonlyMap<Value, Value>;
  /** Streams rebuilt by reversal: forward value → reconstruction. */
  readonly reconstructed: ReadonlyMap<Value, Value>;
  /** One per unit with results, in the order of the backward pass. */
  readonly tokens: readonly Value[];
  /** Unit → the token that its recompute waits for. */
  readonly waits: ReadonlyMap<string, Value>;
}

export interface BackwardOptions {
  /** False only in tests and benchmarks that show what the token is for. */
  readonly token?: boolean;
  /** Whether units read outer tensors through views that carry the token in their shape. Shapes live on the CPU:
   * on a GPU the token would have to be fetched, so there it enters by arithmetic instead. Default true. */
  readonly views?: boolean;
  /** Whether these views hide the rank of what they show. Default false. */
  readonly hidden?: boolean;
}

/** Appends the backward pass to the graph. @throws DiagnosticError op/no-gradient */
export function appendBackward(
  graph: Graph,
  units: readonly ScheduledUnit[],
  loss: Value,
  weights: ReadonlySet<Value>,
  root: Builder,
  options: BackwardOptions = {},
): BackwardResult {
  const wanted = requiresGradient(graph, weights);
  if (!wanted.has(loss))
    throw new DiagnosticError(
      'model/no-logits',
      'the loss',
      'it depends on no weight that can be trained',
      'the first output of shape [batch, classes] has to be computed from weights',
    );
  const gradients = new Gradients();
  const reconstructed = new Map<Value, Value>();
  const lastToken = new Map<Value, Value>();
  const waits = new Map<string, Value>();
  const start = root.within({ phase: 'backward', path: 'backward' });
  gradients.add(loss, start.scalar(1), start);
  let token: Value | undefined;
  const tokens: Value[] = [];

  for (const unit of [...units].reverse()) {
    const b = root.within({ phase: 'backward', path: `backward/${unit.id}`, unit: unit.id });
    const recompute = root.within({
      phase: 'recompute',
      path: `recompute/${unit.id}`,
      unit: unit.id,
    });
    const waitFor = options.token === false ? undefined : token;
    if (waitFor) waits.set(unit.id, waitFor);
    // Looking at what was stored is no recompute.
    const lookout = unit.policy === 'store' ? b : recompute;
    const views =
      waitFor && options.views !== false
        ? new Views(waitFor, options.hidden === true ? undefined : unit.id, lookout)
        : undefined;
    const outer = (value: Value): Value => {
      const current = reconstructed.get(value) ?? value;
      return weights.has(current) || !views ? current : views.of(current);
    };
    const recomputer = new Recomputer(
      unit.nodes,
      outer,
      waitFor,
      recompute,
      (v) => views?.has(v) ?? false,
    );
    // Under `store` everything was kept and is only looked at.
    const twin = unit.policy === 'store' ? outer : (v: Value): Value => recomputer.twin(v);
    const touched = new Set(unit.nodes.flatMap((node) => [...node.inputs, ...node.outputs]));
    touched.delete(undefined);
    if (views) gradients.look(touched as Set<Value>, (g) => views.of(g));
    const rebuilt =
      unit.policy === 'reverse' ? reverse(unit, outer, twin, reconstructed, recompute) : [];
    differentiate(unit.nodes, twin, wanted, gradients, b);
    const results = [...gradients.takeChanged(), ...rebuilt];
    if (results.length > 0) {
      // Each waits for the one before: also where a unit reads nothing that waits (safeInPlace relies on it).
      const form = options.hidden === true && options.views !== false ? 'broadcast' : 'joined';
      token = makeToken(token ? [token, ...results] : results, b, form);
      tokens.push(token);
    }
    for (const value of touched)
      if (value && token && weights.has(value)) lastToken.set(value, token);
  }

  const found = new Map<Value, Value>();
  for (const weight of weights) {
    const gradient = gradients.get(weight);
    if (gradient) found.set(weight, gradient);
  }
  return { gradients: found, released: lastToken, reconstructed, tokens, waits };
}

/** a = t − f(b). Returns what was rebuilt. */
function reverse(
  unit: ScheduledUnit,
  outer: (value: Value) => Value,
  twin: (value: Value) => Value,
  reconstructed: Map<Value, Value>,
  b: Builder,
): Value[] {
  const { coupling, chain } = unit;
  invariant(coupling && chain, `${unit.id} is reversed but no coupling`);
  const { a: lost } = coupling;
  if (isKept(chain.couplings[0], lost)) return [];
  if (reconstructed.has(lost) || !isReadBefore(lost, unit)) return [];
  const a = b.op('Sub', [outer(coupling.t), twin(coupling.f)], { name: 'inverse' });
  reconstructed.set(lost, a);
  return [a];
}

/** Whether an earlier unit needs the value back: at the start of a chain nobody does. */
function isReadBefore(value: Value, unit: ScheduledUnit): boolean {
  const own = new Set(unit.nodes);
  return value.users.some((user) => user.phase === 'forward' && !own.has(user));
}
