// Pass order-step: results at the end of the file, so that the executor works through the schedule. In: a lowered
// step. Out: the same nodes in schedule order: loss first, then the units' updates from the last to the first.
// Invariant: the graph enforces the schedule whatever executor runs it (schedule/verify-order.ts).

import { hideTargets, probeOriginals, spellViews, viewSteps } from '../src/autodiff/index.js';
import { DiagnosticError, invariant } from '../src/diagnostics/index.js';
import type { Node } from '../src/ir/index.js';
import { Builder } from '../src/ops/index.js';
import { checkTokens, orderResults } from '../src/schedule/index.js';
import { definePass } from './state.js';

export const orderStep = definePass({
  name: 'order-step',
  summary: 'order results so that the executor follows the schedule',
  run: ({ model: { graph }, settings, step, loss }) => {
    invariant(step && loss, 'order-step needs differentiate before it');
    probeOriginals(graph);
    if (settings.token && settings.target === 'cpu') {
      const root = new Builder(graph, { phase: 'backward', path: 'step' });
      if (!step.deep) viewSteps(graph, root);
      spellViews(graph, root);
      if (step.deep) hideTargets(graph, root);
    }
    const producers = [
      loss.loss,
      loss.correct,
      ...step.statistics.map((s) => s.next),
      ...[...step.updates].reverse().map((u) => u.newWeight),
    ].map((value) => value.producer);
    orderResults(
      graph,
      producers.filter((node): node is Node => node !== undefined),
    );
    const [problem] = settings.token ? checkTokens(graph, step.backward.waits) : [];
    if (problem)
      throw new DiagnosticError(
        'pass/failed',
        `pass order-step, ${problem.where}`,
        `${problem.rule}: ${problem.message}`,
      );
  },
});
