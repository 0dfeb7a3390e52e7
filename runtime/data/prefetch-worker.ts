// The thread that prepares batches (see prefetch.ts). In: a request, then orders. Out: facts, then one batch per order.
// Invariant: orders are followed in the order they came.

import { parentPort, workerData } from 'node:worker_threads';
import { DiagnosticError, invariant } from '../../src/diagnostics/index.js';
import { openLoader } from './feed.js';
import { partsOf } from './prefetch.js';
import type { FeedAnswer, FeedOrder, FeedStart } from './prefetch.js';

invariant(parentPort, 'this is the program of a thread');
const orders = parentPort;
const { request, port, count } = workerData as FeedStart;
const answer = (message: FeedAnswer, parts: ArrayBuffer[] = []): void => {
  port.postMessage(message, parts);
  Atomics.add(count, 0, 1);
  Atomics.notify(count, 0);
};

/** Anything but a diagnostic ends the thread, which the other one hears of. */
function attempt(body: () => void): void {
  try {
    body();
  } catch (error) {
    if (!(error instanceof DiagnosticError)) throw error;
    const { code, where, why, hint } = error;
    answer({ kind: 'diagnostic', code, where, why, hint });
  }
}

attempt(() => {
  const { facts, loader } = openLoader(request);
  orders.on('message', (order: FeedOrder) => {
    attempt(() => {
      if (order.kind === 'start') {
        loader.seek(order.after);
        return;
      }
      const batch = { ...order.buffers, ...loader.next(order.buffers) };
      answer({ kind: 'batch', batch }, partsOf(batch));
    });
  });
  answer({ kind: 'facts', facts });
});
