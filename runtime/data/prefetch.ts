// Batches prepared by a second thread while a step runs, which blocks this one. In: what openFeed() takes. Out: the same
// feed. Invariant: the batches are those of openFeed(), bit for bit: one thread prepares them, one after another, into
// buffers that go back and forth without being copied.

import { setImmediate as nextTurn } from 'node:timers/promises';
import { MessageChannel, Worker, receiveMessageOnPort } from 'node:worker_threads';
import type { MessagePort } from 'node:worker_threads';
import { DiagnosticError } from '../../src/diagnostics/index.js';
import type { DiagnosticCode } from '../../src/diagnostics/index.js';
import { buffersFor } from './feed.js';
import type { Feed, FeedBatch, FeedFacts, FeedRequest } from './feed.js';
import type { BatchBuffers } from './sample.js';

/** What the thread starts with. */
export interface FeedStart {
  readonly request: FeedRequest;
  /** Where it answers. */
  readonly port: MessagePort;
  /** Answers so far; raised and notified with each. */
  readonly count: Int32Array;
}

/** What the thread is told after its request: where to begin, or which buffers to fill next. */
export type FeedOrder =
  | { readonly kind: 'start'; readonly after: number }
  | { readonly kind: 'fill'; readonly buffers: BatchBuffers };

/** What it answers. */
export type FeedAnswer =
  | { readonly kind: 'facts'; readonly facts: FeedFacts }
  | { readonly kind: 'batch'; readonly batch: FeedBatch }
  | {
      readonly kind: 'diagnostic';
      readonly code: DiagnosticCode;
      readonly where: string;
      readonly why: string;
      readonly hint: string;
    };

/** Node 20 does not run TypeScript: from sources, under a test runner, there is no program for the thread. */
export const canPrefetch = import.meta.url.endsWith('.js');

export const partsOf = ({ images, labels, sides = {} }: BatchBuffers): ArrayBuffer[] =>
  [images, labels, ...Object.values(sides)].map(({ buffer }) => buffer as ArrayBuffer);

const buffersIn = ({ images, labels, sides = {} }: BatchBuffers): BatchBuffers => ({
  ...{ images, labels, sides },
});

/** @throws DiagnosticError data/invalid */
export async function openPrefetch(request: FeedRequest): Promise<Feed> {
  const { port1, port2 } = new MessageChannel();
  const count = new Int32Array(new SharedArrayBuffer(4));
  const start: FeedStart = { request, port: port2, count };
  const worker = new Worker(new URL('./prefetch-worker.js', import.meta.url), {
    workerData: start,
    transferList: [port2],
  });
  const answers = new Answers(worker, port1, count);
  const order = (message: FeedOrder): void => {
    worker.postMessage(message, message.kind === 'fill' ? partsOf(message.buffers) : []);
  };
  let facts: FeedFacts;
  try {
    const answer = await answers.next();
    if (answer.kind !== 'facts') throw new Error(`internal error: ${answer.kind} instead of facts`);
    facts = answer.facts;
  } catch (error) {
    port1.close();
    await worker.terminate();
    throw error;
  }
  let given: BatchBuffers | undefined;
  return {
    facts,
    start: (after) => {
      order({ kind: 'start', after });
      // One that the step reads, one that is being filled.
      for (let i = 0; i < 2; i++) order({ kind: 'fill', buffers: buffersFor(request) });
    },
    next: async () => {
      const last = given;
      if (last) order({ kind: 'fill', buffers: buffersIn(last) });
      const answer = await answers.next();
      if (answer.kind !== 'batch') throw new Error(`internal error: ${answer.kind} for a batch`);
      given = answer.batch;
      return answer.batch;
    },
    close: async () => {
      port1.close();
      await worker.terminate();
    },
  };
}

/** Looking in between for a thread that has failed. */
const PATIENCE = 100;

/**
 * The messages of a thread in order. What has arrived is taken without a turn of the event loop, what has not is waited
 * for by blocking, as the step itself does; the failure of the thread is thrown.
 */
class Answers {
  private failure: Error | undefined;

  constructor(
    worker: Worker,
    private readonly port: MessagePort,
    private readonly count: Int32Array,
  ) {
    worker.on('error', (error) => {
      this.failure ??= error instanceof Error ? error : new Error(String(error));
    });
    worker.on('exit', () => {
      this.failure ??= new Error('the thread that prepares batches has ended');
    });
  }

  async next(): Promise<FeedAnswer> {
    for (;;) {
      const seen = Atomics.load(this.count, 0);
      const received = receiveMessageOnPort(this.port) as { message: FeedAnswer } | undefined;
      if (received) return succeeded(received.message);
      if (this.failure) throw this.failure;
      if (Atomics.wait(this.count, 0, seen, PATIENCE) === 'timed-out') await nextTurn();
    }
  }
}

function succeeded(answer: FeedAnswer): FeedAnswer {
  if (answer.kind !== 'diagnostic') return answer;
  throw new DiagnosticError(answer.code, answer.where, answer.why, answer.hint);
}
